"""Arrays of MATLAB and HDF5 files, as float32 rows on disk that training reads where they lie.

A contiguous float32 HDF5 array is memory-mapped in its own file. Anything else (compressed, of another type,
stored columns first as MATLAB 7.3 does, in a MATLAB 5 file, or in two parts) is copied once, a block at a
time, to a .npy file in a cache folder, named after the SHA-256 of its source, and memory-mapped from there.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import h5py
import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from scbch_keras.files import NO_ROOM, replaced, sha256_of
from scbch_keras.labels.matrix import check_labels
from scbch_keras.limits import check_unfolded
from scbch_keras.npz import load_npz
from scbch_keras.safe_text import terminal
from scbch_keras.training.data import matlab5
from scbch_keras.training.data.hdf5 import dataset_in, names_in
from scbch_keras.training.data.pairs import SourceFile

BLOCK_BYTES = 2**26
REMEMBERED_BYTES = 2**24  # smaller files are hashed anew each time, which takes a few milliseconds


class DataError(ValueError):
    """A data file is missing, damaged or not what it should be; the message says what to put where."""


class _Stored(NamedTuple):
    """A 2-D array where it lies. Its axes are rows first, whichever way it is stored."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    chunk: tuple[int, int]
    read: Callable[[slice, slice], NDArray[Any]]
    offset: int | None
    """Where in the file float32 rows begin that can be memory-mapped."""


class Reader:
    """Reads arrays out of data files and notes what was read.

    Args:
        cache: the folder for copies and checksums; made when there is something to write.
    """

    def __init__(self, cache: Path):
        self.cache = cache
        self._checksums: dict[Path, str] = {}
        self._contents: dict[Path, dict[str, str]] = {}
        self._ledger: dict[str, dict[str, Any]] = {"files": {}, "arrays": {}}
        with suppress(OSError, ValueError, TypeError):
            self._ledger |= json.loads(self._ledger_file.read_text())

    @property
    def sources(self) -> tuple[SourceFile, ...]:
        """The files that were read so far, in the order of their first reading."""
        return tuple(
            SourceFile(path.name, self.sha256(path), path.stat().st_size, dict(arrays))
            for path, arrays in self._contents.items()
        )

    def features(
        self, path: Path, keys: Sequence[str], columns: int, rows: Sequence[int]
    ) -> NDArray[np.float32]:
        """Memory-mapped float32 (sum of `rows`, columns): the arrays `keys` of a file, one after the other.

        Raises:
            DataError: the file cannot be read, lacks an array, or has one that is not (its rows, columns), of no
                numbers, or with NaN or inf (as float32); or the cache folder cannot take the copy.
        """
        name = f"{self.sha256(path)[:16]}-{'+'.join(keys)}"
        copy = self.cache / f"{name}.npy"
        known: _RowsAndDtypes = self._ledger["arrays"].get(name, {})
        array = None
        if [count for count, _ in known.values()] == list(rows):
            array = _open_copy(copy, (sum(rows), columns))
        if array is None:
            with _arrays(path, keys, columns, rows) as stored:
                only = stored[keys[0]]
                if len(keys) > 1 or only.offset is None:
                    _write_copy(copy, path, stored, columns)
                    array = np.load(copy, mmap_mode="r")
                else:
                    if not known:
                        for _ in _blocks(path, keys[0], only, "Checking"):
                            pass
                    with _reading(path):
                        array = np.memmap(path, np.float32, "r", only.offset, only.shape)
                known = _rows_and_dtypes(stored)
            self._remember("arrays", name, known)
        self._note(path, known, columns)
        return array

    def labels(self, path: Path, keys: Sequence[str], columns: int) -> list[NDArray[np.uint8]]:
        """uint8 0/1 (n, columns), each of the label arrays `keys` of a file.

        Raises:
            DataError: the file cannot be read, lacks an array, or has one that is not 0/1 (n, columns).
        """
        self.sha256(path)
        parts = []
        with _arrays(path, keys, columns) as stored:
            for key, array in stored.items():
                with _reading(path):
                    values = array.read(slice(None), slice(None))
                try:
                    check_labels(f"{key} in {path}", values, columns)
                except ValueError as error:
                    raise DataError(str(error)) from None
                parts.append(values.astype(np.uint8, order="C"))
            self._note(path, _rows_and_dtypes(stored), columns)
        return parts

    def repeats(self, path: Path, key: str, rows: NDArray[np.float32]) -> bool:
        """Whether the array `key` of a file holds just these float32 rows, which were read from the same file.

        Raises DataError as `features` does.
        """
        name = f"{self.sha256(path)[:16]}-{key} repeats {len(rows)} rows"
        known: _RowsAndDtypes = self._ledger["arrays"].get(name, {})
        if not known:
            with _arrays(path, [key], rows.shape[1], [len(rows)]) as stored:
                known = _rows_and_dtypes(stored)
                for tile, block in _blocks(path, key, stored[key], "Comparing"):
                    if not np.array_equal(block, rows[tile]):
                        return False
            self._remember("arrays", name, known)
        self._note(path, known, rows.shape[1])
        return True

    def npz(self, path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, NDArray[Any]]:
        """Arrays of a small .npz file, of these shapes. Raises DataError if it cannot be read or has others."""
        if not path.is_file():
            raise DataError(f"{path} is missing")
        with _reading(path):
            arrays = load_npz(path, shapes)
        for key, shape in shapes.items():
            if key not in arrays or arrays[key].shape != shape or arrays[key].dtype.kind not in "biuf":
                actual = f"{arrays[key].shape} {arrays[key].dtype}" if key in arrays else "no such array"
                raise DataError(f"{key} in {path} must be numbers of shape {shape}, got {actual}")
        self._contents[path] = {key: f"{array.shape} {array.dtype}" for key, array in arrays.items()}
        return arrays

    def sha256(self, path: Path) -> str:
        """The SHA-256 of a file; that of a large one is remembered by its name, size and time of change."""
        if path not in self._checksums:
            if not path.is_file():
                raise DataError(f"{path} is missing")
            with _reading(path):
                self._checksums[path] = self._sha256(path)
        return self._checksums[path]

    def _sha256(self, path: Path) -> str:
        status = path.stat()
        if status.st_size < REMEMBERED_BYTES:
            return sha256_of(path)
        name = f"{path.name} {status.st_size} {status.st_mtime_ns}"
        if name not in self._ledger["files"]:
            self._remember("files", name, _sha256_with_progress(path))
        return self._ledger["files"][name]

    @property
    def _ledger_file(self) -> Path:
        return self.cache / "known.json"

    def _remember(self, kind: str, name: str, value: Any) -> None:
        if self._ledger[kind].get(name) == value:
            return
        self._ledger[kind][name] = value
        # without a folder to write to, the next start has to look again: no reason to fail
        with suppress(OSError):
            self.cache.mkdir(parents=True, exist_ok=True)
            with replaced(self._ledger_file) as file:
                file.write(json.dumps(self._ledger, indent=1).encode())

    def _note(self, path: Path, arrays: "_RowsAndDtypes", columns: int) -> None:
        contents = {key: f"({rows}, {columns}) {dtype}" for key, (rows, dtype) in arrays.items()}
        self._contents.setdefault(path, {}).update(contents)


_RowsAndDtypes = dict[str, list[Any]]
_Shape = tuple[int | None, int]


def _rows_and_dtypes(stored: dict[str, _Stored]) -> _RowsAndDtypes:
    return {key: [array.shape[0], str(array.dtype)] for key, array in stored.items()}


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Tell what any failure to read the file means: scipy and h5py raise nearly anything for a damaged one."""
    try:
        yield
    except PermissionError as error:
        raise DataError(f"{path} cannot be read: permission denied") from error
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{path} is cut short or damaged: {reason}") from error


@contextmanager
def _arrays(
    path: Path, keys: Sequence[str], columns: int, rows: Sequence[int] | None = None
) -> Iterator[dict[str, _Stored]]:
    """The arrays `keys` (rows, columns) of a file; those of HDF5 files are not read yet."""
    shapes = {key: (rows[i] if rows else None, columns) for i, key in enumerate(keys)}
    if _format(path) == "MATLAB 5":
        with _reading(path):
            stored = matlab5.variables(path)
        _check_keys(path, keys, stored)
        yield {key: _in_matlab5(path, stored[key], shape) for key, shape in shapes.items()}
    else:
        with _reading(path):
            file = h5py.File(path, "r")
        with file:
            with _reading(path):
                names = names_in(file)
            _check_keys(path, keys, names)
            yield {key: _in_hdf5(path, key, file, shape) for key, shape in shapes.items()}


def _format(path: Path) -> str:
    if not path.is_file():
        raise DataError(f"{path} is missing")
    with _reading(path), path.open("rb") as file:
        start = file.read(128)
        if h5py.is_hdf5(path):
            return "HDF5"
    if start[126:] in (b"IM", b"MI") and not start.startswith(b"MATLAB 7.3"):
        return "MATLAB 5"
    if start.startswith(b"MATLAB "):
        raise DataError(f"{path} is cut short: a MATLAB file of {path.stat().st_size} bytes")
    content = f"it begins with {start[:40]!r}" if start else "it is empty"
    raise DataError(f"{path} is neither a MATLAB file (5 or 7.3) nor an HDF5 file: {content}")


def _check_keys(path: Path, keys: Sequence[str], stored: Iterable[str]) -> None:
    names = list(stored)
    for key in keys:
        if key not in names:
            raise DataError(f"{path} has no array {key}; it holds {', '.join(sorted(names)) or 'nothing'}")


def _in_matlab5(path: Path, variable: matlab5.Variable, shape: _Shape) -> _Stored:
    key = variable.name
    if variable.described:
        raise DataError(f"{key} in {path} must hold real numbers, got {variable.described}")
    if not _fits(variable.shape, shape):
        raise _misshapen(path, key, variable.shape, shape)
    with _reading(path):
        array = matlab5.read(path, variable)
        check_unfolded(key, math.prod(array.shape) * array.dtype.itemsize, path.stat().st_size)
    if scipy.sparse.issparse(array):
        return _Stored(array.shape, array.dtype, (1, shape[1]), lambda r, c: array[r, c].toarray(), None)
    return _Stored(array.shape, array.dtype, (1, shape[1]), lambda r, c: array[r, c], None)


def _in_hdf5(path: Path, key: str, file: h5py.File, shape: _Shape) -> _Stored:
    with _reading(path):
        data = dataset_in(file, key)
        # both may be damaged where the shape is not
        offset, chunks = data.id.get_offset(), data.chunks
    if data.dtype.kind not in "biuf":
        raise DataError(f"{key} in {path} must hold real numbers, got dtype {data.dtype}")
    rows_first, columns_first = _fits(data.shape, shape), _fits(data.shape[::-1], shape)
    if not (rows_first or columns_first):
        raise _misshapen(path, key, data.shape, shape)
    # MATLAB 7.3 has its own order of the axes, which HDF5 shows turned round, and a block before the HDF5 part
    if not rows_first or (columns_first and file.userblock_size):
        chunk = chunks[::-1] if chunks else (1, shape[1])
        return _Stored(data.shape[::-1], data.dtype, chunk, lambda r, c: data[c, r].T, None)
    plain = chunks is None and data.dtype == np.dtype("<f4")
    return _Stored(
        data.shape,
        data.dtype,
        chunks or (1, shape[1]),
        lambda r, c: data[r, c],
        offset if plain else None,
    )


def _fits(shape: tuple[int, ...], expected: _Shape) -> bool:
    rows, columns = expected
    return len(shape) == 2 and shape[0] == (rows or max(shape[0], 1)) and shape[1] == columns


def _misshapen(path: Path, key: str, got: tuple[int, ...], shape: _Shape) -> DataError:
    return DataError(f"{key} in {path} must have shape ({shape[0] or 'rows'}, {shape[1]}), got {tuple(got)}")


def _tiles(array: _Stored) -> list[tuple[slice, slice]]:
    """Slices that cover an array in blocks of about `BLOCK_BYTES`, each of whole chunks: none is read twice."""
    rows, columns = array.shape
    tall, wide = array.chunk
    height, width = BLOCK_BYTES // (columns * array.dtype.itemsize) // tall * tall, columns
    if not height:
        height = tall
        width = max(BLOCK_BYTES // (height * array.dtype.itemsize) // wide, 1) * wide
    return [
        (slice(top, min(top + height, rows)), slice(left, min(left + width, columns)))
        for top in range(0, rows, height)
        for left in range(0, columns, width)
    ]


def _blocks(
    path: Path, key: str, array: _Stored, doing: str
) -> Iterator[tuple[tuple[slice, slice], NDArray[np.float32]]]:
    """An array as float32 blocks, each with its place; NaN and inf are refused."""
    for tile in _progress(_tiles(array), f"{doing} {key} of {path.name}"):
        with _reading(path), np.errstate(over="ignore"):
            block = np.ascontiguousarray(array.read(*tile), np.float32)
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            row = tile[0].start + int(finite.argmin())
            raise DataError(f"{key} in {path} must be finite as float32; row {row} holds NaN or inf")
        yield tile, block


def _write_copy(copy: Path, path: Path, stored: dict[str, _Stored], columns: int) -> None:
    """Write the arrays below each other to a float32 .npy file, which is there once it is whole."""
    rows = sum(array.shape[0] for array in stored.values())
    header = {"descr": np.dtype(np.float32).str, "fortran_order": False, "shape": (rows, columns)}
    with _writing(copy, 4 * rows * columns), replaced(copy) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for key, array in stored.items():
            if _tiles(array)[0][1].stop < columns:
                place = _written_zeros(file, array.shape)
                for tile, block in _blocks(path, key, array, "Copying"):
                    place[tile] = block
            else:
                for _, block in _blocks(path, key, array, "Copying"):
                    file.write(block.data)


def _written_zeros(file: BinaryIO, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Append zeros, to be replaced in the memory-mapped array returned.

    They are written out since a disk that is full ends a write with an error, but a memory map with a crash.
    """
    start, size = file.tell(), 4 * shape[0] * shape[1]
    for written in range(0, size, BLOCK_BYTES):
        file.write(bytes(min(BLOCK_BYTES, size - written)))
    file.flush()
    return np.memmap(file.name, np.float32, "r+", start, shape)


@contextmanager
def _writing(copy: Path, size: int) -> Iterator[None]:
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in NO_ROOM:
            free = shutil.disk_usage(copy.parent).free
            reason += f"; it takes {size / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free: make room there"
        raise DataError(
            f"{copy.name} cannot be written to the cache folder {copy.parent}: {reason}, or name another folder "
            "as `cache`. No part of it was left."
        ) from error


def _open_copy(copy: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """The memory-mapped copy; None if there is none, or not a whole one."""
    with suppress(OSError, ValueError):
        array = np.load(copy, mmap_mode="r")
        if array.dtype == np.float32 and array.shape == shape:
            return array
    return None


def _sha256_with_progress(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        blocks = range(math.ceil(path.stat().st_size / BLOCK_BYTES))
        for _ in _progress(blocks, f"Checksum of {path.name}"):
            digest.update(file.read(BLOCK_BYTES))
    return digest.hexdigest()


def _progress(steps: Sequence[Any], text: str) -> Iterable[Any]:
    if len(steps) < 2:
        return steps
    return track(steps, escape(terminal(text)), console=Console(stderr=True), transient=True)
