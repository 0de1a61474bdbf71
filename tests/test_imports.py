"""Every import of the package from itself finds its module and its name, also those inside functions."""

import ast
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.environ.get("KERAS_BACKEND") != "torch", reason="once is enough")

ROOT = Path(__file__).parents[1]
LISTED = subprocess.run(
    ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=False
).stdout
FILES = [ROOT / name for name in LISTED.split()] or sorted(ROOT.glob("[!.]*/**/*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_of_the_package_are_there(file):
    missing = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("scbch_keras"):
            continue
        for alias in node.names:
            try:
                if not hasattr(import_module(node.module), alias.name):
                    import_module(f"{node.module}.{alias.name}")
            except ModuleNotFoundError as error:
                if str(error.name).startswith("scbch_keras"):
                    missing.append(f"line {node.lineno}: {node.module}.{alias.name}")
    assert not missing


def test_the_command_line_is_imported_whole():
    code = "from scbch_keras.training.cli.main import commands; commands()"
    subprocess.run([sys.executable, "-c", code], check=True)
