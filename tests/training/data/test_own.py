import builtins
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from scbch_keras.training.data.own.read import read_own, retrieval_data, split_own
from scbch_keras.training.data.own.vocabulary import (
    alike,
    load_vocabulary,
    near_duplicates,
    save_vocabulary,
)
from scbch_keras.training.runs.describe import describe, show

Image = pytest.importorskip("PIL.Image")
pytestmark = [pytest.mark.numpy_only, pytest.mark.filterwarnings("error")]

DOCS = Path(__file__).parents[3] / "docs" / "data.md"
HEADER = "id,picture,text,labels"
ROWS = ["a,1.png,one,cat;dog", "b,2.jpg,two,dog", "c,sub/3.png,three,"]


@pytest.fixture
def folder(tmp_path):
    """Three pictures and their table."""
    (tmp_path / "data" / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("1.png", "2.jpg", "sub/3.png"):
        Image.fromarray(rng.integers(0, 255, (24, 24, 3), np.uint8)).save(tmp_path / "data" / name)
    write(tmp_path / "data", ROWS)
    return tmp_path / "data"


def write(folder, rows, header=HEADER, name="table.csv"):
    (folder / name).write_bytes("\n".join([header, *rows, ""]).encode("utf-8", "surrogateescape"))


def shown(description):
    stream = io.StringIO()
    show(description, Console(file=stream, width=200))
    return stream.getvalue()


def quiet_describe(path, separator=";"):
    return describe(path, separator, Console(file=io.StringIO()))


def arrays(**changed):
    made = {
        "image": np.arange(24, dtype=np.float32).reshape(6, 4) ** 2,
        "text": np.eye(6, 5, dtype=np.float16) + 1,
        "labels": np.array([[1, 0], [0, 1], [1, 1], [0, 0], [1, 0], [0, 1]]),
        "ids": np.array(list("abcdef")),
        "label_names": np.array(["cat", "dog"]),
        "split": np.array(["train", "query", "database"] * 2),
    }
    return {name: array for name, array in {**made, **changed}.items() if array is not None}


def parquet(path, **columns):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet as pq

    pq.write_table(pa.table(columns), path)
    return path


def test_a_folder_is_read_row_by_row(folder):
    seen = []
    data = read_own(folder, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert data.ids.tolist() == ["a", "b", "c"]
    assert data.pictures == tuple(folder / name for name in ("1.png", "2.jpg", "sub/3.png"))
    assert data.texts == ["one", "two", "three"]
    assert data.label_names == ("cat", "dog")
    np.testing.assert_array_equal(data.labels, np.array([[1, 1], [0, 1], [0, 0]], np.uint8), strict=True)
    assert data.clean_labels is None
    assert data.split is None
    assert (data.source.name, data.source.bytes) == ("table.csv", (folder / "table.csv").stat().st_size)


def test_a_changed_picture_changes_the_source(folder):
    before = read_own(folder).source
    Image.new("L", (9, 9)).save(folder / "1.png")
    after = read_own(folder).source
    assert before.sha256 == after.sha256
    assert before.arrays["pictures"] != after.arrays["pictures"]


def test_csv_as_spreadsheets_write_it(folder):
    text = "\ufeff" + "\r\n".join(
        [
            "extra,id,picture,labels,text,clean_labels,split",
            ',a,1.png, dog | cat,"ä ""x"",\r\ny",cat,train',
            "",
            "?,b,2.jpg,dog,, ,query",
            "?,c,sub/3.png,,z,Ä,database",
        ]
    )
    (folder / "table.csv").write_bytes(text.encode())
    data = read_own(folder / "table.csv", "|")
    assert data.texts == ['ä "x",\r\ny', "", "z"]
    assert data.label_names == ("cat", "dog", "Ä")
    np.testing.assert_array_equal(data.labels, [[1, 1, 0], [0, 1, 0], [0, 0, 0]])
    np.testing.assert_array_equal(data.clean_labels, [[1, 0, 0], [0, 0, 0], [0, 0, 1]])
    assert data.split.tolist() == ["train", "query", "database"]
    assert quiet_describe(folder, "|").ignored_columns == ("extra",)


def test_jsonl_takes_lists_of_labels_and_says_the_same_as_csv(folder):
    csv = read_own(folder)
    (folder / "table.csv").unlink()
    rows = [
        {"id": "a", "picture": "1.png", "text": "one\u2028", "labels": ["dog", "cat"]},
        {"id": 7, "picture": "2.jpg", "text": "two", "labels": "dog"},
        {"id": "c", "picture": "sub/../sub/3.png", "text": "three", "labels": []},
    ]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (folder / "table.jsonl").write_text("\n\n".join(lines), encoding="utf-8")
    data = read_own(folder)
    np.testing.assert_array_equal(data.labels, csv.labels, strict=True)
    assert data.ids.tolist() == ["a", "7", "c"]
    assert data.texts[0] == "one\u2028"


ROW1, ROW2, ROW3 = (rf"table.csv, row {row} \(line {row + 1}\)" for row in (1, 2, 3))
SPLIT = HEADER + ",split"

CSV_FAULTS = {
    "missing column": (
        ["a,1.png,one"],
        "id,picture,text",
        "column 'labels' is missing; found: 'id', 'picture', 'text'",
    ),
    "column separator": (
        ["a;1.png;one;cat"],
        "id;picture;text;labels",
        r"header \(line 1\): columns must be parted by ',', got ';'",
    ),
    "column named twice": (["a,1.png,one,cat,x"], HEADER + ",text", r"got twice: \['text'\]"),
    "empty table": ([], HEADER, "table.csv: expected at least one row"),
    "number of cells": ([ROWS[0], "b,2.jpg,two, too,dog"], HEADER, ROW2 + ": expected 4 cells, .* got 5"),
    "no CSV": ([ROWS[0], 'b,2.jpg,"two,dog'], HEADER, ROW2 + ": unexpected end .*is a quote left open"),
    "not UTF-8": (
        ['a,1.png,"o\nne",cat', "b,2.jpg,caf\udce9,dog"],
        HEADER,
        r"row 2 \(line 4\), text: byte 0xe9 is not UTF-8.*save the table as UTF-8",
    ),
    "duplicated id": (
        [*ROWS, "a,2.jpg,x,cat"],
        HEADER,
        rf"row 4 \(line 5\): the id 'a' is already that of {ROW1}",
    ),
    "bad id": ([",1.png,one,cat"], HEADER, ROW1 + ": id: expected a value, got an empty cell"),
    "bad text": (["a,1.png,o\0ne,cat"], HEADER, ROW1 + ": text: expected text, got a NUL"),
    "missing picture": (
        [ROWS[0], "b,sub\\3.png,x,cat"],
        HEADER,
        ROW2 + ": picture: .*got 'sub.+3.png', which is no file; folders are parted by '/'",
    ),
    "picture outside": (
        [ROWS[0], "b,../out.png,x,cat"],
        HEADER,
        ROW2 + ": picture: .* inside the folder, got '../out.png', outside of it",
    ),
    "empty label": (["a,1.png,one,cat;;dog"], HEADER, ROW1 + ": labels: .* got an empty one in 'cat;;dog'"),
    "label twice": (["a,1.png,one,cat; cat"], HEADER, ROW1 + ": labels: .* 'cat' again in 'cat; cat'"),
    "no labels": (["a,1.png,one,"], HEADER, "labels: expected labels, got none in any row"),
    "unknown split": (
        [f"{row},{part}" for row, part in zip(ROWS, ("train", "query", "test"), strict=True)],
        SPLIT,
        ROW3 + ": split: expected train, query or database, got 'test'",
    ),
    "split without rows": (
        [f"{row},{part}" for row, part in zip(ROWS, ("train", "query", "train"), strict=True)],
        SPLIT,
        "table.csv: split: .* got none of 'database'",
    ),
}


@pytest.mark.parametrize("kind", CSV_FAULTS)
def test_a_faulty_table_is_refused_and_described(folder, kind):
    rows, header, message = CSV_FAULTS[kind]
    Image.new("L", (2, 2)).save(folder.parent / "out.png")
    write(folder, rows, header)
    with pytest.raises(ValueError, match=message):
        read_own(folder)
    description = quiet_describe(folder)
    assert [p.kind for p in description.problems].count(kind) == 1
    assert not description.usable
    assert kind in shown(description)


@pytest.mark.parametrize(
    ("cells", "separator", "message"),
    [
        (
            ["cat,dog", "dog"],
            ";",
            ROW1 + ": labels: .* got 'cat,dog': no row has the separator ';': choose ','",
        ),
        (["cat;dog", "sea|dog"], ";", ROW2 + r": labels: .* got 'sea\|dog': other labels are parted by ';'"),
        (["cat;dog", "sea|dog"], "|", ROW1 + r": labels: .* got 'cat;dog': other labels are parted by '\|'"),
    ],
)
def test_mixed_separators_are_no_labels(folder, cells, separator, message):
    write(
        folder,
        [f'{row},{row}.{end},x,"{cell}"' for row, end, cell in zip("12", ("png", "jpg"), cells, strict=True)],
    )
    with pytest.raises(ValueError, match=message):
        read_own(folder, separator)
    assert [p.kind for p in quiet_describe(folder, separator).problems] == ["mixed separators"]
    if separator == ";" and "|" in cells[1]:
        names = ("cat", "dog", "sea|dog")
        assert read_own(folder, label_names=names).labels.tolist() == [[1, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        ('{"id": "b", ', "no JSON", r"row 2 \(line 2\): expected a JSON object, got '{\"id\": \"b\", '"),
        ('["b"]', "no JSON", r"expected a JSON object with keys, got \['b'\]"),
        ('{"id": "b", "id": "c"}', "no JSON", "a key stands there twice"),
        ("[" * 100_000, "no JSON", "expected a JSON object"),
        (
            '{"id": "b", "picture": "1.png", "text": null, "labels": []}',
            "bad text",
            'text: expected a string, got None; write "" where there is none',
        ),
        (
            '{"id": "b", "picture": "1.png", "text": ["a", "b"], "labels": []}',
            "bad text",
            r"text: expected a string, got \['a', 'b'\]; --columns captions=",
        ),
        (
            '{"id": "b", "picture": "1.png", "text": "", "labels": null}',
            "bad labels",
            "got None; write \\[\\] where there is no label",
        ),
        (
            '{"id": "b", "picture": "1.png", "text": "\\ud800", "labels": []}',
            "bad text",
            "half a surrogate pair",
        ),
        ('{"id": "b", "picture": "1.png", "labels": []}', "bad text", "text: it is missing in this row"),
        (
            '{"id": "b", "picture": "1.png", "text": "", "labels": [1]}',
            "bad labels",
            r"a list of strings, got \[1\]; --columns labels=YOURS",
        ),
    ],
)
def test_a_faulty_line_of_json(folder, line, kind, message):
    good = {"id": "a", "picture": "1.png", "text": "one", "labels": "cat"}
    (folder / "rows.jsonl").write_text(f"{json.dumps(good)}\n{line}\n")
    with pytest.raises(ValueError, match=message):
        read_own(folder / "rows.jsonl")
    assert kind in [p.kind for p in quiet_describe(folder / "rows.jsonl").problems]


def test_pictures_outside_the_folder_are_never_opened(folder, monkeypatch):
    outside = folder.parent / "outside"
    outside.mkdir()
    Image.new("L", (2, 2)).save(outside / "1.png")
    (folder / "link.png").symlink_to(outside / "1.png")
    (folder / "linked").symlink_to(outside)
    (folder / "inside.png").symlink_to(folder / "1.png")
    (folder / "loop.png").symlink_to("loop.png")
    write(folder, [f"a,{folder / '1.png'},x,cat"])
    with pytest.raises(ValueError, match=r"relative to the table's folder, got '/.*: write '1\.png'"):
        read_own(folder)
    names = ["link.png", "linked/1.png", str(outside / "1.png"), "../outside/1.png", "loop.png", "x" * 300]
    opened = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(path.name) or read_bytes(path))
    for name in names:
        write(folder, [f"a,{name},x,cat"])
        with pytest.raises(ValueError, match=r"outside of it|expected a picture"):
            read_own(folder)
    write(folder, [f"{row},{name},x,cat" for row, name in enumerate([*names, "inside.png"])])
    found = quiet_describe(folder)
    assert found.broken_pictures == tuple(range(len(names)))
    assert found.duplicates["picture"] == ()
    assert set(opened) == {"1.png"}
    assert opened.count("1.png") == 1  # what inside.png leads to


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda whole: whole[:-100], r"row 2 \(line 3\): .*'2.jpg': (?i:.*truncated)"),
        (lambda whole: b"", "'2.jpg': none of BMP, GIF, JPEG"),
        (lambda whole: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "'2.jpg': none of BMP"),
    ],
)
def test_a_broken_picture(folder, content, message):
    path = folder / "2.jpg"
    path.write_bytes(content(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        read_own(folder)
    assert quiet_describe(folder).broken_pictures == (1,)
    assert len(read_own(folder, check_pictures=False)) == 3


def test_an_unknown_label_is_named_with_its_row(folder):
    names = ("sea", "dog", "cat")
    np.testing.assert_array_equal(
        read_own(folder, label_names=names).labels, [[0, 1, 1], [0, 1, 0], [0, 0, 0]]
    )
    with pytest.raises(ValueError, match=r"table.csv, row 1 \(line 2\): .* got the unknown label 'cat'"):
        read_own(folder, label_names=("dog",))
    with pytest.raises(ValueError, match="label_names: expected each name once"):
        read_own(folder, label_names=("dog", "dog"))


def write_arrays(path, made):
    if path.suffix == ".npz":
        np.savez(path, **made)
        return path
    h5py = pytest.importorskip("h5py")  # keras brings it
    with h5py.File(path, "w") as file:
        for name, array in made.items():
            file[name] = array.astype(object) if array.dtype.kind == "U" else array
    return path


@pytest.mark.parametrize("ending", [".npz", ".h5", ".parquet"])
@pytest.mark.parametrize("extras", [True, False])
def test_arrays_come_as_they_stand(tmp_path, ending, extras):
    clean = arrays()["labels"][::-1].copy()
    made = arrays(clean_labels=clean) if extras else arrays(ids=None, split=None)
    if ending == ".parquet":
        columns = {
            {"ids": "id"}.get(name, name): a.tolist() for name, a in made.items() if name != "label_names"
        }
        path = parquet(tmp_path / "x.parquet", **columns)
    else:
        path = write_arrays(tmp_path / f"x{ending}", made)
    data = read_own(path)
    for name in ("image", "text", "labels"):
        np.testing.assert_array_equal(getattr(data, name), made[name])
    assert data.labels.dtype == np.uint8
    assert data.label_names == (("0", "1") if ending == ".parquet" else ("cat", "dog"))
    assert data.ids.tolist() == (list("abcdef") if extras else list("012345"))
    if extras:
        np.testing.assert_array_equal(data.clean_labels, clean)
        np.testing.assert_array_equal(data.split, made["split"])
    assert isinstance(data.image, np.memmap) == (ending == ".h5")
    assert quiet_describe(path).usable


def test_parquet_with_names_of_labels(tmp_path):
    columns = {"image": [[1.0, 2.0], [3.0, 5.0]], "text": [[1, 0], [0, 1]], "labels": [["b", "a, c"], []]}
    path = parquet(tmp_path / "x.parquet", **columns)
    data = read_own(path)
    assert data.label_names == ("a, c", "b")
    np.testing.assert_array_equal(data.labels, [[1, 1], [0, 0]])
    with pytest.raises(ValueError, match=r"x.parquet, row 0: .* the unknown label 'a, c'"):
        read_own(path, label_names=("b",))


@pytest.mark.parametrize(
    ("changed", "kind", "message"),
    [
        ({"image": [[1.0, 2.0], [3.0]]}, "width of a list", "'image': row 1: expected 2 numbers, .* got 1"),
        ({"image": [[1.0, 2.0], None]}, "width of a list", "'image': row 1: expected 2 numbers, .* got null"),
        ({"text": [[1, 0], [0, None]]}, "null", "'text': row 1: .* got a null among them"),
        ({"text": ["a", "b"]}, "column type", "'text': expected a column of lists, got string"),
        ({"labels": [["a", None], []]}, "no labels list", r"'labels': row 0: .*, got \['a', None\]"),
        (
            {"labels": [["a", " "], []]},
            "empty label",
            "x.parquet, row 0: labels: expected names, got an empty one",
        ),
        ({"labels": [[1, 2], [0, 1]]}, "labels not 0/1", "labels must hold only 0 and 1; .* is 0"),
        ({"id": ["a", None]}, "no string", "'id': row 1: expected a string, got None"),
        (
            {"id": ["a", "a"]},
            "duplicated id",
            "x.parquet, row 1: the id 'a' is already that of x.parquet, row 0",
        ),
    ],
)
def test_faulty_parquet(tmp_path, changed, kind, message):
    columns = {"image": [[1.0, 2.0], [3.0, 5.0]], "text": [[1, 0], [0, 1]], "labels": [["b"], []], **changed}
    path = parquet(tmp_path / "x.parquet", **columns)
    with pytest.raises(ValueError, match=message):
        read_own(path)
    assert kind in [p.kind for p in quiet_describe(path).problems]


def test_without_pyarrow_the_error_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    imported = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return imported(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="pip install pyarrow"):
        read_own(tmp_path / "x.parquet")


NAN = arrays()["image"].copy()
NAN[4, 1] = np.nan


FAULTY = [
    ({"labels": None}, "missing array", "x.*: the array 'labels' is missing; found: image, text"),
    ({"text": np.ones((5, 2))}, "lengths", "same length, got image 6, text 5, labels 6"),
    ({"ids": np.array(["a"])}, "lengths", "labels 6, ids 1"),
    (
        {"labels": arrays()["labels"] * 2},
        "labels not 0/1",
        r"labels must hold only 0 and 1; .* is 0 \(column 0: 2\)",
    ),
    (
        {"clean_labels": np.zeros((6, 3))},
        "classes",
        "clean_labels: expected 2 classes as in labels, got 3",
    ),
    ({"labels": np.zeros(6, int)}, "labels not 0/1", "one-hot"),
    ({"image": NAN}, "image not finite", "image: row 4 holds NaN or inf"),
    ({"image": np.ones(6)}, "no features", r"image: expected shape \(n, ...\), got \(6,\)"),
    (
        {"text": np.ones((6, 2), complex)},
        "no features",
        "text: expected real numbers .* got dtype complex128",
    ),
    (
        {"ids": np.array(list("abcdea"))},
        "duplicated id",
        "row 5: the id 'a' is already that of x.*, row 0",
    ),
    ({"label_names": np.array(["cat", ""])}, "empty label", "label_names: .* got '' at 1"),
    (
        {"label_names": np.array(["cat", "cat"])},
        "bad label_names",
        "label_names: .* each name once, got 'cat'",
    ),
    (
        {"label_names": np.array(["cat"])},
        "bad label_names",
        r"each of the 2 columns of labels, got shape \(1,\)",
    ),
    ({"split": np.array(["train"] * 5 + ["val"])}, "unknown split", "row 5: split: .* got 'val'"),
    ({"split": np.array(["train"] * 6)}, "split without rows", "got none of 'query'"),
]


# What is read is judged alike of both; HDF5 is read in a child process, which takes a second.
@pytest.mark.parametrize(
    ("ending", "changed", "kind", "message"),
    [*((".npz", *case) for case in FAULTY), *((".h5", *case) for case in FAULTY[::5])],
)
def test_faulty_arrays_are_refused_and_described(tmp_path, ending, changed, kind, message):
    path = write_arrays(tmp_path / f"x{ending}", arrays(**changed))
    with pytest.raises(ValueError, match=message):
        read_own(path)
    description = quiet_describe(path)
    assert kind in [p.kind for p in description.problems]
    assert kind in shown(description)


def test_nothing_is_unpickled(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, **arrays(ids=np.array([1, "a"], object)))
    with pytest.raises(
        ValueError, match=r"^x.npz: the array 'ids' cannot be read: .* save it as numbers, or as str"
    ):
        read_own(path)
    assert [p.kind for p in quiet_describe(path).problems] == ["unreadable array"]


def test_hdf5_links_to_other_files_are_not_followed(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = write_arrays(tmp_path / "x.h5", arrays(image=None))
    other = write_arrays(tmp_path / "other.h5", arrays())
    with h5py.File(path, "a") as file:
        file["image"] = h5py.ExternalLink(str(other), "image")
    with pytest.raises(
        ValueError, match=r"^x.h5: the array 'image' cannot be read: it is a link to another file"
    ):
        read_own(path)


def test_columns_come_in_the_order_of_the_vocabulary(tmp_path):
    path = write_arrays(tmp_path / "x.npz", arrays())
    data = read_own(path, label_names=("sea", "dog", "cat"))
    np.testing.assert_array_equal(data.labels[:, 1:], arrays()["labels"][:, ::-1])
    assert not data.labels[:, 0].any()
    with pytest.raises(ValueError, match=r"x.npz, row 1: .* unknown label 'dog'"):
        read_own(path, label_names=("cat", "sea"))
    nameless = write_arrays(tmp_path / "y.npz", arrays(label_names=None))
    assert read_own(nameless, label_names=("dog", "cat")).label_names == ("dog", "cat")
    with pytest.raises(ValueError, match="expected the 3 classes of the vocabulary, got 2 without names"):
        read_own(nameless, label_names=("dog", "cat", "sea"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npz", b"PK no zip", "x.npz: expected an npz file"),
        ("x.h5", b"nothing", "x.h5: expected an HDF5 file"),
        ("x.parquet", b"nothing", "x.parquet: expected a Parquet file"),
        ("x.pkl", b"nothing", "x.pkl: expected a folder of pictures with a table, or one of .npz"),
        ("folder/x.txt", b"", "expected one .csv or .jsonl table in the folder, got none"),
        ("gone", None, "there is no such file or folder"),
    ],
)
def test_of_some_files_nothing_can_be_read(tmp_path, name, content, message):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if content is not None:
        path.write_bytes(content)
    path = path.parent if name.startswith("folder") else path
    for look in (read_own, quiet_describe):
        with pytest.raises(ValueError, match=message):
            look(path)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".npz", ".h5", ".parquet"])
def test_whatever_is_damaged_what_is_refused_is_what_is_described(folder, ending):
    if ending in (".npz", ".h5"):
        path = write_arrays(folder / f"x{ending}", arrays())
    elif ending == ".parquet":
        path = parquet(folder / "x.parquet", image=[[1.0], [2.0]], text=[[1], [0]], labels=[["a"], ["b"]])
    else:
        rows = [dict(zip(HEADER.split(","), row.split(","), strict=True)) for row in ROWS]
        path = folder / f"table{ending}"
        path.write_text("\n".join([HEADER, *ROWS] if ending == ".csv" else map(json.dumps, rows)))
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(12):
        content = bytearray(whole)
        for place in rng.integers(len(content), size=rng.integers(1, 4)):
            content[place] = rng.choice(list(b'\xff\0;,"|[]{}\\\n/.1'))
        path.write_bytes(content if rng.random() < 0.8 else content[: rng.integers(len(content))])
        try:
            read_own(path)
            refused = False
        except ValueError:
            refused = True
        try:
            described = quiet_describe(path)
        except ValueError:
            assert refused
            continue
        assert described.usable == (not refused)
        shown(described)


def test_two_tables_are_one_too_many(folder):
    write(folder, ROWS, name="second.csv")
    with pytest.raises(ValueError, match=r"got second.csv, table.csv; give its path"):
        read_own(folder)
    assert len(read_own(folder / "second.csv")) == 3


@pytest.mark.parametrize("separator", ["", ";;", "a", "\n", '"', None])
def test_a_separator_is_one_character(folder, separator):
    with pytest.raises(ValueError, match="separator: expected one character"):
        read_own(folder, separator)


def test_a_description_counts(folder):
    (folder / "copy.png").write_bytes((folder / "1.png").read_bytes())
    rows = [*ROWS, "d,copy.png,two,dog", "e,1.png, ,[red]Dog;cat"]
    write(folder, [f"{row},cat" for row in rows], HEADER + ",clean_labels")
    found = quiet_describe(folder)
    assert found.usable
    assert found.rows == 5
    assert found.cardinality == (6 / 5, 0, 2)
    assert found.label_counts == {"[red]Dog": 1, "cat": 2, "dog": 3}
    assert found.unlabelled == (2,)
    assert found.empty_texts == (4,)
    assert found.differing == (0, 1, 2, 3, 4)
    assert found.duplicates == {"id": (), "picture": ((0, 3, 4),), "text and labels": ((1, 3),)}
    text = shown(found)
    assert "1 = 4 = 5" in text  # as the table counts
    assert "[red]Dog" in text
    assert not found.trainable
    assert "queries: expected 1 to 4 of the 5 rows" in text


def test_a_description_of_features(tmp_path):
    made = arrays(image=NAN.copy(), text=arrays()["text"].copy())
    made["image"][:, 2] = 7
    made["image"][3] = made["image"][1]
    made["text"][3] = made["text"][1]
    made["text"][5] = 0
    found = quiet_describe(write_arrays(tmp_path / "x.npz", made))
    assert found.duplicates == {"id": (), "image": ((1, 3),), "text": ((1, 3),), "pair": ((1, 3),)}
    assert found.constant_columns == {"image": (2,), "text": ()}
    assert found.not_finite == {"image": (4,), "text": ()}
    assert found.empty_texts == (5,)
    assert found.splits == {"train": 2, "query": 2, "database": 2}
    assert [p.row for p in found.problems] == [4]


def test_without_a_split_queries_are_drawn_and_the_rest_is_trained_on_and_searched(tmp_path):
    clean = 1 - arrays()["labels"]
    data = read_own(write_arrays(tmp_path / "x.npz", arrays(split=None, clean_labels=clean)))
    split = split_own(data, 2, seed=5)
    assert len(split.query) == 2
    np.testing.assert_array_equal(split.train, split.database)
    np.testing.assert_array_equal(np.sort(np.concatenate([split.query, split.train])), np.arange(6))
    np.testing.assert_array_equal(split_own(data, 1 / 3, seed=5).query, split.query)
    assert len({tuple(split_own(data, 2, seed).query) for seed in range(9)}) > 3
    parts = retrieval_data(data, split, "Mine")
    np.testing.assert_array_equal(parts.train.labels, data.labels[split.train])
    np.testing.assert_array_equal(parts.database.labels, clean[split.train])
    np.testing.assert_array_equal(parts.query.labels, clean[split.query])
    np.testing.assert_array_equal(parts.query.image, data.image[split.query])
    assert "clean_labels" in parts.notes["labels of queries and database"]


def test_a_split_of_the_data_decides(folder):
    write(
        folder,
        [f"{row},{part}" for row, part in zip(ROWS, ("query", "database", "train"), strict=True)],
        HEADER + ",split",
    )
    data = read_own(folder)
    split = split_own(data, 0.5, seed=0)
    assert [rows.tolist() for rows in split[:3]] == [[2], [0], [1]]
    assert "queries=0.5 not used" in split.notes["split"]
    assert "no clean ones" in split.notes["labels of queries and database"]
    image, text = np.arange(6.0).reshape(3, 2), np.ones((3, 4))
    parts = retrieval_data(data, split, "Mine", image, text)
    np.testing.assert_array_equal(parts.train.image, image[[2]])
    assert parts.query.pictures == (folder / "1.png",)
    with pytest.raises(ValueError, match="text: expected the features of all 3 rows, got none"):
        retrieval_data(data, split, "Mine", image)


@pytest.mark.parametrize("queries", [0, -1, 1.5, 3, 1.0e9, 0.01, float("nan"), True, None, "2"])
def test_queries_are_a_count_or_a_share(folder, queries):
    with pytest.raises(ValueError, match=r"queries: expected .*, got"):
        split_own(read_own(folder), queries, seed=0)


def test_a_vocabulary_is_recognised(tmp_path):
    path = tmp_path / "labels.json"
    save_vocabulary(path, ["dog", "Ä", "cat"])
    assert load_vocabulary(path) == ("dog", "Ä", "cat")
    with pytest.raises(ValueError, match="each name once, got 'a'"):
        save_vocabulary(path, ["a", "a"])
    assert load_vocabulary(path) == ("dog", "Ä", "cat")  # as it was
    path.write_text(path.read_text().replace("dog", "god"))
    with pytest.raises(ValueError, match=r"labels.json: .* the file was changed"):
        load_vocabulary(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match=r"labels.json: expected a vocabulary file"):
        load_vocabulary(path)


def test_labels_written_in_many_ways():
    assert alike(["10", "01", "1", "1.0", "0", "1.5", "-", "cat", "ca\u200bt", "\u00e9t\u00e9"]) == (
        ("01", "1", "1.0"),
        ("cat", "ca\u200bt"),
    )
    assert alike(["Sea side", "cat", "sea-side", "dog", "e\u0301", "\u00e9"]) == (
        ("Sea side", "sea-side"),
        ("e\u0301", "\u00e9"),
    )


def test_the_examples_of_the_docs_run(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    text = DOCS.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        exec(compile(code, str(DOCS), "exec"), names)
    csv = re.search(r"^```csv\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert Path("pets/table.csv").read_text(encoding="utf-8") == csv[1]


def test_reading_needs_neither_keras_nor_pyarrow():
    code = (
        "import sys; import scbch_keras.training.runs.describe as d; "
        "assert not {'keras', 'pyarrow', 'h5py', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})


@pytest.mark.parametrize(
    ("words", "groups"),
    [
        (["mug", "cup", "mugs"], [("mug", "mugs")]),
        (["mugs", "mug's", "mug"], [("mug", "mugs", "mug's")]),
        (["t-shirt", "tshirt", "T-Shirts", "shirt"], [("t-shirt", "tshirt", "T-Shirts")]),
        (
            ["don't", "don\u2019t", "dont", "#sunset", "sunset"],
            [("don't", "don\u2019t", "dont"), ("#sunset", "sunset")],
        ),
        (["glass", "glas", "as", "a", "bus", "bu", "its", "it"], []),
        (["e\u0301t\u00e9", "\u00e9t\u00e9"], [("e\u0301t\u00e9", "\u00e9t\u00e9")]),
        (["\u2764", "\U0001f680", "&", "s"], []),
        (["mug", "mug"], []),
        ([], []),
    ],
)
def test_near_duplicates_differ_in_case_punctuation_or_a_plural_s(words, groups):
    assert near_duplicates(words) == tuple(groups)


def test_near_duplicates_of_many_words():
    words = [f"w{number}{ending}" for number in range(30_000) for ending in ("", "s", "!")]
    assert len(near_duplicates(words)) == 30_000


def test_words_written_alike_are_shown_and_do_not_stand_in_the_way(folder):
    write(folder, ["a,1.png,a t-shirt,cat;dog", 'b,2.jpg,"mugs, Mug!",dog', "c,sub/3.png,tshirt mug,"])
    found = quiet_describe(folder)
    assert set(map(frozenset, found.similar_words)) == {
        frozenset({"mug", "mugs"}),
        frozenset({"t-shirt", "tshirt"}),
    }
    assert found.similar_words[0] == ("mug", "mugs")  # the most frequent first
    assert "words written alike" in shown(found)
    assert "mug = mugs" in shown(found)
    assert found.usable
