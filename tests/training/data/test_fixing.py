"""Corrections of labels: what is refused, what a fixed folder holds in each format, and what stays as it was."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scbch_keras.safe_text import csv_cell
from scbch_keras.training.data.own import read_own
from scbch_keras.training.data.own.fixed_data import correction_notes, labels_before
from scbch_keras.training.data.own.fixing import fix

pytestmark = pytest.mark.numpy_only

COLUMNS = ("id", "label", "given", "decision", "new_labels", "who", "when")
WHEN = "2026-01-31T12:00:00Z"
NAMES = ("a;b", "cat", "dog", "sea")
LISTS = (("cat", "sea"), ("dog",), (), ("sea", "a;b"), ("cat",))
IDS = ("p1", "p2", "p3", "p4", "=p5")
GIVEN = dict(zip(IDS, ("cat;sea", "dog", "", "a\\;b;sea", "cat"), strict=True))


def line(name, label, decision, new_labels, **changes):
    cells = {"id": name, "label": label, "given": GIVEN.get(name, ""), "decision": decision}
    return {**cells, "new_labels": new_labels, "who": "Ann", "when": WHEN, **changes}


GOOD = (
    line("p1", "cat", "accept", "sea"),
    line("p1", "sea", "keep", "sea"),
    line("p3", "", "edit", "dog;a\\;b"),
    line("p4", "dog", "accept", "sea;a\\;b;dog"),
    line("=p5", "", "keep", "cat"),
)
AFTER = (("sea",), ("dog",), ("a;b", "dog"), ("a;b", "dog", "sea"), ("cat",))


def written(folder, lines, columns=COLUMNS, safe=csv_cell):
    content = io.StringIO(newline="")
    table = csv.DictWriter(content, columns)
    table.writeheader()
    table.writerows({name: safe(cell) for name, cell in one.items()} for one in lines)
    (folder / "corrections.csv").write_text(content.getvalue(), encoding="utf-8", newline="")
    return folder / "corrections.csv"


def table_csv(folder):
    rows = [
        b'\xef\xbb\xbfid,note,picture,text,labels\r\n"p1","a ""note""",one.png,"red, and\nblue",cat;sea\r\n\r\n',
        b'p2,,./one.png,x,dog\r\np3,,more/two.png,"",\r\np4,n,one.png,y,"[""sea"", ""a;b""]"\r\n=p5,n,one.png,z,cat',
    ]
    (folder / "table.csv").write_bytes(b"".join(rows))
    return "table.csv"


def table_jsonl(folder):
    rows = [
        {"id": name, "picture": "one.png", "text": "x", "labels": list(names), "more": 1.50}
        for name, names in zip(IDS, LISTS, strict=True)
    ]
    text = "\n\n".join(map(json.dumps, rows)).replace("1.5", "1.500")
    (folder / "table.jsonl").write_text(text, encoding="utf-8")
    return "table.jsonl"


def _arrays():
    rng = np.random.default_rng(0)
    labels = np.array([[name in names for name in NAMES] for names in LISTS])
    features = {"image": rng.random((5, 3)), "text": rng.random((5, 2))}
    return {**features, "labels": labels, "ids": np.array(IDS), "label_names": np.array(NAMES)}


def npz_of(kind):
    def make(folder):
        arrays = _arrays()
        arrays["labels"] = np.asfortranarray(arrays["labels"].astype(kind))
        np.savez_compressed(folder / "data.npz", **arrays, beside=np.arange(3))
        return "data.npz"

    return make


def hdf5(folder):
    import h5py

    with h5py.File(folder / "data.h5", "w") as file:
        for name, values in _arrays().items():
            file[name] = values.tolist() if values.dtype.kind == "U" else values
        file.create_dataset("beside", data=[1, 2, 3], compression="gzip")
    return "data.h5"


def parquet_of(kind):
    def make(folder):
        import pyarrow as pa
        from pyarrow import parquet

        arrays = _arrays()
        labels = pa.array([list(names) for names in LISTS])
        columns = {"id": list(IDS), "beside": [1, 2, 3, 4, 5], "labels": labels}
        if kind == "numbers":
            columns["labels"] = pa.array(arrays["labels"].astype(int).tolist(), pa.list_(pa.int8(), 4))
        features = {name: arrays[name].tolist() for name in ("image", "text")}
        parquet.write_table(pa.table({**columns, **features}), folder / "data.parquet", row_group_size=2)
        return "data.parquet"

    return make


FORMATS = {
    "CSV": table_csv,
    "JSONL": table_jsonl,
    "npz of uint8": npz_of("uint8"),
    "npz of float32": npz_of("float32"),
    "npz of bool": npz_of("bool"),
    "HDF5": hdf5,
    "Parquet of names": parquet_of("names"),
}


@pytest.fixture
def folder(tmp_path):
    """A folder with pictures for tables."""
    folder = tmp_path / "data"
    (folder / "more").mkdir(parents=True)
    for name in ("one.png", "more/two.png"):
        Image.new("RGB", (4, 4), "red").save(folder / name)
    return folder


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lists(data):
    return [tuple(data.label_names[column] for column in np.flatnonzero(row)) for row in data.labels]


@pytest.mark.parametrize("kind", FORMATS)
def test_corrections_are_applied_and_all_else_stays(folder, kind):
    name = FORMATS[kind](folder)
    before, data = content(folder), read_own(folder / name)
    new = folder.parent / "new"
    fixed = fix(folder / name, written(folder.parent, GOOD), new)
    assert content(folder) == before
    assert (fixed.reviewed, fixed.changed, fixed.added, fixed.removed) == (4, 3, 3, 1)
    again = read_own(new)
    assert again.source.name == name
    assert list(map(sorted, lists(again))) == list(map(sorted, AFTER))
    np.testing.assert_array_equal(again.ids, data.ids)
    if hasattr(data, "texts"):
        assert again.texts == data.texts
        assert {path.read_bytes() for path in again.pictures} == {(folder / "one.png").read_bytes()}
    else:
        np.testing.assert_array_equal(again.image, data.image)
        np.testing.assert_array_equal(again.text, data.text)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["corrections.csv", "data", "new"]


def test_rows_that_were_not_corrected_are_the_same_bytes(folder):
    old = (folder / table_csv(folder)).read_bytes()
    fix(folder, written(folder.parent, GOOD[:2]), folder.parent / "new")
    new = (folder.parent / "new" / "table.csv").read_bytes()
    assert new == old.replace(b'"p1","a ""note""",one.png', b'p1,"a ""note""",one.png').replace(
        b"cat;sea", b"sea"
    )
    (folder / "table.csv").unlink()
    old = (folder / table_jsonl(folder)).read_bytes()
    fix(folder, written(folder.parent, GOOD), folder.parent / "newer")
    expected = old.replace(b'["cat", "sea"]', b'["sea"]').replace(b"[]", b'["a;b", "dog"]')
    expected = expected.replace(b'["sea", "a;b"]', b'["sea", "a;b", "dog"]')
    assert (folder.parent / "newer" / "table.jsonl").read_bytes() == expected


def test_arrays_beside_the_labels_and_their_types_stay(folder):
    import h5py
    from pyarrow import parquet

    corrections = written(folder.parent, GOOD)
    for kind in ("npz of float32", "HDF5", "Parquet of names"):
        name = FORMATS[kind](folder)
        fix(folder / name, corrections, folder.parent / name.replace(".", "-"))
    with np.load(folder.parent / "data-npz" / "data.npz") as file:
        assert file["labels"].dtype == np.float32
        np.testing.assert_array_equal(file["beside"], np.arange(3))
    with h5py.File(folder.parent / "data-h5" / "data.h5") as file:
        assert file["labels"].dtype == bool
        np.testing.assert_array_equal(file["beside"], [1, 2, 3])
    new, old = (
        parquet.ParquetFile(path / "data.parquet") for path in (folder.parent / "data-parquet", folder)
    )
    assert new.schema_arrow == old.schema_arrow
    assert new.metadata.num_row_groups == old.metadata.num_row_groups == 3
    assert new.read(["beside"]) == old.read(["beside"])


def test_labels_that_parquet_holds_as_numbers_stay_numbers(folder):
    name = parquet_of("numbers")(folder)
    corrections = written(folder.parent, [line("p2", "2", "accept", "", given="2")])
    fix(folder / name, corrections, folder.parent / "new")
    assert read_own(folder.parent / "new").labels[1].tolist() == [0, 0, 0, 0]


def test_the_log_says_what_was_changed_by_whom_from_what_to_what(folder):
    table_csv(folder)
    first, second = folder.parent / "first", folder.parent / "second"
    fix(folder, written(folder.parent, GOOD), first)
    log = json.loads((first / "fixed.json").read_text(encoding="utf-8"))
    assert log["decisions"][0] == {
        **{"id": "p1", "label": "cat", "decision": "accept", "who": "Ann", "when": WHEN},
        **{"from": ["cat", "sea"], "to": ["sea"]},
    }
    assert correction_notes(first) == {
        "corrected labels": "4 changed (1 removed, 3 added) in 3 samples by Ann; see fixed.json"
    }
    assert labels_before(first) == {"p1": ["cat", "sea"], "p3": [], "p4": ["a;b", "sea"]}
    again = [line("p1", "sea", "accept", "", given="sea", who="Bo")]
    fix(first, written(folder.parent, again), second, pictures="link")
    assert "5 changed (2 removed, 3 added)" in correction_notes(second)["corrected labels"]
    assert "Ann, Bo" in correction_notes(second / "table.csv")["corrected labels"]
    assert (second / "one.png").samefile(first / "one.png")
    assert correction_notes(folder) == {}


BAD = {
    "an unknown id": ([line("p9", "cat", "accept", "")], "row 1 .*: id: the data has no sample 'p9'"),
    "an unknown label": ([line("p1", "cow", "keep", "cat;sea")], "label: the data has no label 'cow'"),
    "an unknown new label": ([line("p1", "", "edit", "cow")], "new_labels: the data has no label 'cow'"),
    "labels that changed since": (
        [line("p1", "cat", "accept", "", given="cat")],
        "no longer what the audit saw: expected 'cat;sea', got 'cat'; audit the data again",
    ),
    "two decisions on one label": (
        [line("p1", "cat", "accept", "sea"), line("p1", "cat", "keep", "sea")],
        "row 2 .*'cat' of 'p1': it was decided in an earlier line",
    ),
    "two results": ([line("p1", "cat", "accept", "sea"), line("p1", "sea", "keep", "cat")], "another line of 'p1'"),
    "edit and accept": ([line("p1", "cat", "accept", "sea"), line("p1", "", "edit", "sea")], "edit of 'p1'"),
    "a result that was not decided": ([line("p1", "cat", "accept", "sea;dog")], "expected 'sea' by what was accepted"),
    "keep with a change": ([line("p1", "cat", "keep", "sea")], "new_labels: expected 'cat;sea'"),
    "accept of no label": ([line("p1", "", "accept", "sea")], "expected the label that is accepted"),
    "another decision": ([line("p1", "cat", "maybe", "sea")], "expected one of accept, keep, edit, got 'maybe'"),
    "nobody": ([line("p1", "cat", "accept", "sea", who=" ")], "who: expected who decided"),
    "no time": ([line("p1", "cat", "accept", "sea", when="yesterday")], "when: expected a time with its zone"),
    "a time without zone": ([line("p1", "cat", "accept", "sea", when="2026-01-31T12:00:00")], "with its zone"),
    "a label twice": ([line("p1", "", "edit", "cat;cat")], "expected each label once"),
    "an empty label": ([line("p1", "", "edit", "cat;;sea")], "expected labels parted by ';'"),
    "half an escape": ([line("p1", "", "edit", "cat\\")], "expected labels parted by ';'"),
    "nothing": ([], "expected at least one decision"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_corrections_that_do_not_fit_are_refused_and_nothing_is_written(folder, kind):
    table_csv(folder)
    lines, message = BAD[kind]
    before = content(folder)
    with pytest.raises(ValueError, match=message):
        fix(folder, written(folder.parent, lines), folder.parent / "new")
    assert content(folder) == before
    assert sorted(path.name for path in folder.parent.iterdir()) == ["corrections.csv", "data"]


@pytest.mark.parametrize("who", ["=HYPERLINK(1)", "@SUM(A1)", "\u202eAnn", "'Ann"])
def test_text_that_a_spreadsheet_would_run_is_refused(folder, who):
    table_csv(folder)
    lines = [line("p1", "cat", "accept", "sea", who=who)]
    with pytest.raises(ValueError, match=r"who: got .*has an apostrophe before it"):
        fix(folder, written(folder.parent, lines, safe=str), folder.parent / "new")
    fix(folder, written(folder.parent, lines), folder.parent / "new")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,label\np1,cat\n", "expected the columns id, label, given"),
        ("", "got none"),
        (",".join(COLUMNS) + "\np1,cat\n", "expected 7 cells"),
    ],
)
def test_another_file_is_no_corrections(folder, content, message):
    table_csv(folder)
    (folder.parent / "c.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        fix(folder, folder.parent / "c.csv", folder.parent / "new")


def test_places_that_are_taken_are_refused(folder):
    table_csv(folder)
    corrections = written(folder.parent, GOOD)
    (folder.parent / "full").mkdir()
    (folder.parent / "full" / "file").touch()
    for out, message in (
        (folder.parent / "full", "expected a new or empty folder"),
        (corrections, "expected a new or empty folder"),
        (folder / "inside", "outside the data"),
        (folder.parent / "nowhere" / "new", "there is no folder"),
    ):
        with pytest.raises(ValueError, match=message):
            fix(folder, corrections, out)
    (folder.parent / "empty").mkdir()
    fix(folder, corrections, folder.parent / "empty")


def test_a_failure_on_the_way_leaves_nothing(folder, monkeypatch):
    table_csv(folder)
    monkeypatch.setattr("scbch_keras.training.data.own.fixing.shutil.copyfile", _full_disk)
    with pytest.raises(OSError, match="No space left"):
        fix(folder, written(folder.parent, GOOD), folder.parent / "new")
    assert sorted(path.name for path in folder.parent.iterdir()) == ["corrections.csv", "data"]


def _full_disk(source, target):
    Path(target).write_bytes(b"half")
    raise OSError(28, "No space left on device")


def test_files_that_are_read_alone_are_refused_with_a_remedy(folder):
    import scipy.io

    scipy.io.savemat(folder / "data.mat", {"image": np.eye(5), "text": np.eye(5), "labels": np.eye(5)[:, :2]})
    lines = [line("0", "0", "accept", "", given="0")]
    with pytest.raises(
        ValueError, match=r"data\.mat: labels are written to .*save the arrays as \.npz or \.h5"
    ):
        fix(folder / "data.mat", written(folder.parent, lines), folder.parent / "new")


def test_a_damaged_log_is_named(folder):
    table_csv(folder)
    new = folder.parent / "new"
    fix(folder, written(folder.parent, GOOD), new)
    outside = {"format": "scbch fixed data 1", "data": "../table.csv", "decisions": [], "earlier": []}
    for damage in ("{", '{"format": "other"}', json.dumps(outside)):
        (new / "fixed.json").write_text(damage)
        with pytest.raises(ValueError, match=r"fixed\.json"):
            read_own(new)


def test_columns_by_other_names_are_written_too(folder):
    table_csv(folder)
    text = (folder / "table.csv").read_bytes()
    (folder / "table.csv").write_bytes(text.replace(b",text,labels", b",caption,tags"))
    corrections, named = written(folder.parent, GOOD), "text=caption,labels=tags"
    fix(folder, corrections, folder.parent / "new", columns=named)
    assert list(map(sorted, lists(read_own(folder.parent / "new", columns=named)))) == list(
        map(sorted, AFTER)
    )
    (folder / "table.csv").unlink()
    arrays = _arrays()
    np.savez(
        folder / "data.npz", **{"tags" if name == "labels" else name: array for name, array in arrays.items()}
    )
    fix(folder / "data.npz", corrections, folder.parent / "newer", columns="labels=tags")
    assert list(map(sorted, lists(read_own(folder.parent / "newer", columns="labels=tags")))) == list(
        map(sorted, AFTER)
    )


def test_a_table_whose_rows_are_not_the_datas_is_refused(folder):
    rows = [
        {"id": f"p{row}", "picture": "one.png", "captions": ["a", "b"], "labels": ["cat"]} for row in range(3)
    ]
    (folder / "table.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    data = read_own(folder, columns="captions=captions")
    lines = [line(str(data.ids[1]), "cat", "accept", "", given="cat")]
    with pytest.raises(ValueError, match=r"the data has 6 rows, the table 3"):
        fix(folder, written(folder.parent, lines), folder.parent / "new", columns="captions=captions")
    assert not (folder.parent / "new").exists()
