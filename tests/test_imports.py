"""Every import of the package from itself finds its module and its name, also those inside functions."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import packages_distributions
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


ICONS = ("pairs", "pictures", "encoded_icons")


def named(requirement):
    """The package of a requirement as all of its spellings are written."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


OWN_DATA = """
import importlib, pkgutil, sys
from importlib.machinery import PathFinder

absent = set(sys.argv[1].split(","))

class Installed(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in absent else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Installed
import scbch_keras.training
rooms = [info.name for info in pkgutil.walk_packages(scbch_keras.training.__path__, "scbch_keras.training.")]
for name in rooms:
    if not name.startswith(("scbch_keras.training.quickstart.", "scbch_keras.training.tfx.")):
        try:
            importlib.import_module(name)
        except ImportError as error:
            print(name.rpartition(".")[2], error)
"""


def test_own_data_needs_the_extra_train_alone():
    """What needs another package says which to install, and nothing else imports it on the way."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    of_train = {named(line) for line in (*extras["train"], *extras["pictures"], *extras["torch"])}
    others = {
        named(line)
        for extra, lines in extras.items()
        if extra not in ("test", "lint", "docs", "benchmark")
        for line in lines
    }
    names = packages_distributions()
    absent = {name for name, of in names.items() if {named(package) for package in of} & (others - of_train)}
    absent -= {"scbch_keras", *(name for name, of in names.items() if "setuptools" in of)}
    assert {"py_phosphor_icons", "tensorflow", "onnxruntime", "fastapi"} <= absent
    command = [sys.executable, "-c", OWN_DATA, ",".join(sorted(absent))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    refused = [line for line in done.stdout.splitlines() if "pip install" not in line]
    assert refused == []
    # A module that lacks a package stops only who asks for it.
    assert {line.partition(" ")[0] for line in done.stdout.splitlines()} <= {*ICONS, "doc2vec"}
