"""The ids of an index: which are taken, and in which row each one stands."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scbch_keras.arrays import as_array

Ids = NDArray[Any]
"""int64 (n,) >= 0, or str objects (n,)."""
_MIN_RECENT = 4096


def checked_ids(name: str, ids: ArrayLike | Sequence[Any], count: int | None = None) -> Ids:
    """Ids as an array of int64 or of str objects.

    Args:
        name: of the argument, for the errors.
        ids: integers from 0 to 2^63 - 1, or strings.
        count: how many there must be; None for any number.

    Raises:
        ValueError: another shape; a type that is neither or both; an integer out of range; a string that UTF-8
            cannot hold.
    """
    values = _array(name, ids)
    if values.ndim != 1 or count not in (None, len(values)):
        shape = "(n,)" if count is None else f"({count},), one for each code"
        raise ValueError(f"{name} must have shape {shape}, got shape {values.shape}")
    if len(values) == 0:
        return np.empty(0, np.int64)
    if values.dtype == object:
        return _checked_strings(name, values)
    if values.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers that fit int64, or strings, got dtype {values.dtype}")
    if values.min() < 0:
        raise ValueError(f"{name} must be >= 0 (-1 marks an empty place in results), got {values.min()}")
    if values.max() > np.iinfo(np.int64).max:
        raise ValueError(
            f"{name} must be integers that fit int64, got {values.max()}; strings hold larger ones"
        )
    return values.astype(np.int64)


def check_distinct(name: str, ids: Ids) -> None:
    """Refuse ids of which one comes twice. Raises ValueError."""
    if ids.dtype == object:
        if len(set(ids.tolist())) == len(ids):
            return
        ids = ids.astype(np.dtypes.StringDType())
    elif (ids[1:] > ids[:-1]).all():
        return
    ordered = np.sort(ids)
    twice = ordered[1:] == ordered[:-1]
    if twice.any():
        raise ValueError(f"{name} must differ from each other; id {ordered[1:][twice][0]!s} comes twice")


def _array(name: str, ids: Any) -> NDArray[Any]:
    """An array of the ids, without numpy's conversion of mixed types to a common one."""
    if isinstance(ids, np.ma.MaskedArray):
        return as_array(name, ids)
    if isinstance(ids, list | tuple) or (
        isinstance(ids, np.ndarray) and ids.dtype == object and ids.ndim == 1
    ):
        kinds = set(map(type, ids))
        if any(issubclass(kind, str) for kind in kinds):
            strings = np.empty(len(ids), object)
            strings[:] = ids
            return strings
        if any(issubclass(kind, bool | np.bool_) for kind in kinds):
            raise ValueError(f"{name} must be integers that fit int64, or strings, got a bool")
        if kinds and all(issubclass(kind, Integral) for kind in kinds):
            try:
                return np.array(ids, np.uint64 if max(ids) > np.iinfo(np.int64).max else np.int64)
            except OverflowError as error:
                raise ValueError(f"{name} must be integers that fit int64: {error}") from error
    try:
        values = np.asarray(ids)
    except ValueError as error:
        raise ValueError(f"{name} must be a list of integers or strings: {error}") from error
    is_foreign = values.dtype == object and not isinstance(ids, np.ndarray | list | tuple)
    if values.ndim == 1 and (values.dtype.kind in "UT" or is_foreign):
        return _array(name, values.tolist())
    return values


def _checked_strings(name: str, values: NDArray[Any]) -> NDArray[Any]:
    strings = values.tolist()
    for place, value in enumerate(strings):
        if not isinstance(value, str | Integral):
            raise ValueError(f"{name} must be integers or strings, got {type(value).__name__} at {place}")
    for place, value in enumerate(strings):
        if not isinstance(value, str):
            raise ValueError(
                f"{name} must be all integers or all strings, got {type(value).__name__} at {place}"
            )
    try:
        "".join(strings).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} must be valid Unicode, got a lone surrogate: {error.reason}") from error
    plain = np.empty(len(strings), object)
    plain[:] = [str(value) for value in strings]
    return plain


class Rows(NamedTuple):
    """What an index holds at one moment. Arrays may be longer than `size`; what is within it never changes.

    codes: packed, uint8 (capacity, width).
    ids: int64 or str objects (capacity,), or `Positions` until something changes.
    serials: int64 (capacity,), ascending: how many codes had been added before each; None: the row itself.
    size: rows in use.
    added: how many codes were ever added, which is the next id where none is given.
    """

    codes: NDArray[np.uint8]
    ids: Any
    serials: NDArray[np.int64] | None
    size: int
    added: int

    def with_more(self, codes: NDArray[np.uint8], ids: Ids) -> "Rows":
        """These rows and new ones behind them. The memory is the same where it has room."""
        size = self.size + len(codes)
        mine = self if self.size else self._replace(ids=np.empty(len(self.codes), ids.dtype))
        capacity = size if size <= len(mine.codes) else max(size, 2 * self.size)
        serials = np.arange(self.added, self.added + len(codes))

        def joined(array: NDArray[Any], new: NDArray[Any]) -> NDArray[Any]:
            if len(array) < size:
                grown = np.empty((capacity, *array.shape[1:]), array.dtype)
                grown[: self.size] = array[: self.size]
                array = grown
            array[self.size : size] = new
            return array

        return Rows(
            joined(mine.codes, codes),
            joined(mine.ids, ids),
            None if mine.serials is None else joined(mine.serials, serials),
            size,
            self.added + len(codes),
        )

    def without(self, rows: NDArray[np.int64]) -> "Rows":
        """A copy without these rows; the others keep their order."""
        keep = np.ones(self.size, bool)
        keep[rows] = False
        serials = np.arange(self.size) if self.serials is None else self.serials[: self.size]
        kept = self.codes[: self.size][keep], self.ids[: self.size][keep], serials[keep]
        return Rows(*kept, len(kept[0]), self.added)

    def with_codes(self, rows: NDArray[np.int64], codes: NDArray[np.uint8]) -> "Rows":
        """A copy with other codes in these rows."""
        changed = self.codes.copy()
        changed[rows] = codes
        return self._replace(codes=changed)


class Lookup:
    """Id -> row. Ascending integers are found in the ids themselves; others by sorted ids and a dict of recent ones.

    What it remembers of an id is a serial number, and is compared with the rows: what was removed since, or what an
    interrupted call left, is never taken for a row.
    """

    def __init__(self) -> None:
        self._is_ascending = True
        self._sorted: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
        self._recent: dict[Any, int] = {}

    def rows(self, requested: Ids, rows: Rows) -> NDArray[np.int64]:
        """The row of each requested id (n,), int64; -1 where the index does not hold it."""
        ids = rows.ids[: rows.size]
        if rows.size == 0 or len(requested) == 0 or ids.dtype != requested.dtype:
            return np.full(len(requested), -1)
        if self._is_ascending and ids.dtype != object:
            return _verified(np.searchsorted(ids, requested), requested, ids)
        known, serials = self._sorted or self._build(rows)
        result = np.full(len(requested), -1)
        if len(known):
            places = np.minimum(np.searchsorted(known, requested), len(known) - 1)
            result = _verified(_rows_of(serials[places], rows), requested, ids)
        if self._recent:
            recent = np.fromiter(
                (self._recent.get(id, -1) for id in requested.tolist()), np.int64, len(requested)
            )
            later = _verified(_rows_of(recent, rows), requested, ids)
            result = np.where(later >= 0, later, result)
        return result

    def note(self, new: Ids, before: Rows) -> None:
        """Remember the ids that come behind the rows `before`."""
        ids = before.ids[: before.size]
        if before.size == 0:
            self.__init__()  # type: ignore[misc]
        if self._is_ascending:
            self._is_ascending = (
                new.dtype != object
                and (not before.size or new[0] > ids[-1])
                and bool((new[1:] > new[:-1]).all())
            )
            return
        if self._sorted is None:
            return
        many = max(_MIN_RECENT, len(self._sorted[0]) // 4)
        if new.dtype != object and len(self._recent) + len(new) > many:
            self._sorted, self._recent = None, {}
        else:
            self._recent.update(zip(new.tolist(), range(before.added, before.added + len(new)), strict=True))

    def forget(self, ids: Ids) -> None:
        """Drop what is remembered of ids that were removed."""
        if self._recent:
            for id in ids.tolist():
                self._recent.pop(id, None)

    def _build(self, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        ids = rows.ids[: rows.size]
        serials = np.arange(rows.size) if rows.serials is None else rows.serials[: rows.size]
        if ids.dtype == object:
            self._recent = dict(zip(ids.tolist(), serials.tolist(), strict=True))
            self._sorted = np.empty(0, np.int64), np.empty(0, np.int64)
        else:
            order = np.argsort(ids)
            self._recent, self._sorted = {}, (ids[order], serials[order])
        return self._sorted


def _rows_of(serials: NDArray[np.int64], rows: Rows) -> NDArray[np.int64]:
    if rows.serials is None:
        return serials
    return np.where(serials < 0, -1, np.searchsorted(rows.serials[: rows.size], serials))


def _verified(candidates: NDArray[np.int64], requested: Ids, ids: Ids) -> NDArray[np.int64]:
    """The candidate rows that hold the requested ids, -1 for the others."""
    within = np.clip(candidates, 0, len(ids) - 1)
    return np.where((within == candidates) & (ids[within] == requested).astype(bool), within, -1)
