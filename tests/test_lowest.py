"""The pins of `python -m tests.lowest`."""

import tomllib

import pytest

from tests.lowest import BACKENDS, ROOT, lowest

pytestmark = pytest.mark.numpy_only


def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_every_requirement_has_one_lowest_version():
    pins = dict(pin.split("==") for pin in lowest(pyproject(), backends=True))
    assert pins["pyarrow"] == "25.0.1"
    assert "tritonclient[http]" in pins
    assert {"keras", "numpy", "torch", "jax", "tensorflow", "pytest"} <= set(pins)
    assert "onnxruntime-gpu" not in pins
    without = {pin.split("==")[0] for pin in lowest(pyproject(), backends=False)}
    assert set(pins) - without == set(pins) & BACKENDS


@pytest.mark.parametrize("requirement", ["numpy", "numpy<3", "numpy==2.4.6"])
def test_a_requirement_without_a_lowest_version_is_refused(requirement):
    with pytest.raises(ValueError, match="expected one '>=' for numpy"):
        lowest({"dependencies": [requirement], "optional-dependencies": {}}, backends=False)


def test_two_lowest_versions_of_a_package_are_refused():
    project = {"dependencies": ["numpy>=2.4.6"], "optional-dependencies": {"x": ["numpy>=2.5"]}}
    with pytest.raises(ValueError, match=r"two lowest versions: numpy==2.4.6 and 2.5"):
        lowest(project, backends=False)
