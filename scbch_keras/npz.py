"""Arrays of .npz files, read without pickle and without allocating more than the file really holds. Numpy only."""

import math
import os
import zipfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.files import opened
from scbch_keras.limits import check_unfolded

_LOCAL_HEADER = 30


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


def mapped_npz(path: str | os.PathLike[str], name: str) -> NDArray[Any]:
    """One array of an uncompressed .npz file, mapped read-only. Its checksum is not compared.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no plain file, no .npz file, has no such array, or keeps it compressed or as objects.
    """
    with opened(Path(path)) as file:
        try:
            return _mapped(file, name)
        except Exception as error:  # as above
            raise ValueError(_reason(error)) from error


def npz_names(path: str | os.PathLike[str]) -> list[str]:
    """The names of the arrays of an .npz file. Raises as `load_npz` does."""
    with opened(Path(path)) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return list(_members(archive))
        except Exception as error:  # as above
            raise ValueError(_reason(error)) from error


def npz_blocks(path: Path, name: str, size: int) -> tuple[int, Iterator[NDArray[Any]]]:
    """The number of rows of an array of an .npz file, and blocks of `size` rows, one at least.

    Raises ValueError where it cannot be read so, or, while the blocks are read, where it is damaged.
    """
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
        shape, by_columns, dtype = npy_header(member)
    _check_plain(name, dtype)
    if not shape:
        raise ValueError("it has no rows")
    if by_columns and len(shape) > 1:
        raise ValueError("it lies column by column; save numpy.ascontiguousarray of it")

    def blocks() -> Iterator[NDArray[Any]]:
        width = math.prod(shape[1:]) * dtype.itemsize
        try:
            with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
                npy_header(member)
                for start in range(0, max(shape[0], 1), size):
                    rows = min(size, shape[0] - start)
                    content = member.read(rows * width)
                    if len(content) < rows * width:
                        raise ValueError("it ends too early")
                    yield np.frombuffer(content, dtype).reshape(rows, *shape[1:])
                _check_end(member)
        except Exception as error:  # as above
            raise ValueError(f"{path}: the array {name!r} is damaged: {_reason(error)}") from error

    return shape[0], blocks()


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name, ending = os.path.splitext(info.filename)
        if ending == ".npy" and members.setdefault(name, info) is not info:
            raise ValueError(f"the array {name!r} stands there twice")
    return members


def _check_plain(name: str, dtype: np.dtype) -> None:
    if dtype.hasobject:
        raise ValueError(
            f"the array {name!r} holds objects, which would be unpickled and can run code (allow_pickle): save it as "
            "numbers, or as str"
        )


def _check_end(member: IO[bytes]) -> None:
    if member.read(1):  # the archive's checksum is compared when the end is read
        raise ValueError("it goes on after its last value")


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _arrays(file: IO[bytes], names: Collection[str] | None) -> dict[str, NDArray[Any]]:
    stored = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        requested = {name: info for name, info in _members(archive).items() if names is None or name in names}
        check_unfolded("its arrays", sum(info.file_size for info in requested.values()), stored)
        arrays: dict[str, NDArray[Any]] = {}
        for name, info in requested.items():
            with archive.open(info) as member:
                arrays[name] = _array(member, info.file_size, name)
    return arrays


def _array(member: IO[bytes], size: int, name: str) -> NDArray[Any]:
    shape, by_columns, dtype = npy_header(member)
    _check_plain(name, dtype)
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
    _check_end(member)
    return values.reshape(shape, order="F" if by_columns else "C")


def _mapped(file: IO[bytes], name: str) -> NDArray[Any]:
    with zipfile.ZipFile(file) as archive:
        members = [info for info in archive.infolist() if info.filename == f"{name}.npy"]
    if len(members) != 1:
        raise ValueError(f"it has {len(members)} arrays {name!r}")
    [info] = members
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"the array {name!r} is compressed and cannot be mapped")
    # How long a member's own header is, its place in the directory does not say.
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER or header[:4] != b"PK\3\4":
        raise ValueError(f"the array {name!r} is not where the directory says")
    lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    end = file.seek(lengths, os.SEEK_CUR) + info.file_size
    shape, by_columns, dtype = npy_header(file)
    if dtype.hasobject or by_columns:
        raise ValueError(f"the array {name!r} cannot be mapped")
    size = math.prod(shape) * dtype.itemsize
    if file.tell() + size != end or end > os.fstat(file.fileno()).st_size:
        raise ValueError(f"the array {name!r} declares the shape {shape} {dtype} and holds other bytes")
    if size == 0:
        return np.empty(shape, dtype)
    return np.memmap(file, dtype, "r", file.tell(), shape)


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
