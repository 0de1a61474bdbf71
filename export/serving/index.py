"""Search over packed codes by Hamming distance. numpy; faiss where it is installed."""

import os
from numbers import Integral
from pathlib import Path
from threading import Lock
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scbch_keras.checks import flag, refuse, thread_count, whole
from scbch_keras.codes import check_packed
from scbch_keras.export.format.source import Source
from scbch_keras.export.serving import index_file
from scbch_keras.export.serving.engines import ENGINES, Engine, Faiss, chosen_engine
from scbch_keras.export.serving.forks import renew_in_children
from scbch_keras.export.serving.ids import Lookup, Rows, check_kind, read_only
from scbch_keras.export.serving.ivf import Ivf
from scbch_keras.export.serving.positions import Positions
from scbch_keras.export.serving.rescoring import CANDIDATES_A_RESULT, checked_continuous, nearest_rescored
from scbch_keras.export.serving.within import within_radius
from scbch_keras.export.stores.connect import connect
from scbch_keras.export.stores.index import StoredIndex
from scbch_keras.ids import Ids, check_distinct, checked_ids, empty_results, not_in_index

EngineName = Literal["faiss", "numpy", "ivf"]


class HammingIndex:
    """The codes nearest to a query, exactly, in a defined order.

    Results are ordered by distance, and equal distances by the order in which the codes were added. faiss and
    numpy give the same results, so it does not matter which of them a machine has.

    Any method may be called from any number of threads: changes are made one after the other, each wholly or not
    at all, and a search sees the index as it was when the search began. An index may be pickled and copied, and is
    searched in forked processes as in others.

    Args:
        bits: int >= 1, code length. Codes are packed: uint8 (n, ceil(bits / 8)), pad bits zero.
        engine: "faiss", "numpy", or None for faiss where it is installed. "ivf" searches by clusters, made by
            faiss at the first search: many times as quickly, but it misses about 5 % of the nearest codes.
        source: which model makes the codes, saved with them; None where nobody said.

    Raises:
        ValueError: `bits` is not an int >= 1, `engine` is unknown, or `source` is no Source.
        ImportError: `engine` is "faiss" and faiss is not installed.
    """

    def __init__(self, bits: int, *, engine: EngineName | None = None, source: Source | None = None):
        self.bits = whole("bits", bits, 1)
        if source is not None and not isinstance(source, Source):
            refuse("source", "a Source (Source.of(encoder)), or None", source)
        self.source = source
        self.engine = chosen_engine(engine)
        self._engine: Engine = Ivf() if self.engine == "ivf" else ENGINES[self.engine]
        self._requested_engine = engine
        empty = np.empty((0, -(-self.bits // 8)), np.uint8), np.empty(0, np.int64)
        self._rows = Rows(*empty, None, 0, 0)
        self._lookup = Lookup()
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Make a lock that no thread holds."""
        self._lock = Lock()

    def __len__(self) -> int:
        return self._rows.size

    def __contains__(self, id: object) -> bool:
        if isinstance(id, bool) or not isinstance(id, str | Integral):
            return False
        try:
            requested = checked_ids("id", [id])
        except ValueError:
            return False
        with self._lock:
            return bool((self._rows_of(requested) >= 0).all())

    def __repr__(self) -> str:
        return f"HammingIndex(bits={self.bits}, engine={self.engine!r}): {len(self)} codes"

    def __reduce__(self) -> tuple[Any, ...]:
        content = self._content()
        return _restored, (type(self), content, self._requested_engine)

    @property
    def codes(self) -> NDArray[np.uint8]:
        """The packed codes in the order of adding, uint8 (size, ceil(bits / 8)), as they are now. Read-only."""
        rows = self._rows
        return read_only(rows.codes[: rows.size])

    @property
    def ids(self) -> Ids:
        """The ids in the order of adding, (size,), int64 or str objects, as they are now. Read-only."""
        rows = self._rows
        return read_only(rows.ids[: rows.size])

    def add(self, codes: NDArray[np.uint8], ids: ArrayLike | None = None) -> None:
        """Add codes under ids that are in no use yet.

        Args:
            codes: (n, ceil(bits / 8)), uint8.
            ids: (n,), integers from 0 to 2^63 - 1 or strings, the same kind in the whole index. Without them a
                code's id is the number of codes that were added before it, removed ones counted: its position
                where none was removed.

        Raises:
            ValueError: codes of another length; ids of another length or kind, negative, too large, or used twice.
                Nothing is added then.
        """
        check_packed("codes", codes, self.bits)
        own_ids = None if ids is None else checked_ids("ids", ids, len(codes))
        if own_ids is not None:
            check_distinct("ids", own_ids)
        if len(codes) == 0:
            return
        with self._lock:
            rows = self._changeable()
            new = np.arange(rows.added, rows.added + len(codes)) if own_ids is None else own_ids
            check_kind(
                "ids", new, rows, " (the default ids are positions; pass ids here too)" * (ids is None)
            )
            used = self._lookup.rows(new, rows) >= 0
            if used.any():
                remedy = (
                    "the default ids are positions; pass ids here too"
                    if ids is None
                    else "update replaces the code of an id, remove frees it"
                )
                raise ValueError(
                    f"ids must be new to the index; id {_shown(new[used][0])} is in use ({remedy})"
                )
            more = rows.with_more(codes, new)
            self._lookup.note(new, rows)
            self._rows = more

    def update(self, codes: NDArray[np.uint8], ids: ArrayLike) -> None:
        """Replace the codes of ids that are in use; their place in the order stays.

        It takes time in proportion to the size of the index, whatever the number of ids.

        Args:
            codes: (n, ceil(bits / 8)), uint8.
            ids: (n,), each once.

        Raises:
            ValueError: as of `add`, and for an id that is not in the index. Nothing is replaced then.
        """
        check_packed("codes", codes, self.bits)
        requested = checked_ids("ids", ids, len(codes))
        check_distinct("ids", requested)
        with self._lock:
            positions = self._positions("ids", requested, "add adds codes")
            if len(positions):
                self._rows = self._changeable().with_codes(positions, codes)

    def remove(self, ids: ArrayLike) -> None:
        """Remove the codes of these ids. The others keep their order, and the ids are free again.

        It takes time in proportion to the size of the index, whatever the number of ids.

        Args:
            ids: (n,), each once.

        Raises:
            ValueError: an id that is not in the index or comes twice. Nothing is removed then.
        """
        requested = checked_ids("ids", ids)
        check_distinct("ids", requested)
        with self._lock:
            positions = self._positions("ids", requested, "`id in index` tells")
            if len(positions):
                self._rows = self._changeable().without(positions)
                self._lookup.forget(requested)

    def search(
        self,
        codes: NDArray[np.uint8],
        k: int,
        *,
        among: ArrayLike | None = None,
        pad: bool = False,
        threads: int | None = None,
        rescore: ArrayLike | None = None,
        candidates: int | None = None,
    ) -> tuple[Ids, NDArray[np.int32]]:
        """The k codes nearest to each query, by distance, then by the order of adding.

        Args:
            codes: queries (q, ceil(bits / 8)), uint8.
            k: int >= 1.
            among: ids (m,) to search in alone; None for all. An id that comes twice counts once.
            pad: whether results shall be k wide also where there are fewer codes: the rest of a row is filled as
                faiss fills it, with id -1 (None among strings; no code has such an id) and distance 2147483647.
            threads: of faiss, 1 to 1024, at most so many; None for one a 32 queries, and one at least. The numpy
                engine has one, and so has faiss in a forked process.
            rescore: continuous codes of the same queries (q, bits), as `HashEncoder` gives with `packed=False`: the
                nearest `candidates` are ranked again by their inner product with these, the largest first, then by the
                order of adding. The distances that come back are those of Hamming, no longer in ascending order.
            candidates: int >= k, with `rescore` only; None for 10 k. More cost more, and never rank worse by the inner
                product.

        Returns:
            ids (q, w), int64 or str objects, and distances (q, w) int32 in [0, bits]. w is k, or the number of
            codes searched if that is smaller and `pad` is not set.

        Raises:
            ValueError: codes of another length, k or threads out of range, `among` with an id that is not in the index,
                or `rescore` that is not of these queries.
        """
        check_packed("codes", codes, self.bits)
        k = whole("k", k, 1)
        threads = thread_count(threads)
        pad = flag("pad", pad)
        continuous = None if rescore is None else checked_continuous(rescore, codes, self.bits)
        wanted = whole("candidates", candidates, k, optional=True)
        if wanted is not None and rescore is None:
            raise ValueError("candidates goes with rescore, which ranks them again; got candidates alone.")
        rows, chosen, searched = self._searched(among)
        count = min(k, len(searched))
        width = k if pad else count
        ids, distances = empty_results(len(codes), width, rows.ids.dtype == object)
        if count and len(codes):
            engine = Faiss() if self.engine == "ivf" and chosen is not None else self._engine
            if continuous is None:
                positions, distances[:, :count] = engine.nearest(codes, searched, count, self.bits, threads)
            else:
                drawn = min(wanted or CANDIDATES_A_RESULT * k, len(searched))
                positions, distances[:, :count] = nearest_rescored(
                    engine, codes, continuous, searched, count, drawn, self.bits, threads
                )
            ids[:, :count] = rows.ids[positions if chosen is None else chosen[positions]]
        return ids, distances

    def within(
        self, codes: NDArray[np.uint8], radius: int, *, among: ArrayLike | None = None
    ) -> list[tuple[Ids, NDArray[np.int32]]]:
        """All codes within a Hamming radius of each query, exactly, by distance, then by the order of adding.

        Args:
            codes: queries (q, ceil(bits / 8)), uint8.
            radius: int from 0 to bits.
            among: ids (m,) to search in alone; None for all. An id that comes twice counts once.

        Returns:
            For each query ids (m,), int64 or str objects, and distances (m,) int32 in [0, radius].

        Raises:
            ValueError: codes of another length, radius out of range, or `among` with an id that is not in the index.
        """
        check_packed("codes", codes, self.bits)
        radius = whole("radius", radius, 0, self.bits)
        rows, chosen, searched = self._searched(among)
        return [
            (rows.ids[positions if chosen is None else chosen[positions]], distances)
            for positions, distances in within_radius(codes, searched, radius, self.bits)
        ]

    def merge(self, other: "HammingIndex") -> None:
        """Add all codes of another index under their ids, in their order.

        Args:
            other: of as many bits and, where both say, of the same source, which an empty index takes from it.

        Raises:
            ValueError: another index than that, ids of the other kind or that are in use. Nothing is added then.
        """
        if not isinstance(other, HammingIndex) or other.bits != self.bits:
            raise ValueError(f"other must be a HammingIndex of {self.bits} bits; got {other!r}")
        if self.source is not None and other.source is not None:
            other.source.check_same_model("other", self.source, "this index")
        rows, is_new = other._rows, not len(self)
        self.add(rows.codes[: rows.size], rows.ids[: rows.size])
        if is_new and self.source is None:
            self.source = other.source

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to one file, under exactly this name.

        The content is an uncompressed .npz of plain arrays with a checksum over them.

        Args:
            path: of the file; an older one is replaced at once or not at all.
        """
        index_file.write(Path(path), self._content())

    @classmethod
    def connect(
        cls,
        url: str,
        table: str | None = None,
        *,
        bits: int | None = None,
        source: Source | None = None,
    ) -> StoredIndex:
        """An index in a store: codes are kept, and searched, by PostgreSQL or Milvus.

        Args:
            url: "postgresql://USER@HOST:PORT/DATABASE", with the options of libpq.
            table: its name, which may also stand behind a # at the end of the URL. Made by the first `add`.
            bits: code length; needed where the table is to be made, compared where it is there.
            source: which model makes the codes; compared too.

        Raises:
            ValueError: a URL or name that is refused; a table of other bits, another source, or of somebody else.
            ConnectionError: the store does not answer.
            ImportError: the store's client is not installed.
        """
        return connect(url, table, bits=bits, source=source)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, engine: EngineName | None = None, mapped: bool = False
    ) -> Self:
        """Read what `save` wrote, now or in an earlier version.

        Args:
            path: of the file.
            engine: as of the constructor; it is not part of the file.
            mapped: whether codes, and integers as ids, stay in the file and are read as they are needed: it opens at
                once whatever its size, and the checksum over its content is not compared. The first change copies it.

        Returns:
            The index that was saved.

        Raises:
            ValueError: the file is not an index, is damaged, or was written by a later schema.
            FileNotFoundError: there is no such file.
        """
        if flag("mapped", mapped):
            return _mapped(cls, index_file.map_file(Path(path)), engine)
        content = index_file.read(Path(path))
        try:
            return _restored(cls, content, engine)
        except ValueError as error:
            raise ValueError(f"{path} is not a HammingIndex file, or it is damaged: {error}") from error

    def _content(self) -> index_file.Content:
        rows = self._rows
        ids = rows.ids if isinstance(rows.ids, Positions) else rows.ids[: rows.size]
        return index_file.Content(self.bits, rows.codes[: rows.size], ids, rows.added, self.source)

    def _searched(self, among: ArrayLike | None) -> tuple[Rows, NDArray[np.int64] | None, NDArray[np.uint8]]:
        """The rows as they are now, those of the ids (None for all), and their codes."""
        if among is None:
            rows = self._rows
            return rows, None, rows.codes[: rows.size]
        requested = checked_ids("among", among)
        with self._lock:
            chosen = np.unique(self._positions("among", requested, "`id in index` tells"))
            rows = self._rows
        return rows, chosen, rows.codes[chosen]

    def _rows_of(self, requested: Ids) -> NDArray[np.int64]:
        rows = self._rows
        is_position = isinstance(rows.ids, Positions)
        return rows.ids.rows(requested) if is_position else self._lookup.rows(requested, rows)

    def _changeable(self) -> Rows:
        """The rows, their ids in memory: what a change begins with, the lock held."""
        rows = self._rows
        return rows._replace(ids=rows.ids[: rows.size]) if isinstance(rows.ids, Positions) else rows

    def _positions(self, name: str, requested: Ids, remedy: str) -> NDArray[np.int64]:
        """The rows of ids, all of which must be there. Called with the lock held."""
        rows = self._rows
        check_kind(name, requested, rows)
        positions = self._rows_of(requested)
        if (positions < 0).any():
            absent = requested[positions < 0]
            raise not_in_index(name, absent[0], len(absent), len(positions), remedy)
        return positions


def _restored(cls: type[HammingIndex], content: index_file.Content, engine: Any) -> Any:
    """An index of that content."""
    index = cls(content.bits, engine=engine, source=content.source)
    index.add(content.codes, content.ids[:])
    index._rows = index._rows._replace(added=max(content.added, len(index)))
    return index


def _mapped(cls: type[HammingIndex], content: index_file.Content, engine: Any) -> Any:
    """An index of that content as it lies in its file."""
    index = cls(content.bits, engine=engine, source=content.source)
    ids = content.ids
    if not isinstance(ids, Positions):
        index._lookup.note(ids, index._rows)
    index._rows = Rows(content.codes, ids, None, len(ids), content.added)
    return index


def _shown(id: Any) -> str:
    return repr(id) if isinstance(id, str) else str(id)
