"""Matrices of MATLAB 5 files (MAT-file level 5): numbers, dense or sparse, read with every size and index checked.

Only what holds numbers is parsed; of cells, structs, text and objects the names alone are known. The format is that
of MathWorks' "MAT-File Format", version 5.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from scbch_keras.limits import check_unfolded

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Letter of numpy by the type of an element; 8, 10 and 11 are reserved, others hold no numbers."""
_SPARSE, _NUMBERS = 5, range(6, 16)
_OPAQUE = 17
"""Objects of newer versions, which have no dimensions."""
_OTHERS = {1: "cells", 2: "a struct", 3: "an object", 4: "text", 16: "a function", _OPAQUE: "an object"}
_COMPLEX = 0x0800
_FEW = 2**16
"""Bytes in which flags, dimensions and name of a matrix stand."""


class Variable(NamedTuple):
    """A matrix of a file and where it lies."""

    name: str
    kind: int
    is_complex: bool
    shape: tuple[int, ...]
    compressed: bool
    start: int
    size: int
    """Of its element, tag excluded, as it lies in the file."""

    @property
    def is_sparse(self) -> bool:
        """Whether compressed columns are stored."""
        return self.kind == _SPARSE

    @property
    def described(self) -> str:
        """What it is, if no real numbers; "" if it is."""
        if self.is_complex:
            return "complex numbers"
        return "" if self.kind == _SPARSE or self.kind in _NUMBERS else _OTHERS.get(self.kind, "no numbers")


def variables(path: Path) -> dict[str, Variable]:
    """The matrices of a file by name. ValueError for one that is damaged, or that has a name twice."""
    by_name: dict[str, Variable] = {}
    with path.open("rb") as file:
        order = _byte_order(file)
        for compressed, start, size in _elements(file, order):
            file.seek(start)
            head = file.read(min(size, _FEW))
            if compressed:
                head = _inflated(head, _FEW)
                _check_is_matrix(head, order)
                head = head[8:]
            if not head:
                continue  # an empty matrix without a name
            parts = _parts(memoryview(head), order)
            kind, is_complex, shape, name = _described(parts, order)
            if name in by_name:
                raise ValueError(f"the variable {name} stands there twice")
            by_name[name] = Variable(name, kind, is_complex, shape, compressed, start, size)
    return by_name


def read(path: Path, variable: Variable) -> Any:
    """A variable of real numbers as array, or as `scipy.sparse.csr_array`, of the type in which it is stored.

    Raises:
        ValueError: it is damaged, its indices lead out of it, or it unfolds out of proportion to the file.
    """
    with path.open("rb") as file:
        order = _byte_order(file)
        file.seek(variable.start)
        content = file.read(variable.size)
    if variable.compressed:
        declared = _check_is_matrix(_inflated(content, 8), order)
        check_unfolded(variable.name, declared, path.stat().st_size)
        content = _inflated(content, declared + 8)[8:]
        if len(content) < declared:
            raise ValueError(f"{variable.name} ends too early")
    parts = _parts(memoryview(content), order)
    _described(parts, order)
    if variable.kind == _SPARSE:
        rows, starts, values = (_numbers(next(parts, None), order, variable.name) for _ in range(3))
        return sparse(variable.name, variable.shape, rows, starts, values)
    values = _numbers(next(parts, None), order, variable.name)
    count = int(np.prod([1, *variable.shape], dtype=object))
    if len(values) != count:
        raise ValueError(f"{variable.name} has {len(values)} values, expected {count} by its dimensions")
    return values.reshape(variable.shape, order="F")


def sparse(
    name: str, shape: tuple[int, ...], rows: NDArray[Any], starts: NDArray[Any], values: NDArray[Any]
) -> Any:
    """Compressed columns as `scipy.sparse.csr_array`, whose indices compiled code will take as they are.

    Raises:
        ValueError: an index is out of place.
    """
    if len(shape) != 2:
        raise ValueError(f"{name} is sparse and has {len(shape)} dimensions, expected 2")
    height, width = shape
    starts = _whole(name, starts)
    if len(starts) != width + 1 or starts[0] != 0 or (np.diff(starts) < 0).any():
        raise ValueError(f"{name}: the starts of its columns are damaged")
    count = int(starts[-1])
    rows = _whole(name, rows)
    if count > len(rows) or count > len(values):
        raise ValueError(f"{name} ends too early: {count} entries expected")
    rows, values = rows[:count], values[:count]
    if count and not (rows.min() >= 0 and rows.max() < height):
        raise ValueError(f"{name}: a row index is outside of its {height} rows")
    column = np.repeat(np.arange(width), np.diff(starts))
    if (np.diff(column * np.int64(height) + rows) <= 0).any():
        raise ValueError(f"{name}: the row indices of a column do not ascend")
    return scipy.sparse.csc_array((values, rows, starts), shape=shape).tocsr()


def _whole(name: str, indices: NDArray[Any]) -> NDArray[np.int64]:
    if indices.dtype.kind not in "iu":
        raise ValueError(f"{name}: indices must be whole numbers, got {indices.dtype}")
    return indices.astype(np.int64)


def _byte_order(file: BinaryIO) -> str:
    header = file.read(_HEADER)
    orders = {b"IM": "<", b"MI": ">"}
    if len(header) < _HEADER or header[126:] not in orders:
        raise ValueError("it has no header of a MATLAB 5 file")
    return orders[header[126:]]


def _elements(file: BinaryIO, order: str) -> Iterator[tuple[bool, int, int]]:
    """(whether compressed, where its content starts, bytes of it) of each matrix."""
    end = file.seek(0, 2)
    place = _HEADER
    while place < end:
        file.seek(place)
        tag = file.read(8)
        if len(tag) < 8:
            raise ValueError(f"it ends within the tag at byte {place}")
        kind, size = struct.unpack(f"{order}II", tag)
        if place + 8 + size > end:
            raise ValueError(f"it ends {place + 8 + size - end} bytes too early")
        if kind in (_MATRIX, _COMPRESSED):
            yield kind == _COMPRESSED, place + 8, size
        place += 8 + size


def _inflated(content: bytes, most: int) -> bytes:
    """At most so many bytes of what was deflated."""
    try:
        return zlib.decompressobj().decompress(content, most)
    except zlib.error as error:
        raise ValueError(f"it cannot be decompressed: {error}") from error


def _check_is_matrix(head: bytes, order: str) -> int:
    """Bytes of the matrix behind its tag."""
    if len(head) < 8:
        raise ValueError("a matrix ends within its tag")
    kind, size = struct.unpack_from(f"{order}II", head)
    if kind != _MATRIX:
        raise ValueError(f"expected a matrix, got an element of type {kind}")
    return int(size)


def _parts(content: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """(type, content) of the elements within a matrix."""
    place = 0
    while place + 8 <= len(content):
        (first,) = struct.unpack_from(f"{order}I", content, place)
        if first >> 16:  # the short form: type, size and up to 4 bytes of content in 8 bytes
            kind, size, start, after = first & 0xFFFF, first >> 16, place + 4, place + 8
            if size > 4:
                raise ValueError(f"a short element of {size} bytes, expected at most 4")
        else:
            kind, (size,) = first, struct.unpack_from(f"{order}I", content, place + 4)
            start = place + 8
            after = start + size + (-size % 8)
        yield kind, content[start : start + size]
        if start + size > len(content):
            return
        place = after


def _described(parts: Iterator[tuple[int, memoryview]], order: str) -> tuple[int, bool, tuple[int, ...], str]:
    """Class, whether complex, dimensions and name, which stand before the numbers."""
    kind, content = next(parts, (0, memoryview(b"")))
    if kind != 6 or len(content) < 8:
        raise ValueError("a matrix without flags")
    (flags,) = struct.unpack_from(f"{order}I", content)
    shape: tuple[int, ...] = ()
    if flags & 0xFF != _OPAQUE:
        dimensions = next(parts, None)
        shape = tuple(_numbers(dimensions, order, "dimensions").tolist())
        if dimensions is None or dimensions[0] != 5 or len(shape) < 2 or min(shape) < 0:
            raise ValueError(f"a matrix of dimensions {shape}")
    _, name = next(parts, (0, None))
    if name is None:
        raise ValueError("a matrix without a name")
    return flags & 0xFF, bool(flags & _COMPLEX), shape, name.tobytes().decode("latin-1")


def _numbers(part: Sequence[Any] | None, order: str, name: str) -> NDArray[Any]:
    if part is None:
        raise ValueError(f"{name} ends too early")
    kind, content = part
    if kind not in _TYPES:
        raise ValueError(f"{name}: expected numbers, got an element of type {kind}")
    dtype = np.dtype(order + _TYPES[kind])
    if len(content) % dtype.itemsize:
        raise ValueError(f"{name} ends within a number")
    return np.frombuffer(content, dtype).astype(dtype.newbyteorder("="), copy=False)
