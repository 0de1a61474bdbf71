"""Files of arrays as they stand, npz and HDF5: what is in them by name, read whole or in blocks.

Nothing is interpreted here. What cannot be read is told to a `Report`: `refuse` raises it, and a list's `append`
collects it, after which reading goes on as far as it can.
"""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.npz import load_npz, npz_blocks, npz_names
from scbch_keras.stored import CORRUPT
from scbch_keras.training.data.problems import Problem, RefusedError, Report

ARRAYS = ("image", "text", "labels", "ids", "clean_labels", "label_names", "split", "group")
STRINGS = ("ids", "label_names", "split", "group")


@dataclass(frozen=True)
class Column:
    """An array of a file that is not read yet.

    Attributes:
        whole: reads all of it.
        stream: size of a block -> number of rows, and the blocks, one at least. None: it can be read whole only.
    """

    whole: Callable[[], Any]
    stream: Callable[[int], tuple[int, Iterator[Any]]] | None = None

    def blocks(self, size: int) -> tuple[int, Iterator[Any]]:
        """The number of rows, and blocks of `size` rows, one at least."""
        return slices(self.whole(), size) if self.stream is None else self.stream(size)


def slices(array: Any, size: int) -> tuple[int, Iterator[Any]]:
    """An array as `Column.blocks` gives it."""
    return len(array), (array[start : start + size] for start in range(0, max(len(array), 1), size))


def whole_arrays(file: str, columns: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Those of `ARRAYS` that are among the columns (or arrays) of a file."""
    arrays: dict[str, Any] = {}
    for key in (key for key in ARRAYS if key in columns):
        column = columns[key]
        try:
            value = column.whole() if isinstance(column, Column) else column
            if value is not None:
                arrays[key] = as_strings(value) if key in STRINGS else value
        except RefusedError:
            raise
        except CORRUPT as error:
            report(Problem("unreadable array", f"{file}: the array {key!r} cannot be read: {error}"))
    return arrays


def as_strings(values: NDArray[Any]) -> NDArray[np.str_]:
    """Strings and integers as str, bytes as UTF-8. ValueError for anything else."""
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8")
    if values.dtype.kind not in "Uiu":
        raise ValueError(f"expected strings or integers, got dtype {values.dtype}")
    return values.astype(str)


def read_npz(path: Path, report: Report) -> dict[str, Column]:
    """The arrays of an npz file; pickled ones are not read. ValueError: it is no npz file."""
    expected = f"{path.name}: expected an npz file as numpy.savez writes it"
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{expected}; it cannot be read: it is none, or truncated")
    try:
        names = npz_names(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{expected}: {error}") from error
    return {name: Column(partial(_from_npz, path, name), partial(npz_blocks, path, name)) for name in names}


def _from_npz(path: Path, name: str) -> NDArray[Any]:
    return load_npz(path, (name,))[name]


def read_hdf5(path: Path, report: Report) -> dict[str, Column]:
    """The datasets of an HDF5 file; contiguous ones stay on disk. ValueError: it is no HDF5 file."""
    import h5py

    from scbch_keras.training.data.hdf5 import names_in

    try:
        with h5py.File(path, "r") as file:
            names = names_in(file)
    except CORRUPT as error:
        raise ValueError(f"{path.name}: expected an HDF5 file: {error}") from error
    return {
        name: Column(partial(_from_hdf5, path, name), partial(_hdf5_blocks, path, name)) for name in names
    }


def _from_hdf5(path: Path, name: str) -> NDArray[Any]:
    import h5py

    from scbch_keras.training.data.hdf5 import dataset_in, strings_in

    with h5py.File(path, "r") as file:
        dataset = dataset_in(file, name)
        if h5py.check_string_dtype(dataset.dtype):
            return strings_in(dataset)
        offset = dataset.id.get_offset()  # None unless contiguous
        if offset is None or dataset.dtype.kind not in "fiu" or file.userblock_size or not dataset.size:
            return dataset[()]
        return np.memmap(file.filename, dataset.dtype, "r", offset, dataset.shape)


def _hdf5_blocks(path: Path, name: str, size: int) -> tuple[int, Iterator[Any]]:
    import h5py

    from scbch_keras.training.data.hdf5 import dataset_in

    with h5py.File(path, "r") as file:
        dataset = dataset_in(file, name)
        if dataset.ndim == 0:
            raise ValueError("it has no rows")
        if h5py.check_string_dtype(dataset.dtype):
            return slices(_from_hdf5(path, name), size)
        rows = len(dataset)

    def blocks() -> Iterator[Any]:
        with h5py.File(path, "r") as file:
            yield from slices(dataset_in(file, name), size)[1]

    return rows, blocks()
