"""The ids of an index: which are taken, and in which row each one stands."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scbch_keras.ids import Ids

_MIN_RECENT = 4096


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


def check_kind(name: str, ids: Ids, rows: Rows, hint: str = "") -> None:
    """Refuse ids of the other kind than those of the rows. Raises ValueError, ending with the hint."""
    if rows.size and len(ids) and ids.dtype != rows.ids.dtype:
        mine, other = ("strings", "integers") if rows.ids.dtype == object else ("integers", "strings")
        raise ValueError(f"{name} must be {mine}, as the ids of this index are, got {other}{hint}")


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """The same memory, not to be written through it."""
    view = array.view()
    view.flags.writeable = False
    return view
