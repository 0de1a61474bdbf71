"""Tests on the lowest versions that pyproject.toml allows: `python -m tests.lowest [--backends] [pytest arguments]`.

Makes an environment of its own with `==` in the place of each `>=`, and runs the tests of no backend in it, for which
PyTorch is installed, since commands ask for one; with --backends those of TensorFlow, JAX and PyTorch too, which are
gigabytes. For PyTorch without CUDA, set PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu. SCBCH_LOWEST names
a folder to keep the environment in.
"""

import os
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from tests.__main__ import files_of

ROOT = Path(__file__).parents[1]
OWN = "scbch_keras"
LEFT_OUT = {"lint", "docs", "benchmark", "onnx-gpu"}
"""Extras that no test needs, and the one that excludes another."""
BACKENDS = {"tensorflow", "tensorflow-text", "tf2onnx", "jax", "tensorboard", "keras-hub"}


def lowest(project: Mapping[str, Any], backends: bool) -> list[str]:
    """The requirements of a pyproject's table `project`, each pinned to the lowest version that it allows.

    Raises ValueError for a requirement without a lowest version, or a package with two.
    """
    extras = project["optional-dependencies"]
    chosen = [line for name, lines in extras.items() if name not in LEFT_OUT for line in lines]
    pins: dict[str, str] = {}
    for requirement in map(Requirement, (*project["dependencies"], *chosen)):
        if requirement.name == OWN or (requirement.name in BACKENDS and not backends):
            continue
        if requirement.marker and not requirement.marker.evaluate():
            continue
        versions = [part.version for part in requirement.specifier if part.operator == ">="]
        if len(versions) != 1:
            raise ValueError(f"pyproject.toml: expected one '>=' for {requirement.name}, got {requirement}")
        extras_of_it = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
        pin = f"{requirement.name}{extras_of_it}=={versions[0]}"
        if pins.setdefault(requirement.name, pin) != pin:
            raise ValueError(
                f"pyproject.toml: two lowest versions: {pins[requirement.name]} and {pin.rpartition('=')[2]}"
            )
    return sorted(pins.values())


def main(arguments: list[str]) -> int:
    backends = "--backends" in arguments
    pytest_arguments = [argument for argument in arguments if argument != "--backends"]
    pins = lowest(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"], backends)
    print(*pins, sep="\n", flush=True)
    kept = os.environ.get("SCBCH_LOWEST")
    with nullcontext(kept) if kept else tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / ("Scripts" if os.name == "nt" else "bin") / "python"
        if not python.exists():
            venv.create(folder, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *pins], check=True)
        subprocess.run([*pip, "--no-deps", "--editable", str(ROOT)], check=True)
        if backends:
            return subprocess.run([python, "-m", "tests", *pytest_arguments], cwd=ROOT).returncode
        # Files without such tests import a backend.
        command = [python, "-m", "pytest", "-m", "numpy_only", *files_of("numpy_only"), *pytest_arguments]
        return subprocess.run(command, cwd=ROOT, env={**os.environ, "KERAS_BACKEND": "torch"}).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
