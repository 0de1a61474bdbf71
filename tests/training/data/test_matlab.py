"""MATLAB's own files as data: both versions, sparse, with strings; their axes as MATLAB shows them."""

import numpy as np
import pytest

from scbch_keras.training.data.own.read import read_own
from scbch_keras.training.data.own.stream import open_inputs

h5py = pytest.importorskip("h5py")
scipy_io = pytest.importorskip("scipy.io")
sparse = pytest.importorskip("scipy.sparse")
pytestmark = pytest.mark.numpy_only

RNG = np.random.default_rng(0)
IMAGE, LABELS = RNG.random((12, 4)), (RNG.random((12, 2)) < 0.5).astype(float)
TEXT = (RNG.random((12, 5)) < 0.5).astype(float)
NAMES, IDS = ["cat", "d\u00f6g"], [f"row {row}" for row in range(12)]
SPLIT = ["train", "query", "database"] * 4


def version_5(path, text, image=IMAGE):
    cells = {key: np.array(value, object) for key, value in strings().items()}
    scipy_io.savemat(path, {"image": image, "text": text, "labels": LABELS, **cells})


def strings():
    return {"label_names": NAMES, "ids": IDS, "split": SPLIT}


def version_7(path, text, image=IMAGE, header=b"MATLAB 7.3 MAT-file"):
    with h5py.File(path, "w", userblock_size=512) as file:
        file["image"], file["labels"] = image.T, LABELS.T
        if sparse.issparse(text):
            group = file.create_group("text")
            group.attrs["MATLAB_sparse"] = np.uint64(text.shape[0])
            group["data"], group["ir"], group["jc"] = (
                text.data,
                text.indices.astype("u8"),
                text.indptr.astype("u8"),
            )
        else:
            file["text"] = text.T
        for key, values in strings().items():
            cells = np.empty((1, len(values)), h5py.ref_dtype)
            for place, value in enumerate(values):
                name = f"#refs#/{key}{place}"
                file[name] = np.array([[ord(char)] for char in value], "u2")
                file[name].attrs["MATLAB_class"] = np.bytes_("char")
                cells[0, place] = file[name].ref
            file[key] = cells
            file[key].attrs["MATLAB_class"] = np.bytes_("cell")
    if header:
        with path.open("r+b") as raw:
            raw.write(header.ljust(124) + b"\0\2IM")


WRITERS = {"five.mat": version_5, "seven.mat": version_7, "seven.h5": version_7, "seven.hdf5": version_7}


@pytest.mark.parametrize("kind", [np.asarray, sparse.csc_matrix])
@pytest.mark.parametrize("name", WRITERS)
def test_a_file_of_matlab_is_read_as_matlab_shows_it(tmp_path, name, kind):
    WRITERS[name](tmp_path / name, kind(TEXT))
    data = read_own(tmp_path / name)
    np.testing.assert_array_equal(data.image, IMAGE)
    np.testing.assert_array_equal(data.text, TEXT)
    np.testing.assert_array_equal(data.labels, LABELS)
    assert data.label_names == tuple(NAMES)
    assert data.ids.tolist() == IDS
    assert data.split.tolist() == SPLIT


@pytest.mark.parametrize("name", WRITERS)
def test_a_square_matrix_is_not_turned_round(tmp_path, name):
    square = RNG.random((12, 12))
    WRITERS[name](tmp_path / name, TEXT, square)
    np.testing.assert_array_equal(read_own(tmp_path / name).image, square)
    inputs = open_inputs(tmp_path / name, "image", None, 5)
    np.testing.assert_array_equal(np.concatenate([block for block, _ in inputs.blocks]), square)


@pytest.mark.parametrize("name", WRITERS)
def test_samples_in_columns_are_named(tmp_path, name):
    turned = RNG.random((4, 12))
    writer = WRITERS[name]
    writer(tmp_path / name, TEXT, turned)
    with pytest.raises(ValueError, match="same length, got image 4, text 12"):
        read_own(tmp_path / name)


def test_hdf5_without_matlabs_header_is_not_guessed_at(tmp_path):
    version_7(tmp_path / "x.mat", TEXT, header=b"")
    with pytest.raises(ValueError, match=r"x.mat: .* nobody knows which of its axes comes first"):
        read_own(tmp_path / "x.mat")


@pytest.mark.parametrize("index", [12, 2**30, 2**62])
def test_a_sparse_array_that_names_a_row_outside_is_refused(tmp_path, index):
    version_7(tmp_path / "x.mat", sparse.csc_matrix(TEXT))
    with h5py.File(tmp_path / "x.mat", "a") as file:
        file["text/ir"][2] = index
    with pytest.raises(
        ValueError, match="'text' cannot be read: the sparse array: a row index is outside of its 12 rows"
    ):
        read_own(tmp_path / "x.mat")


def test_a_damaged_sparse_array_of_version_5_is_refused(tmp_path):
    version_5(tmp_path / "x.mat", sparse.csc_matrix(np.eye(12, 5)))
    raw = (tmp_path / "x.mat").read_bytes()
    indices = np.arange(5, dtype="<i4").tobytes()
    assert indices in raw
    (tmp_path / "x.mat").write_bytes(raw.replace(indices, np.array([2**30, 1, 2, 3, 4], "<i4").tobytes(), 1))
    with pytest.raises(ValueError, match="a row index is outside of its 12 rows"):
        read_own(tmp_path / "x.mat")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"no file of MATLAB" * 20, "expected a MATLAB file"), (b"", "expected a MATLAB file")],
)
def test_what_is_no_file_of_matlab(tmp_path, content, message):
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(ValueError, match=rf"x.mat: {message}"):
        read_own(tmp_path / "x.mat")


def test_other_names_are_told(tmp_path):
    scipy_io.savemat(tmp_path / "x.mat", {"XAll": IMAGE, "LAll": LABELS})
    with pytest.raises(ValueError, match="the arrays image, text and labels, found XAll, LAll: rename them"):
        read_own(tmp_path / "x.mat")


def test_numbers_of_matlab_are_ids(tmp_path):
    scipy_io.savemat(
        tmp_path / "x.mat",
        {"image": IMAGE, "text": TEXT, "labels": LABELS, "ids": np.arange(12.0)[:, None] + 5},
    )
    assert read_own(tmp_path / "x.mat").ids.tolist() == [str(row + 5) for row in range(12)]
