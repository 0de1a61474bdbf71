"""Arrays of .npz files, read without pickle and without allocating more than the file really holds. Numpy only."""

import math
import os
import zipfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.files import opened
from scbch_keras.limits import check_unfolded


def load_npz(path: str | os.PathLike[str], names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file by name: those of `names` that it has, or all.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no plain file, no .npz file, is damaged, holds objects (which would be unpickled), or unfolds
            into more than `allowed`.
    """
    with opened(Path(path)) as file:
        try:
            return _arrays(file, names)
        except Exception as error:  # zipfile, zlib, lzma and numpy raise nearly anything for a damaged one
            raise ValueError(_reason(error)) from error


def read_npz(path: Path, kind: str, needed: Sequence[str]) -> dict[str, NDArray[Any]]:
    """All arrays of a file that should be a `kind`, `needed` among them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is something else, or damaged; naming the file and the kind.
    """
    try:
        arrays = load_npz(path)
        missing = [name for name in needed if name not in arrays]
        if missing:
            raise ValueError(f"it has no {missing[0]!r}")
    except ValueError as error:
        raise ValueError(f"{path} is not a {kind}, or it is damaged: {error}") from error
    return arrays


def npz_names(path: str | os.PathLike[str]) -> list[str]:
    """The names of the arrays of an .npz file. Raises as `load_npz` does."""
    with opened(Path(path)) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return [name[:-4] for name in archive.namelist() if name.endswith(".npy")]
        except Exception as error:  # as above
            raise ValueError(_reason(error)) from error


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _arrays(file: IO[bytes], names: Collection[str] | None) -> dict[str, NDArray[Any]]:
    stored = file.seek(0, os.SEEK_END)
    arrays: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(file) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        requested = [info for info in members if names is None or info.filename[:-4] in names]
        check_unfolded("its arrays", sum(info.file_size for info in requested), stored)
        for info in requested:
            name = info.filename[:-4]
            if name in arrays:
                raise ValueError(f"the array {name!r} stands there twice")
            with archive.open(info) as member:
                arrays[name] = _array(member, info.file_size, name)
    return arrays


def _array(member: IO[bytes], size: int, name: str) -> NDArray[Any]:
    shape, by_columns, dtype = npy_header(member)
    if dtype.hasobject:
        raise ValueError(
            f"the array {name!r} holds objects, which would be unpickled and can run code (allow_pickle): save it as "
            "numbers, or as str"
        )
    # numpy gives strings without characters room for one
    size_of = dtype.itemsize or 4
    if math.prod(shape) * size_of > max(size, 4):
        raise ValueError(f"the array {name!r} declares the shape {shape} {dtype} and holds {size:,} bytes")
    values = np.empty(math.prod(shape), dtype)
    left = memoryview(values.view(np.uint8) if dtype.itemsize else b"")  # type: ignore[arg-type]
    while left:
        if not (count := member.readinto(left)):  # type: ignore[attr-defined]
            raise ValueError(f"the array {name!r} ends too early")
        left = left[count:]
    if member.read(1):  # the archive's checksum is compared when the end is read
        raise ValueError(f"the array {name!r} goes on after its last value")
    return values.reshape(shape, order="F" if by_columns else "C")


def npy_header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether it lies column by column, and type of a .npy file. ValueError if it is none."""
    version = np.lib.format.read_magic(member)
    # Names of fields in UTF-8 are all that version 3 adds; numpy reads it with the reader of version 2.
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"expected an array of one plain type, got .npy version {version}")
    shape, by_columns, dtype = readers[version](member)
    if min(shape, default=0) < 0:
        raise ValueError(f"it declares the shape {shape}")
    return shape, by_columns, dtype


def string_array(name: str, values: Iterable[Any], stored: int) -> NDArray[np.str_]:
    """Strings as an array, in which each takes as much room as the longest.

    ValueError if that is out of proportion to the file of `stored` bytes.
    """
    strings = np.asarray(values, dtype=object)
    longest = max((len(text) for text in strings.ravel()), default=0)
    what = f"{name}: {strings.size:,} strings of up to {longest:,} characters"
    check_unfolded(what, 4 * longest * strings.size, stored)
    return strings.astype(str)
