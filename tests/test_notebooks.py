"""The notebooks of docs/notebooks run from top to bottom, and hold no outputs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="the notebooks train on PyTorch")


def cells_of(name):
    return json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]


def run(name, folder):
    code = "\n\n".join("".join(cell["source"]) for cell in cells_of(name) if cell["cell_type"] == "code")
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_holds_no_outputs_and_the_page_of_notebooks_names_it(path):
    for cell in cells_of(path.stem):
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    page = (NOTEBOOKS.parent / "tutorials" / "notebooks.md").read_text(encoding="utf-8")
    assert f"../notebooks/{path.name}" in page


def test_clean_your_labels_finds_and_corrects_the_wrong_ones(tmp_path):
    printed = run("clean_your_labels", tmp_path)
    assert "labels that are right: 78% before, 100% after" in printed
    assert run("clean_your_labels", tmp_path).startswith("200 rows")  # also on a folder that is there


@pytest.mark.release
def test_serve_it_releases_encodes_searches_and_keeps_an_index(tmp_path):
    printed = run("serve_it", tmp_path)
    assert "blessed" in printed
    assert "119 codes, 32 bits" in printed
