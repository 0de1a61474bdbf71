"""An index of codes in a store: the calls of `HammingIndex`, checked before the store sees them."""

from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scbch_keras.checks import flag, shown, whole
from scbch_keras.codes import check_packed
from scbch_keras.export.format.source import Source
from scbch_keras.export.stores.address import check_column
from scbch_keras.export.stores.base import Condition, Description, Kind, Rows, Store
from scbch_keras.ids import Ids, check_distinct, checked_ids, empty_results, not_in_index

_MAX_BYTES = 1024
_AT_ONCE = 8192
"""Ids that are looked for together."""
_INT64 = np.iinfo(np.int64)


class StoredIndex:
    """Codes in a table of a store, searched there. `HammingIndex.connect` makes one.

    Results are those of `HammingIndex`, equal distances in the order of their ids: of strings by code points. That
    is the embedded index's order where ids were added in ascending order.

    The table is made by the first `add`, and says itself which model its codes come from, how long they are, and
    what its ids and columns hold. Any thread may call any method.

    bits: code length.
    source: which model makes the codes, or None where nobody said.
    place: the URL and table, without user and password.
    """

    def __init__(self, store: Store, bits: int | None, source: Source | None):
        bits = whole("bits", bits, 1, optional=True)
        self._store = store
        self._known = store.described()
        if self._known is None:
            if bits is None:
                raise ValueError(
                    f"there is no table {self.place}; bits=, and source=, make one with the first add"
                )
            self.bits, self.source = bits, source
            return
        self.bits, self.source = self._known.bits, self._known.source
        if bits not in (None, self.bits):
            raise ValueError(f"{self.place} has codes of {self.bits} bits, not of {bits}")
        if source is not None:
            if self.source is None:
                raise ValueError(
                    f"{self.place} does not say which model made its codes; those of {source} go into a table of "
                    "their own"
                )
            source.check_same_model("source", self.source, self.place)

    @property
    def place(self) -> str:
        """URL and table, without user and password."""
        return self._store.place

    @property
    def id_kind(self) -> Kind:
        """Whether ids are integers or strings; strings where there is no table yet."""
        description = self._described()
        return "strings" if description is None else description.ids

    def present(self, ids: ArrayLike) -> list[int | str]:
        """Those of the ids that are in the table, in their order; they are of its kind.

        Raises:
            ValueError: ids that are none, or of another kind.
            ConnectionError: the store does not answer.
        """
        checked = _checked_ids("ids", ids).tolist() if len(ids) else []  # type: ignore[arg-type]
        description = self._described()
        if description is None or not checked:
            return []
        there: set[int | str] = set()
        for start in range(0, len(checked), _AT_ONCE):
            part = checked[start : start + _AT_ONCE]
            self._check_kind("ids", "strings" if isinstance(part[0], str) else "integers", description.ids)
            there |= self._store.present(description, part)
        return [id for id in checked if id in there]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"StoredIndex({self.place!r}): codes of {self.bits} bits"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(
            "a StoredIndex holds connections and a password, and is not pickled; connect in the other process"
        )

    def __len__(self) -> int:
        """Counted by the store, which may take long for a large table."""
        description = self._described()
        return 0 if description is None else self._store.count(description)

    def __contains__(self, id: object) -> bool:
        description = self._described()
        if description is None or isinstance(id, bool) or not isinstance(id, str | int | np.integer):
            return False
        try:
            wanted = _checked_ids("id", [id])
        except ValueError:
            return False
        return _kind(wanted) == description.ids and bool(self._store.present(description, wanted.tolist()))

    def add(
        self,
        codes: NDArray[np.uint8],
        ids: ArrayLike,
        *,
        columns: Mapping[str, ArrayLike] | None = None,
        batch_size: int = 10_000,
        progress: Callable[[int], object] = lambda rows: None,
    ) -> None:
        """Add codes under ids that are in no use yet, all of them or none.

        Args:
            codes: (n, ceil(bits / 8)), uint8.
            ids: (n,), integers from 0 to 2^63 - 1 or strings of 1 to 1,024 bytes in UTF-8, the same kind in the
                whole table.
            columns: further columns, (n,) integers or strings each, for `where`. All adds have the same ones.
            batch_size: rows that are sent together.
            progress: called with the number of rows of each batch that was sent.

        Raises:
            ValueError: codes of another length, ids or columns that are refused, an id in use. Nothing is added.
            ConnectionError: the store does not answer. Nothing is added, or the message says what is not known.
        """
        check_packed("codes", codes, self.bits)
        checked = _checked_ids("ids", ids, len(codes))
        check_distinct("ids", checked)
        batch_size = whole("batch_size", batch_size, 1)
        values = {name: _column(name, column, len(codes)) for name, column in (columns or {}).items()}
        if len(codes) == 0:
            return
        kinds = {name: _kind(column) for name, column in values.items()}
        known = self._described()
        if known is None:
            description = Description(self.bits, self.source, _kind(checked), kinds)
        else:
            description = known
            self._check_kind("ids", _kind(checked), known.ids)
            if kinds.keys() != known.columns.keys():
                raise ValueError(
                    f"columns must be those of {self.place}: {_listed(known.columns)}; got {_listed(kinds)}"
                )
            for name, kind in kinds.items():
                self._check_kind(f"column {name}", kind, known.columns[name])
        rows = Rows(codes, checked.tolist(), {name: values[name].tolist() for name in description.columns})
        self._store.add(description, rows, batch_size, progress, is_first=known is None)
        self._known = description

    def remove(self, ids: ArrayLike) -> None:
        """Remove the codes of these ids, all of them or none.

        Raises:
            ValueError: an id that is not in the table or comes twice. Nothing is removed then.
            ConnectionError: the store does not answer.
        """
        checked = _checked_ids("ids", ids)
        check_distinct("ids", checked)
        if len(checked):
            description = self._existing("ids", checked)
            self._store.remove(description, checked.tolist())

    def search(
        self,
        codes: NDArray[np.uint8],
        k: int,
        *,
        among: ArrayLike | None = None,
        where: Mapping[str, Any] | None = None,
        exact: bool = True,
        pad: bool = False,
    ) -> tuple[Ids, NDArray[np.int32]]:
        """The k codes nearest to each query, by distance, then by id.

        Args:
            codes: queries (q, ceil(bits / 8)), uint8.
            k: int >= 1.
            among: ids (m,) to search in alone; None for all.
            where: columns and what they must hold: a value, a list of values of which any will do, or of integers
                a `range` with step 1; all columns named must fit.
            exact: False to search in the approximate index of `build_approximate`; `recall` measures what it
                misses.
            pad: whether results shall be k wide also where there are fewer codes, filled as `HammingIndex` does.

        Returns:
            ids (q, w), int64 or str objects, and distances (q, w) int32. w is k, or the number of codes searched
            if that is smaller and `pad` is not set.

        Raises:
            ValueError: codes of another length, a wrong k, an id or column that is not there.
            ConnectionError: the store does not answer.
        """
        check_packed("codes", codes, self.bits)
        k = whole("k", k, 1)
        exact, pad = flag("exact", exact), flag("pad", pad)
        conditions = []
        description = self._described()
        if among is not None:
            wanted = _checked_ids("among", among)
            if len(wanted):
                self._check_present("among", wanted)
            conditions.append(Condition("id", list(dict.fromkeys(wanted.tolist()))))
        for column, value in (where or {}).items():
            conditions.append(self._condition(description, column, value))
        found: list[Any] = [[]] * len(codes)
        if description is not None and not exact and not self._store.has_approximate(description):
            raise ValueError(
                f"exact must be True: {self.place} has no approximate index; build_approximate makes it"
            )
        if description is not None and len(codes) and not any(c.values == [] for c in conditions):
            found = self._store.nearest(description, codes, k, conditions, exact)
        width = k if pad else max(map(len, found), default=0)
        result_ids, distances = empty_results(
            len(codes), width, description is not None and description.ids == "strings"
        )
        for row, results in enumerate(found):
            if results:
                result_ids[row, : len(results)], distances[row, : len(results)] = zip(*results, strict=True)
        return result_ids, distances

    def build_approximate(self) -> None:
        """Make the index that `search(exact=False)` looks in. Later adds are put into it, which slows them.

        Raises:
            ValueError: the store has none for binary codes, or there is no table yet.
            ConnectionError: the store does not answer.
        """
        description = self._described()
        if description is None:
            raise ValueError(f"there is no table {self.place} yet; add codes first")
        self._store.build_approximate(description)

    def recall(
        self, sample: NDArray[np.uint8], k: int = 10, *, where: Mapping[str, Any] | None = None
    ) -> float:
        """The share of the k nearest that `search(exact=False)` finds, over these queries.

        A result counts that is as near as the k-th of the exact search: among equal distances any is as good.

        Args:
            sample: queries (q, ceil(bits / 8)), uint8, q >= 1.
            k: int >= 1.
            where: as in `search`.
        """
        check_packed("sample", sample, self.bits)
        exact = self.search(sample, k, where=where)[1]
        if exact.size == 0:
            raise ValueError(
                f"sample and {self.place} must have at least one code, and `where` must fit some"
            )
        approximate = self.search(sample, k, where=where, exact=False)[1]
        return float((approximate <= exact[:, -1:]).sum() / exact.size)

    def close(self) -> None:
        """Close the connections. The table stays."""
        self._store.close()

    def _described(self) -> Description | None:
        """The table as it was first seen; one that another process made since is checked as on opening."""
        if self._known is None:
            now = self._store.described()
            if now is not None:
                if now.bits != self.bits or now.source != self.source:
                    raise ValueError(
                        f"{self.place} was made by another process since it was opened, for {now.bits} bits and "
                        f"{now.source or 'no source'}, not {self.bits} bits and {self.source or 'no source'}"
                    )
                self._known = now
        return self._known

    def _existing(self, name: str, ids: Ids) -> Description:
        description = self._described()
        if description is None:
            raise ValueError(f"{name} must be in the index; there is no table {self.place} yet")
        self._check_kind(name, _kind(ids), description.ids)
        return description

    def _check_present(self, name: str, ids: Ids) -> None:
        description = self._existing(name, ids)
        wanted = set(ids.tolist())
        missing = wanted - self._store.present(description, list(wanted))
        if missing:
            raise not_there(name, missing, len(wanted))

    def _check_kind(self, name: str, kind: Kind, expected: Kind) -> None:
        if kind != expected:
            raise ValueError(f"{name} must be {expected}, as in {self.place}, got {kind}")

    def _condition(self, description: Description | None, column: str, value: Any) -> Condition:
        columns = {} if description is None else description.columns
        if column not in columns:
            raise ValueError(
                f"where must name columns of {self.place}: {_listed(columns)}; got {shown(column)} "
                "(`among` chooses by id)"
            )
        if isinstance(value, range):
            if value.step != 1 or columns[column] != "integers":
                raise ValueError(f"where[{column!r}]: a range must have step 1, on a column of integers")
            if value.start >= value.stop or value.start > _INT64.max or value.stop <= _INT64.min:
                return Condition(column, [])
            return Condition(column, None, max(value.start, _INT64.min), min(value.stop - 1, _INT64.max))
        values = value if isinstance(value, list | tuple | np.ndarray) else [value]
        if len(values) == 0:
            return Condition(column, [])
        checked = _column(column, values, len(values), "where")
        self._check_kind(f"where[{column!r}]", _kind(checked), columns[column])
        return Condition(column, list(dict.fromkeys(checked.tolist())))


def not_there(name: str, missing: set[Any], count: int) -> ValueError:
    """The error for ids that a table has not."""
    return not_in_index(name, min(missing), len(missing), count, "`id in index` tells")


def _checked_ids(name: str, ids: Any, count: int | None = None) -> Ids:
    if ids is None:
        raise ValueError(
            f"{name} must be integers or strings, one for each code; a store gives out none by itself"
        )
    return _checked_strings(name, checked_ids(name, ids, count))


def _column(name: Any, values: Any, count: int, what: str = "columns") -> Ids:
    check_column(name)
    label = f"{what}[{name!r}]"
    numbers = np.asarray(values)
    if numbers.dtype.kind in "iu" and numbers.ndim == 1:
        if len(numbers) != count:
            raise ValueError(f"{label} must have one value for each of {count} codes, got {len(numbers)}")
        if numbers.size and int(numbers.max()) > _INT64.max:
            raise ValueError(f"{label} must fit int64, got {numbers.max()}")
        return numbers.astype(np.int64)
    strings = checked_ids(label, values, count)
    if strings.dtype != object and count:
        raise ValueError(f"{label} must be integers that fit int64, or strings")
    return _checked_strings(label, strings)


def _checked_strings(name: str, values: Ids) -> Ids:
    if values.dtype == object:
        for place, text in enumerate(values.tolist()):
            if "\0" in text:
                raise ValueError(f"{name} must not hold the character NUL, which stores refuse; at {place}")
            if (name.startswith("id") or name == "among") and not text:
                raise ValueError(f"{name} must be strings of at least 1 byte, got an empty one at {place}")
            if len(text) * 4 > _MAX_BYTES and len(text.encode()) > _MAX_BYTES:
                raise ValueError(
                    f"{name} must be strings of at most {_MAX_BYTES} bytes in UTF-8, got {len(text.encode())} "
                    f"at {place}"
                )
    return values


def _kind(values: Ids) -> Kind:
    return "strings" if values.dtype == object else "integers"


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(names) or "none"
