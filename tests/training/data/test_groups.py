"""Several rows of one picture: on one side of a split, and told."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from scbch_keras.training.data.own.groups import draw_rows, group_rows
from scbch_keras.training.data.own.read import read_own, retrieval_data, split_own
from scbch_keras.training.runs.describe import describe, show

Image = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.numpy_only

PICTURES, CAPTIONS = 12, 3
OF = np.repeat(np.arange(PICTURES), CAPTIONS)


def folder_with(tmp_path, how, split=False, other_labels=False):
    """Captions of pictures: `how` says by what their rows belong together."""
    rows = []
    for row, picture in enumerate(OF):
        name = f"{picture}.png" if how == "the same file" else f"{row}.png"
        colour = row if how == "a column" else int(picture)
        Image.new("L", (6, 6), colour).save(tmp_path / name)
        rows.append({"id": row, "picture": name, "text": f"word {row}", "labels": "ab"[picture % 2]})
        if other_labels:
            rows[-1]["labels"] = "ab"[row % 2]
        if how == "a column":
            rows[-1]["group"] = f"item {picture}"
        if split:
            rows[-1]["split"] = ["query", "train", "database"][row % 3]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return tmp_path / "t.jsonl"


def arrays_with(tmp_path, how):
    rng = np.random.default_rng(0)
    image = rng.random((PICTURES, 4))[OF] if how == "equal features" else rng.random((len(OF), 4))
    given = {"group": OF} if how == "an array" else {}
    np.savez(
        tmp_path / "x.npz", image=image, text=rng.random((len(OF), 3)), labels=np.eye(2)[OF % 2], **given
    )
    return tmp_path / "x.npz"


def sources(tmp_path, how):
    make = arrays_with if how in ("equal features", "an array") else folder_with
    return make(tmp_path, how)


KINDS = ["the same file", "the same bytes", "a column", "equal features", "an array"]


@pytest.mark.parametrize("how", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_the_rows_of_an_item_are_on_one_side_of_a_split(tmp_path, how, seed):
    data = read_own(sources(tmp_path, how))
    split = split_own(data, 9, seed)
    assert len(split.query) == 9
    assert not set(OF[split.query]) & set(OF[split.train])
    assert sorted([*split.query, *split.train]) == list(range(len(OF)))
    assert "36 rows of 12 items" in split.notes["one picture, several rows"]


@pytest.mark.parametrize("how", KINDS)
def test_a_description_counts_the_items(tmp_path, how):
    found = describe(sources(tmp_path, how), console=Console(file=io.StringIO()))
    assert found.items[0] == PICTURES
    stream = io.StringIO()
    show(found, Console(file=stream, width=200))
    assert "a split keeps the rows of an item together" in stream.getvalue()


def test_a_split_of_the_data_that_parts_items_is_kept_and_told(tmp_path):
    path = folder_with(tmp_path, "the same file", split=True)
    split = split_own(read_own(path), None, 0)
    assert "12 items of the queries also have rows" in split.notes["one picture, several rows"]
    found = describe(path, console=Console(file=io.StringIO()))
    assert found.split_items == PICTURES


def test_items_that_share_their_labels_are_items_for_posterior_labels_too(tmp_path):
    data = read_own(folder_with(tmp_path, "the same file"))
    split = split_own(data, 9, 0)
    features = np.zeros((len(OF), 2))
    parts = retrieval_data(data, split, "t", features, features)
    np.testing.assert_array_equal(parts.train.groups, OF[split.train])
    data = read_own(folder_with(tmp_path, "the same file", other_labels=True))
    parts = retrieval_data(data, split, "t", features, features)
    assert parts.train.groups is None
    assert "they differ" in parts.notes["labels of one item"]


def test_rows_that_are_all_different_are_split_as_ever():
    assert group_rows("abc", "letters") is None
    for seed in range(5):
        expected = np.sort(np.random.default_rng(seed).permutation(20)[:6])
        np.testing.assert_array_equal(draw_rows(None, 20, 6, seed), expected)


@pytest.mark.parametrize(
    ("keys", "count", "sizes"),
    [
        ("aaaabbbbc", 4, {1, 4}),
        ("aaaabbbb", 5, {4}),
        ("aaaabbb", 1, {3}),
        ("aaaaaaaab", 3, {1}),
    ],
)
def test_never_more_rows_are_drawn_than_were_asked_for_unless_an_item_is_larger(keys, count, sizes):
    groups = group_rows(keys, "letters")
    for seed in range(10):
        rows = draw_rows(groups, len(keys), count, seed)
        assert len(rows) in sizes
        assert not {keys[row] for row in rows} & {keys[row] for row in range(len(keys)) if row not in rows}


def test_a_file_of_features_keeps_the_items_of_its_pictures(tmp_path):
    pytest.importorskip("h5py")
    testing = pytest.importorskip("typer.testing")
    from scbch_keras.training.cli.main import commands

    path = folder_with(tmp_path, "a column")
    command = ["features", str(path), "--image-features", "pixels:2", "--out", str(tmp_path / "f.h5")]
    done = testing.CliRunner().invoke(commands(), command)
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(read_own(tmp_path / "f.h5").groups.numbers, OF)


def test_one_item_cannot_be_split(tmp_path):
    np.savez(tmp_path / "x.npz", image=np.ones((6, 2)), text=np.eye(6), labels=np.eye(6))
    with pytest.raises(ValueError, match=r"all 6 rows are one item .* by equal image features"):
        split_own(read_own(tmp_path / "x.npz"), 2, 0)


def test_an_item_without_a_name_is_refused(tmp_path):
    path = folder_with(tmp_path, "a column")
    path.write_text(path.read_text().replace('"item 3"', '""'))
    with pytest.raises(ValueError, match=r"row 10 .*: group: expected a value, got an empty cell"):
        read_own(path)
