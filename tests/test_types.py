"""What type checkers and editors see of the installed package: real classes and functions, never Any."""

import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.numpy_only,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("mypy") is None, reason="needs mypy, of the lint extra"),
]

ROOT = Path(__file__).parents[1]
PACKAGES = ("scbch_keras", "scbch_keras.export", "scbch_keras.training")
PUBLIC = [
    f"{package}.{name}" for package in PACKAGES for name in getattr(import_module(package), "__all__", ())
]
# No public name has a type of theirs (it would be Any here, and fail), and mypy reads them for most of its time.
SKIPPED = """
[[tool.mypy.overrides]]
module = ["jax.*", "matplotlib.*", "pandas.*", "PIL.*", "pyarrow.*", "scipy.*", "sympy.*", "torch.*"]
follow_imports = "skip"
"""
WRONG = "scbch_keras.export.HashEncoder(1, 2, 3, nonsense=4)"


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """mypy's line for each public name, and for one wrong call, over the package laid out as pip installs it."""
    folder = tmp_path_factory.mktemp("types")
    for source, target in (
        ("scbch_keras", "scbch_keras"),
        ("export", "scbch_keras/export"),
        ("training", "scbch_keras/training"),
    ):
        shutil.copytree(
            ROOT / source, folder / target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
        )
    lines = [f"import {package}" for package in PACKAGES]
    lines += [*(f"reveal_type({name})" for name in PUBLIC), WRONG]
    (folder / "uses.py").write_text("\n".join(lines))
    (folder / "mypy.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8") + SKIPPED)
    result = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "uses.py", "--config-file", "mypy.toml"),
            *("--follow-imports", "silent", "--cache-dir", folder / "cache"),
        ],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode in (0, 1), result.stdout + result.stderr
    found = re.findall(r"^uses\.py:(\d+): (?:note|error): (.*)$", result.stdout, re.MULTILINE)
    shown: dict[str, list[str]] = {}
    for line, text in found:
        shown.setdefault(lines[int(line) - 1], []).append(text)
    return shown


@pytest.mark.parametrize("name", PUBLIC)
def test_type_of_a_public_name_is_known(answers, name):
    (text,) = answers[f"reveal_type({name})"]
    revealed = text.removeprefix("Revealed type is ").strip('"')
    home = getattr(import_module(name.rpartition(".")[0]), name.rpartition(".")[2])
    if isinstance(home, type):
        assert re.match(r"def .*-> scbch_keras\.", revealed), revealed
        assert f".{home.__name__}" in revealed.rpartition("->")[2]
    elif callable(home):
        assert re.match(r"def .*->", revealed), revealed
    elif isinstance(home, str):
        assert revealed in ("str", "builtins.str")
    else:
        assert "types.ModuleType" in revealed or "Module" in revealed, revealed
    assert revealed.rpartition("->")[2].strip() != "Any"


def test_a_wrong_call_is_refused(answers):
    assert any("HashEncoder" in text for text in answers[WRONG])


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_declared_to_type_checkers(package):
    module = import_module(package)
    for name in getattr(module, "__all__", ()):
        assert hasattr(module, name)
