"""Which reader is for which file: by its ending, and of HDF5 by whether MATLAB wrote it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from scbch_keras.training.data.own.formats import read_hdf5, read_npz
from scbch_keras.training.data.own.matlab import is_matlab_hdf5, read_matlab
from scbch_keras.training.data.own.parquet import read_parquet
from scbch_keras.training.data.own.rows import Rows, read_csv, read_jsonl
from scbch_keras.training.data.problems import Report


def _read_hdf5(path: Path, report: Report) -> dict[str, Any]:
    return (read_matlab if is_matlab_hdf5(path) else read_hdf5)(path, report)


ARRAY_READERS: dict[str, Callable[[Path, Report], dict[str, Any]]] = {
    ".npz": read_npz,
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
    ".mat": read_matlab,
    ".parquet": read_parquet,
}
"""File -> its arrays, or what reads them (`Column`), by name."""
TABLE_READERS: dict[str, Callable[[Path, Report], Rows]] = {".csv": read_csv, ".jsonl": read_jsonl}
