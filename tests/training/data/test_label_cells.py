"""Labels as tables of many origins write them: read as they are meant, or refused with the row and a remedy."""

import io

import numpy as np
import pytest
from rich.console import Console

from scbch_keras.training.data.own.read import read_own
from scbch_keras.training.runs.describe import describe
from tests.training.data.tables import write_table

Image = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.numpy_only


def table(folder, cells, ending=".csv", column="labels"):
    rows = [
        {"id": str(row), "picture": f"{row}.png", "text": "x", "labels": "a", column: cell}
        for row, cell in enumerate(cells)
    ]
    for row in rows:
        Image.new("L", (4, 4), int(row["id"]) * 9).save(folder / row["picture"])
    return write_table(folder / f"table{ending}", rows)


READ = {
    "a JSON list": (['["cat", "dog"]', '["dog"]'], ("cat", "dog"), [[1, 1], [0, 1]]),
    "an empty JSON list": (["[]", ' ["cat"] '], ("cat",), [[0], [1]]),
    "a JSON list of names with separators": (
        ['["a;b", "c/d, e"]', "c"],
        ("a;b", "c", "c/d, e"),
        [[1, 0, 1], [0, 1, 0]],
    ),
    "a JSON list beside separated names": (
        ['["cat", "x;y"]', "cat;dog"],
        ("cat", "dog", "x;y"),
        [[1, 0, 1], [1, 1, 0]],
    ),
    "names in brackets, separated": (
        ["[red];[blue]", "[red]Dog"],
        ("[blue]", "[red]", "[red]Dog"),
        [[1, 1, 0], [0, 0, 1]],
    ),
    "apostrophes": (
        ["'90s;rock 'n' roll", "dogs'"],
        ("'90s", "dogs'", "rock 'n' roll"),
        [[1, 0, 1], [0, 1, 0]],
    ),
    "numbers of classes": (["10;3", "11"], ("10", "11", "3"), [[1, 0, 1], [0, 1, 0]]),
    "versions": (["1.5", "2.0"], ("1.5", "2.0"), [[1, 0], [0, 1]]),
    "numbers of classes that are bits": (["10", "11"], ("10", "11"), [[1, 0], [0, 1]]),
}


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
@pytest.mark.parametrize("kind", READ)
def test_names_are_read(tmp_path, kind, ending):
    cells, names, labels = READ[kind]
    data = read_own(table(tmp_path, cells, ending))
    assert data.label_names == names
    np.testing.assert_array_equal(data.labels, labels)


REFUSED = {
    "a Python list": ("['cat']", r"write \[\"cat\", \"dog\"\] or cat;dog"),
    "a Python list with separators": ("['cat'; 'dog']", "a JSON list"),
    "a Python tuple": ("('cat',)", "a JSON list"),
    "a numpy array of strings": ("['cat' 'dog']", "a JSON list"),
    "half a list": ("cat;['dog'", "a JSON list"),
    "a JSON object": ('{"cat": 1}', "a JSON list"),
    "a set of PostgreSQL": ("{cat}", "a JSON list"),
    "a name in brackets alone": ("[red]", "a name that is really written so goes into a JSON list"),
    "quoted names": ('"cat";"dog"', "a JSON list"),
    "typographic quotes": ("\u201ccat\u201d", "a JSON list"),
    "a full-width semicolon": ("\u732b\uff1b\u7ea2", "choose '\uff1b' if it parts labels here"),
    "an ideographic comma": ("\u732b\u3001\u7ea2", "choose '\u3001'"),
    "a full-width comma": ("\u732b\uff0c\u7ea2", "choose '\uff0c'"),
    "an Arabic comma": ("a\u060cb", "choose '\u060c'"),
    "a bar": ("cat|dog", r"choose '\|'"),
    "a slash": ("cat/dog", r"as a JSON list: \[\"cat/dog\"\]"),
    "a tab": ("cat\tdog", r"choose '\\t'"),
    "lines": ("cat\ndog", r"choose '\\n'"),
    "one-hot, blanks between": ("0 1 0", "write the names of the labels that are set"),
    "one-hot as floats": ("0. 1. 0.", "write the names"),
    "truth values": ("True False", "write the names"),
    "labels of fastText": ("__label__cat __label__dog", "leave out the '__label__'"),
    "a missing value of pandas": ("nan", "leave the cell empty"),
    "None": ("None", "leave the cell empty"),
    "a missing value of R": ("NA", "leave the cell empty"),
    "a missing value of spreadsheets": ("n/a", "leave the cell empty"),
    "a missing value of databases": (r"\N", "leave the cell empty"),
    "scores": ("0.9;0.1;1", "write the names of the labels that are set"),
    "0 and 1 as floats, separated": ("0.0;1.0", "write the names of the labels that are set"),
    "truth values, separated": ("True;False", "write the names of the labels that are set"),
    "a missing value of JavaScript": ("undefined", "leave the cell empty"),
    "a JSON list of numbers": ("[0, 1]", "a list of strings"),
}


@pytest.mark.parametrize("column", ["labels", "clean_labels"])
@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
@pytest.mark.parametrize("kind", REFUSED)
def test_other_notations_are_refused_with_their_row_and_a_remedy(tmp_path, kind, ending, column):
    cell, remedy = REFUSED[kind]
    path = table(tmp_path, ["cat", cell], ending, column)
    line = 3 if ending == ".csv" else 2
    with pytest.raises(ValueError, match=rf"row 2 \(line {line}\): {column}: .*{remedy}"):
        read_own(path)
    assert describe(path, console=Console(file=io.StringIO())).problems[0].row == 1


@pytest.mark.parametrize("cells", [["010", "100"], ["0;1", "1;0"], ["0 1 0", "1 0 0"]])
def test_rows_of_a_matrix_are_no_names(tmp_path, cells):
    with pytest.raises(ValueError, match=r"row 1 .*: labels: .*write the names of the labels that are set"):
        read_own(table(tmp_path, cells))


def test_a_vocabulary_knows_names_with_any_sign(tmp_path):
    path = table(tmp_path, ["cat/dog", "sea"])
    assert read_own(path, label_names=("cat/dog", "sea")).labels.tolist() == [[1, 0], [0, 1]]


def test_parquet_says_how_names_are_written(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"image": [[1.0], [2.0]], "text": [[1], [0]], "labels": ["cat;dog", "dog"]}
    parquet.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"'labels': .* got string; write the names of a row as a list"):
        read_own(tmp_path / "x.parquet")
