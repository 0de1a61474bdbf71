"""A file is read by one reader, whole (`read_own`) or in blocks (`open_inputs`): the same values, the same refusals."""

import io
import zipfile

import numpy as np
import pytest

from scbch_keras.training.data.own.read import read_own
from scbch_keras.training.data.own.stream import open_inputs

pytestmark = pytest.mark.numpy_only

ROWS = 7
IMAGE = np.random.default_rng(0).random((ROWS, 3)).astype(np.float32)
NAMES = [f"n{row}" for row in range(ROWS)]


def blocks(path, modality="text", key=None):
    parts = list(open_inputs(path, modality, key, 3).blocks)
    names = [name for _, ids in parts for name in ids or []]
    return [row for part, _ in parts for row in part], names


def write_parquet(path, **columns):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = {
        "image": IMAGE.tolist(),
        "text": IMAGE.tolist(),
        "labels": [["a"]] * ROWS,
        "id": NAMES,
        **columns,
    }
    parquet.write_table(pa.table(table), path, row_group_size=4)


def write_npz(path):
    np.savez(path, image=IMAGE, text=IMAGE, labels=np.ones((ROWS, 1)), ids=np.array(NAMES))


def write_hdf5(path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, values in (
            ("image", IMAGE),
            ("text", IMAGE),
            ("labels", np.ones((ROWS, 1))),
            ("ids", NAMES),
        ):
            file[name] = values


@pytest.mark.parametrize("write", [write_npz, write_hdf5, write_parquet], ids=[".npz", ".h5", ".parquet"])
def test_blocks_are_the_rows_of_the_whole(tmp_path, write, request):
    path = tmp_path / f"x{request.node.callspec.id}"
    write(path)
    whole = read_own(path)
    rows, names = blocks(path, "image")
    np.testing.assert_array_equal(rows, whole.image)
    assert names == whole.ids.tolist() == NAMES


def test_texts_and_rows_of_parquet_in_blocks(tmp_path):
    path = tmp_path / "x.parquet"
    write_parquet(path, caption=[f"text {row}" for row in range(ROWS)])
    assert blocks(path, key="caption") == ([f"text {row}" for row in range(ROWS)], NAMES)
    write_parquet(path, image=[*IMAGE[:5].tolist(), [1.0], IMAGE[6].tolist()])
    for read in (read_own, lambda path: blocks(path, "image")):
        with pytest.raises(
            ValueError, match=r"x.parquet: column 'image': row 5: expected 3 numbers, .* got 1"
        ):
            read(path)


def twice_in_npz():
    content = io.BytesIO()
    np.savez(content, image=IMAGE, text=IMAGE, labels=np.ones((ROWS, 1)))
    with zipfile.ZipFile(content, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("text.npy", archive.read("image.npy"))
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "x.jsonl",
            b'{"text": "a", "text": "b"}',
            "x.jsonl, row 1 .line 1.: .* a key stands there twice: .'text'.",
        ),
        ("x.jsonl", b'{"text": "a"}\n\n["b"]', "row 2 .line 3.: expected a JSON object"),
        (
            "x.csv",
            b"id,text,text\n1,a,b\n",
            "header .line 1.: expected each column once, got twice: .'text'.",
        ),
        ("x.csv", b"id,text\n1,a\n\n2,b,c\n", "row 2 .line 4.: expected 2 cells, as in the header, got 3"),
        ("x.csv", b"id;text\n1;a\n", "columns must be parted by ',', got ';'"),
        ("x.csv", b'id,text\n1,a\n2,"b\n', "row 2 .line 3.: .* is a quote left open"),
        ("x.csv", b"id,text\n1,caf\xe9\n", "row 1 .line 2., text: byte 0xe9 is not UTF-8"),
        ("x.npz", twice_in_npz, "the array 'text' stands there twice"),
    ],
)
def test_what_is_refused_whole_is_refused_in_blocks(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content() if callable(content) else content)
    for read in (read_own, blocks):
        with pytest.raises(ValueError, match=message):
            read(path)
