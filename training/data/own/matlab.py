"""MATLAB files of the versions 5 and 7.3 (HDF5): arrays as MATLAB shows them, sparse ones and strings too.

MATLAB 7.3 stores columns first, which HDF5 shows with the axes turned round; here they are turned back.
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.limits import check_unfolded
from scbch_keras.stored import CORRUPT
from scbch_keras.training.data.own.formats import STRINGS, Column
from scbch_keras.training.data.problems import Report

if TYPE_CHECKING:
    from scbch_keras.training.data import matlab5

_HEADER = b"MATLAB 7.3 MAT-file"
_SPARSE = "MATLAB_sparse"


def is_matlab_hdf5(path: Path) -> bool:
    """Whether a file is MATLAB's of version 7.3, whatever it is called: by its header."""
    with path.open("rb") as file:
        return file.read(len(_HEADER)) == _HEADER


def read_matlab(path: Path, report: Report) -> dict[str, Column]:
    """The variables of a MATLAB file; sparse ones become dense. ValueError: it is no MATLAB file."""
    import h5py

    from scbch_keras.training.data import matlab5

    expected = f"{path.name}: expected a MATLAB file, of version 5 or 7.3"
    is_hdf5 = h5py.is_hdf5(path)
    try:
        if is_hdf5:
            with h5py.File(path) as file:
                readers = {name: partial(_in_hdf5, path, name) for name in file if name != "#refs#"}
        else:
            readers = {
                name: partial(_in_version_5, path, variable)
                for name, variable in matlab5.variables(path).items()
            }
    except CORRUPT as error:
        raise ValueError(f"{expected}: {error}") from error
    if is_hdf5 and not is_matlab_hdf5(path):
        raise ValueError(
            f"{expected}, got HDF5 without MATLAB's header: nobody knows which of its axes comes first. "
            "Save it with -v7.3, or name it .h5 if rows come first"
        )
    return {
        name: Column(partial(_read_strings, read) if name in STRINGS else read)
        for name, read in readers.items()
    }


def _read_strings(read: Callable[[], Any]) -> NDArray[np.str_]:
    return _strings(read())


def _in_version_5(path: Path, variable: "matlab5.Variable") -> Any:
    from scbch_keras.training.data import matlab5

    if not variable.described:
        value = matlab5.read(path, variable)
        if not variable.is_sparse:
            return value
        check_unfolded("the sparse array", math.prod(value.shape) * value.dtype.itemsize, path.stat().st_size)
        return value.toarray()
    if variable.described not in ("text", "cells"):
        raise ValueError(f"it is {variable.described}")
    import scipy.io

    return scipy.io.loadmat(path, variable_names=[variable.name])[variable.name]


def _in_hdf5(path: Path, name: str) -> Any:
    import h5py

    with h5py.File(path) as file:
        return _value_in_hdf5(file, name)


def _value_in_hdf5(file: Any, name: str) -> Any:
    import h5py

    from scbch_keras.training.data.hdf5 import dataset_in

    if isinstance(file.get(name, getlink=True), h5py.HardLink) and isinstance(file[name], h5py.Group):
        return _sparse_in_hdf5(file[name])
    dataset = dataset_in(file, name)
    if dataset.attrs.get("MATLAB_empty", 0):
        return np.zeros(tuple(int(size) for size in dataset[()]))
    if h5py.check_ref_dtype(dataset.dtype):
        cells = [file[reference] for reference in dataset[()].T.ravel(order="F")]
        return np.array([_text(dataset_in(cell.parent, cell.name.split("/")[-1])) for cell in cells], object)
    values = dataset[()].T
    if dataset.attrs.get("MATLAB_class", b"") == b"char":
        return np.array(["".join(map(chr, row)).rstrip() for row in np.atleast_2d(values)])
    return values


def _sparse_in_hdf5(group: Any) -> NDArray[Any]:
    from scbch_keras.training.data import matlab5
    from scbch_keras.training.data.hdf5 import dataset_in

    if _SPARSE not in group.attrs:
        raise ValueError("it is a struct")
    rows = int(group.attrs[_SPARSE])
    parts = {key: dataset_in(group, key)[()] for key in ("data", "ir", "jc") if key in group}
    if "jc" not in parts:
        raise ValueError("the sparse array lacks its columns (jc)")
    nothing = np.zeros(0)
    values, indices = parts.get("data", nothing), parts.get("ir", nothing.astype(np.uint64))
    shape = (rows, len(parts["jc"]) - 1)
    check_unfolded("the sparse array", math.prod(shape) * values.itemsize, group.file.id.get_filesize())
    return matlab5.sparse("the sparse array", shape, indices, parts["jc"], values).toarray()


def _text(dataset: Any) -> str:
    if dataset.attrs.get("MATLAB_class", b"char") != b"char":
        raise ValueError("expected a cell array of strings, got one of something else")
    if dataset.attrs.get("MATLAB_empty", 0):
        return ""
    return "".join(map(chr, dataset[()].ravel().tolist()))


def _strings(values: Any) -> NDArray[np.str_]:
    """Cell arrays of strings, char matrices and whole numbers, a row or a column of them -> (n,)."""
    values = np.asarray(values)
    if values.ndim == 2 and 1 in values.shape:
        values = values.ravel()
    if values.dtype == object:
        texts = [np.ravel(cell).tolist() if not isinstance(cell, str) else [cell] for cell in values.ravel()]
        if not all(len(text) <= 1 and all(isinstance(part, str) for part in text) for text in texts):
            raise ValueError("expected a cell array of strings, got other things in it")
        return np.array([text[0] if text else "" for text in texts], dtype=str)
    if values.dtype.kind == "f" and (values == np.floor(values)).all() and (abs(values) < 2**53).all():
        values = values.astype(np.int64)  # MATLAB's numbers are floats unless told otherwise
    if values.dtype.kind not in "Uiu":
        raise ValueError(f"expected a cell array of strings or whole numbers, got {values.dtype}")
    texts = values.astype(str)
    return np.char.rstrip(texts) if values.dtype.kind == "U" else texts
