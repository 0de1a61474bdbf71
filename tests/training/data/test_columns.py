"""A user's own names of columns, one-hot labels, lists of captions, and folders as Hugging Face writes them."""

import json

import numpy as np
import pytest

from scbch_keras.training.data.own.read import read_own, split_own
from scbch_keras.training.data.own.stream import open_inputs
from scbch_keras.training.runs.describe import describe
from scbch_keras.training.runs.recipe import resolve
from tests.training.data.tables import write_table

Image = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.numpy_only

ROWS = [
    {"name": "a", "image": "1.png", "caption": "one", "tags": "cat;dog", "text": "unused"},
    {"name": "b", "image": "2.png", "caption": "two", "tags": "dog", "text": "unused"},
    {"name": "c", "image": "3.png", "caption": "three", "tags": "", "text": "unused"},
]
NAMES = "id=name,picture=image,text=caption,labels=tags"


@pytest.fixture
def write(tmp_path):
    """A function: rows -> a table of that name beside three pictures."""
    for number in (1, 2, 3):
        Image.new("L", (4, 4), number).save(tmp_path / f"{number}.png")

    def written(rows, name="table.csv"):
        return write_table(tmp_path / name, rows)

    return written


@pytest.mark.parametrize("name", ["table.csv", "table.jsonl"])
def test_own_names_mean_ours(write, name):
    path = write(ROWS, name)
    data = read_own(path, columns=NAMES)
    assert data.ids.tolist() == ["a", "b", "c"]
    assert data.texts == ["one", "two", "three"]
    assert [picture.name for picture in data.pictures] == ["1.png", "2.png", "3.png"]
    assert data.label_names == ("cat", "dog")
    np.testing.assert_array_equal(data.labels, [[1, 1], [0, 1], [0, 0]])
    found = describe(path, recipe=resolve(data=str(path), columns=NAMES, queries=1))
    assert found.usable
    assert found.ignored_columns == ("text of the file",)
    [(texts, ids)] = open_inputs(path, "text", None, 9, NAMES).blocks
    assert (texts, ids) == (["one", "two", "three"], ["a", "b", "c"])
    [(pictures, ids)] = open_inputs(path, "image", None, 9, NAMES).blocks
    assert pictures == [str(path.parent / f"{number}.png") for number in (1, 2, 3)]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("text", "columns must be OURS=YOURS, .* got 'text'"),
        ("text=", "columns must be OURS=YOURS"),
        ("", "columns must be .*; got ''"),
        ("words=caption", "columns must name one of id, picture, text, .*; got 'words'"),
        ("text=caption,text=tags", "columns must name text once; got 'caption' and 'tags'"),
        (
            "text=caption,labels=caption",
            "columns must give each column one meaning; got 'caption' for text and labels",
        ),
        ("text=caption,captions=more", "text or captions"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused(write, columns, message):
    path = write(ROWS)
    with pytest.raises(ValueError, match=message):
        resolve(data=str(path), columns=columns)
    if columns:
        for read in (
            lambda: read_own(path, columns=columns),
            lambda: open_inputs(path, "text", None, 9, columns),
        ):
            with pytest.raises(ValueError, match=message):
                read()


@pytest.mark.parametrize("name", ["table.csv", "table.jsonl"])
def test_a_column_that_is_not_there_is_named_with_those_that_are(write, name):
    path = write(ROWS, name)
    columns = NAMES.replace("caption", "captoin")
    message = r"the column 'captoin' \(columns: text=captoin\) is missing; found: 'name', 'image', 'caption', 'tags'"
    with pytest.raises(ValueError, match=message):
        read_own(path, columns=columns)
    with pytest.raises(ValueError, match=message):
        list(open_inputs(path, "text", None, 9, columns).blocks)
    assert "missing column" in [
        p.kind for p in describe(path, recipe=resolve(data=".", columns=columns)).problems
    ]
    with pytest.raises(ValueError, match="label_names is of files of arrays"):
        read_own(path, columns=f"{NAMES},label_names=text")
    with pytest.raises(ValueError, match="only labels and clean_labels are many columns"):
        read_own(path, columns=NAMES.replace("caption", "cap*"))
    with pytest.raises(ValueError, match="the key 'caption' and columns both name the inputs"):
        open_inputs(path, "text", "caption", 9, NAMES)


def one_hot(cells, **more):
    return [
        {"id": row["name"], "picture": row["image"], "text": row["caption"], **more, **bits}
        for row, bits in zip(ROWS, cells, strict=True)
    ]


BITS = [{"tag_cat": 1, "tag_a;b": 0, "tag_sea": 0}, {"tag_cat": 1, "tag_a;b": 1, "tag_sea": 0}]
BITS.append({"tag_cat": 0, "tag_a;b": 0, "tag_sea": 0})


@pytest.mark.parametrize("name", ["table.csv", "table.jsonl"])
def test_columns_of_0_and_1_are_labels_also_where_no_row_has_them(write, name):
    data = read_own(write(one_hot(BITS, clean_labels="cat"), name), columns="labels=tag_*")
    assert data.label_names == ("a;b", "cat", "sea")
    np.testing.assert_array_equal(data.labels, [[0, 1, 0], [1, 1, 0], [0, 0, 0]])
    assert data.clean_labels[:, 1].all()
    again = read_own(
        data.pictures[0].parent / name, label_names=("sea", "cat", "a;b"), columns="labels=tag_*"
    )
    np.testing.assert_array_equal(again.labels, data.labels[:, [2, 1, 0]])


@pytest.mark.parametrize("cell", ["2", "", "yes", "1.0", "01", " 1", True, 1.0, None, [1]])
def test_other_cells_than_0_and_1_are_refused_with_their_row(write, cell):
    path = write(one_hot([BITS[0], {**BITS[1], "tag_sea": cell}, BITS[2]]), "table.jsonl")
    with pytest.raises(ValueError, match=r"row 2 \(line 2\): tag_sea: expected 0 or 1, got "):
        read_own(path, columns="labels=tag_*")
    rows = one_hot([BITS[0], {"tag_cat": 1, "tag_a;b": 0}, BITS[2]])
    with pytest.raises(ValueError, match=r"row 2 .*: tag_sea: it is missing in this row"):
        read_own(write(rows, "table.jsonl"), columns="labels=tag_*")
    with pytest.raises(ValueError, match=r"the column 'none_\*' .* is missing"):
        read_own(path, columns="labels=none_*")


def test_numbers_of_classes_are_names_where_the_column_is_named(write):
    rows = [{**row, "tags": tags} for row, tags in zip(ROWS, (3, [10, 3], []), strict=True)]
    assert read_own(write(rows, "t.jsonl"), columns=NAMES).labels.tolist() == [[0, 1], [1, 1], [0, 0]]
    for wrong in (True, 1.5, [3, "3"]):
        rows[1]["tags"] = wrong
        with pytest.raises(ValueError, match=r"row 2 .*: labels: "):
            read_own(write(rows, "t.jsonl"), columns=NAMES)


@pytest.mark.parametrize("name", ["table.csv", "table.jsonl"])
def test_each_caption_of_a_list_is_a_row_of_one_group(write, name):
    texts = [["one", "uno"], ["two"], ["three", "tres, [3]", "trois"]]
    lists = [json.dumps(captions) if name.endswith("csv") else captions for captions in texts]
    path = write([{**row, "caption": cell} for row, cell in zip(ROWS, lists, strict=True)], name)
    columns = NAMES.replace("text=", "captions=")
    data = read_own(path, columns=columns)
    assert data.texts == [text for captions in texts for text in captions]
    assert data.ids.tolist() == ["a#1", "a#2", "b#1", "c#1", "c#2", "c#3"]
    assert data.groups.numbers.tolist() == [0, 0, 1, 2, 2, 2]
    np.testing.assert_array_equal(data.labels[3:], np.zeros((3, 2)))
    found = describe(path, recipe=resolve(data=str(path), columns=columns))
    assert (found.rows, found.items) == (6, (3, "equal pictures"))
    query = set(split_own(data, 2, 0).query.tolist())
    assert query in ({0, 1}, {2})
    [(streamed, ids)] = open_inputs(path, "text", None, 9, columns).blocks
    assert (streamed, ids) == (data.texts, data.ids.tolist())
    # Without being asked for, no row becomes several.
    if name.endswith("csv"):
        assert read_own(path, columns=NAMES).texts == lists
    else:
        with pytest.raises(ValueError, match="expected a string"):
            read_own(path, columns=NAMES)


@pytest.mark.parametrize("how", ["the same file", "the same bytes"])
def test_lists_of_captions_of_one_picture_are_one_item(write, how):
    path = write([{**ROWS[0], "caption": ["one", "uno"]}, {**ROWS[1], "caption": ["eins"]}], "t.jsonl")
    if how == "the same file":
        path.write_text(path.read_text().replace("2.png", "1.png"))
    else:
        (path.parent / "2.png").write_bytes((path.parent / "1.png").read_bytes())
    data = read_own(path, columns=NAMES.replace("text=", "captions="))
    assert data.groups.numbers.tolist() == [0, 0, 0]


def test_rows_that_name_their_own_labels_alone_are_told_once_each(write):
    path = write(one_hot([{"tag_cat": 1}, {"tag_sea": 1}, {"tag_dog": 1}]), "t.jsonl")
    found = describe(path, recipe=resolve(data=str(path), columns="labels=tag_*", queries=1)).problems
    assert [problem.row for problem in found] == [0, 1, 2]
    assert "row 1 (line 1): tag_sea: it is missing in this row, as are 1 others; write 0" in found[0].message


@pytest.mark.parametrize("cell", [[], "one", ["one", 2], None, 7])
def test_what_is_no_list_of_captions_is_refused(write, cell):
    path = write([ROWS[0] | {"caption": ["one"]}, ROWS[1] | {"caption": cell}], "table.jsonl")
    columns = NAMES.replace("text=", "captions=")
    for read in (
        lambda: read_own(path, columns=columns),
        lambda: list(open_inputs(path, "text", None, 9, columns).blocks),
    ):
        with pytest.raises(
            ValueError, match=r"row 2 .line 2.: captions: expected a JSON list of one or more"
        ):
            read()


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_a_folder_as_hugging_face_writes_it(tmp_path, name, write):
    for place in ("cat/1.png", "dog/2.png", "dog/3.png"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place[4:]).rename(tmp_path / place)
    rows = [{"file_name": place, "text": place} for place in ("cat/1.png", "dog/2.png", "dog/3.png")]
    write(rows, name)
    data = read_own(tmp_path)
    assert data.ids.tolist() == data.texts == ["cat/1.png", "dog/2.png", "dog/3.png"]
    assert data.label_names == ("cat", "dog")
    np.testing.assert_array_equal(data.labels, [[1, 0], [0, 1], [0, 1]])
    write([{**row, "labels": "pet", "id": str(number)} for number, row in enumerate(rows)], name)
    data = read_own(tmp_path)
    assert (data.label_names, data.ids.tolist()) == (("pet",), ["0", "1", "2"])
    write([{"file_name": row["file_name"], "objects": "a;b", "title": "x"} for row in rows], name)
    data = read_own(tmp_path, columns="labels=objects,text=title")
    assert (data.label_names, data.texts) == (("a", "b"), ["x"] * 3)
    with pytest.raises(ValueError, match="the column 'text' is missing"):
        read_own(tmp_path)


def test_arrays_of_other_names(tmp_path):
    made = {"X": np.eye(4, 3), "Y": np.eye(4, 2) + 1, "L": np.eye(4, 2), "names": np.array(list("abcd"))}
    np.savez(tmp_path / "x.npz", **made, image=np.zeros((4, 9)))
    columns = "image=X,text=Y,labels=L,id=names"
    data = read_own(tmp_path / "x.npz", columns=columns)
    np.testing.assert_array_equal(data.image, made["X"])
    assert data.ids.tolist() == list("abcd")
    [(block, ids)] = open_inputs(tmp_path / "x.npz", "image", None, 9, columns).blocks
    np.testing.assert_array_equal(block, made["X"])
    assert ids == list("abcd")
    with pytest.raises(
        ValueError, match=r"the column 'Z' \(columns: text=Z\) is missing; found: 'X', 'Y', 'L'"
    ):
        read_own(tmp_path / "x.npz", columns="text=Z")
    with pytest.raises(ValueError, match="picture is of tables"):
        read_own(tmp_path / "x.npz", columns="picture=X")
    np.save(tmp_path / "x.npy", made["X"])
    with pytest.raises(ValueError, match="has no columns"):
        open_inputs(tmp_path / "x.npy", "image", None, 9, columns)


def test_a_run_keeps_the_names(write, tmp_path):
    recipe = resolve(data="table.csv", columns=NAMES)
    assert recipe.as_dict()["columns"] == NAMES
    assert resolve(**recipe.as_dict()) == recipe
