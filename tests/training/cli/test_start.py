import sys

import pytest

pytestmark = pytest.mark.numpy_only

PROGRAM = """
import sys
from scbch_keras.training.cli import main
sys.argv[0] = "scbch"
try:
    main.main()
except SystemExit as end:
    assert not end.code, end.code
print("\\nmodules:", *sorted(name for name in sys.modules if "." not in name))
"""
HEAVY = {
    "numpy",
    "keras",
    "tensorflow",
    "jax",
    "torch",
    "onnxruntime",
    "faiss",
    "numba",
    "scipy",
    "PIL",
    "h5py",
}
COMMANDS = ("train", "noise", "encode", "quickstart")
OPTIONS = {"quickstart": ("--backend", "--out", "--noise", "--bits", "--epochs", "--seed", "--demo")}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_help_and_version_import_no_library_of_numbers(arguments, having_imported):
    done = having_imported("typer", [sys.executable, "-c", PROGRAM, *arguments])
    assert done.returncode == 0, done.stderr
    shown, _, modules = done.stdout.partition("\nmodules:")
    assert shown.startswith("scbch_keras 0.") if arguments == ["--version"] else "Usage:" in shown
    assert all(option in shown for option in OPTIONS.get(arguments[0], ()))
    assert "typer" in modules.split()
    assert not HEAVY & set(modules.split())
