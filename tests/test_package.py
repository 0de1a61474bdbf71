import subprocess
import sys
from importlib.metadata import version

import pytest

import scbch_keras

pytestmark = pytest.mark.numpy_only


def test_importing_the_package_imports_no_keras():
    code = (
        "import sys, scbch_keras, scbch_keras.export, scbch_keras.codes, scbch_keras.metrics\n"
        "import scbch_keras.labels.noise\n"
        "from scbch_keras.export import CodesFile, HashEncoder, HammingIndex\n"
        "print(sorted({'keras', 'tensorflow', 'jax', 'torch', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_version_is_the_installed_one():
    assert scbch_keras.__version__ == version("scbch_keras")


def test_a_misspelt_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'SCBHC'"):
        scbch_keras.SCBHC  # noqa: B018
