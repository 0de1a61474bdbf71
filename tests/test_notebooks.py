"""The notebooks of docs/notebooks run from top to bottom, and hold no outputs."""

import json
from pathlib import Path

import keras
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="the notebooks train on PyTorch")


def cells_of(name):
    return json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the cells of a notebook in a folder of their own: name -> what they print."""
    monkeypatch.chdir(tmp_path)

    def printed(name):
        code = "\n\n".join("".join(cell["source"]) for cell in cells_of(name) if cell["cell_type"] == "code")
        exec(compile(code, name, "exec"), {"__name__": "__main__"})
        return capsys.readouterr().out

    return printed


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_holds_no_outputs_and_the_page_of_notebooks_names_it(path):
    for cell in cells_of(path.stem):
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    page = (NOTEBOOKS.parent / "tutorials" / "notebooks.md").read_text(encoding="utf-8")
    assert f"../notebooks/{path.name}" in page


def test_clean_your_labels_finds_and_corrects_the_wrong_ones(run):
    printed = run("clean_your_labels")
    assert "labels that are right: 78% before, 100% after" in printed
    assert run("clean_your_labels").startswith("200 rows")  # also on a folder that is there


@pytest.mark.release
def test_serve_it_releases_encodes_searches_and_keeps_an_index(run):
    printed = run("serve_it")
    assert "blessed" in printed
    assert "119 codes, 32 bits" in printed
