"""Exact search over packed codes by Hamming distance. numpy; faiss where it is installed."""

import hashlib
import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scbch_keras.arrays import as_array
from scbch_keras.checks import one_of, whole
from scbch_keras.codes import check_packed, hamming_distance
from scbch_keras.export.format.source import Source
from scbch_keras.files import replaced

_SCHEMA = 1
_NO_ID = -1
_NO_DISTANCE = 2**31 - 1
_BLOCK_CODES = 2**16
_BLOCK_QUERIES = 64


class HammingIndex:
    """The codes nearest to a query, exactly, in a defined order.

    Results are ordered by distance, and equal distances by the order in which the codes were added. faiss and
    numpy give the same results, so it does not matter which of them a machine has. One thread may add at a
    time; searches from many threads are safe while nobody adds.

    Args:
        bits: int >= 1, code length. Codes are packed: uint8 (n, ceil(bits / 8)), pad bits zero.
        engine: "faiss", "numpy", or None for faiss where it is installed.
        source: which model makes the codes, saved with them; None where nobody said.

    Raises:
        ValueError: `bits` is not an int >= 1, or `engine` is unknown.
        ImportError: `engine` is "faiss" and faiss is not installed.
    """

    def __init__(
        self, bits: int, *, engine: Literal["faiss", "numpy"] | None = None, source: Source | None = None
    ):
        self.bits = whole("bits", bits, 1)
        self.source = source
        one_of("engine", engine, ("faiss", "numpy"), optional=True)
        installed = find_spec("faiss") is not None
        if engine == "faiss" and not installed:
            raise ImportError("engine 'faiss' needs the package faiss: pip install 'scbch_keras[faiss]'")
        self.engine = engine or ("faiss" if installed else "numpy")
        self._size = 0
        self._ids_are_positions = True
        self._codes = np.empty((0, -(-self.bits // 8)), np.uint8)
        self._ids = np.empty(0, np.int64)

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"HammingIndex(bits={self.bits}, engine={self.engine!r}): {len(self)} codes"

    @property
    def codes(self) -> NDArray[np.uint8]:
        """The packed codes in the order of adding, uint8 (size, ceil(bits / 8)). Not to be written to."""
        return self._codes[: self._size]

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids in the order of adding, int64 (size,). Not to be written to."""
        return self._ids[: self._size]

    def add(self, codes: NDArray[np.uint8], ids: ArrayLike | None = None) -> None:
        """Add codes (n, ceil(bits / 8)), uint8, under ids (n,), integers >= 0 that are in no use yet.

        Without ids a code's id is its position, which is what faiss does too. Checking ids that are
        given costs time in proportion to the size of the index: add many codes at once.

        Raises:
            ValueError: codes of another length; ids of another length, not integer, negative or used twice.
                Nothing is added then.
        """
        check_packed("codes", codes, self.bits)
        new_size = self._size + len(codes)
        positions = np.arange(self._size, new_size, dtype=np.int64)
        new_ids = positions if ids is None else _checked_ids(ids, len(codes))
        if ids is not None or not self._ids_are_positions:
            used = np.isin(new_ids, self.ids)
            if used.any():
                hint = "" if ids is not None else " (the default ids are positions; pass ids here too)"
                raise ValueError(f"ids must be new to the index; id {new_ids[used][0]} is in use{hint}")
        if new_size > len(self._codes):
            capacity = max(new_size, 2 * self._size)
            self._codes = _grown(self._codes, self._size, capacity)
            self._ids = _grown(self._ids, self._size, capacity)
        self._codes[self._size : new_size] = codes
        self._ids[self._size : new_size] = new_ids
        self._size = new_size
        self._ids_are_positions &= bool((new_ids == positions).all())

    def search(self, codes: NDArray[np.uint8], k: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Queries (q, ceil(bits / 8)), uint8 -> ids (q, k) int64 and distances (q, k) int32 in [0, bits].

        Ordered by distance, then by the order of adding. Where the index holds fewer than k codes the rest of
        a row is filled as faiss fills it: id -1 (no code has a negative id) and distance 2147483647.

        Raises:
            ValueError: codes of another length, or k not an int >= 1.
        """
        check_packed("codes", codes, self.bits)
        k = whole("k", k, 1)
        # The rows beyond the size never enter an engine: k as large as "all of them" must cost no memory.
        found = min(k, self._size)
        ids = np.full((len(codes), k), _NO_ID, np.int64)
        distances = np.full((len(codes), k), _NO_DISTANCE, np.int32)
        if found and len(codes):
            engine = _faiss_nearest if self.engine == "faiss" else _numpy_nearest
            positions, distances[:, :found] = engine(codes, self.codes, found, self.bits)
            ids[:, :found] = self._ids[positions]
        return ids, distances

    def save(self, path: str | os.PathLike) -> None:
        """Write the index to one file, under exactly this name.

        An older file there is replaced at once or not at all. The content is an
        uncompressed .npz of plain arrays (bits, codes, ids, source as JSON) with a checksum over them.
        """
        source = "" if self.source is None else json.dumps(self.source.to_json())
        with replaced(Path(path)) as file:
            np.savez(
                file,
                schema=np.int64(_SCHEMA),
                bits=np.int64(self.bits),
                codes=self.codes,
                ids=self.ids,
                source=np.array(source),
                sha256=np.array(_checksum(self.bits, self.codes, self.ids, source)),
            )

    @classmethod
    def load(
        cls, path: str | os.PathLike, *, engine: Literal["faiss", "numpy"] | None = None
    ) -> "HammingIndex":
        """Read what `save` wrote.

        Raises:
            ValueError: the file is not an index, is damaged, or was written by a later schema.
            FileNotFoundError: there is no such file.
        """
        content = _read_arrays(Path(path))
        if content["schema"].shape or content["schema"] != _SCHEMA:
            raise ValueError(f"{path} has schema {content['schema']}; this version reads schema {_SCHEMA}")
        codes, ids = content["codes"], content["ids"]
        if content["bits"].shape or ids.dtype != np.int64 or ids.shape != codes.shape[:1]:
            raise ValueError(f"{path} is not a HammingIndex file: its arrays do not belong together")
        bits, source = int(content["bits"]), str(content["source"])
        if str(content["sha256"]) != _checksum(bits, codes, ids, source):
            raise ValueError(f"{path} is damaged: its checksum does not match its content")
        index = cls(bits, engine=engine, source=Source.from_json(json.loads(source)) if source else None)
        index.add(codes, ids)
        return index


def _faiss_nearest(
    queries: NDArray[np.uint8], codes: NDArray[np.uint8], k: int, bits: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Positions (q, k) and distances (q, k), by faiss' exact binary search.

    faiss keeps the k smallest by (distance, position) in its heap, which is our order; the tests hold it to
    that, ties at the cut included. Zero pad bits add nothing to a distance, so any length works.
    """
    import faiss

    distances, positions = faiss.knn_hamming(
        np.ascontiguousarray(queries), np.ascontiguousarray(codes), k, variant="hc"
    )
    return positions, distances


def _numpy_nearest(
    queries: NDArray[np.uint8], codes: NDArray[np.uint8], k: int, bits: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Positions (q, k) and distances (q, k), the same as faiss gives."""
    size = len(codes)
    positions = np.empty((len(queries), k), np.int64)
    distances = np.empty((len(queries), k), np.int32)
    for row in range(0, len(queries), _BLOCK_QUERIES):
        block = queries[row : row + _BLOCK_QUERIES]
        best = np.empty((len(block), 0), np.int64)
        for start in range(0, size, _BLOCK_CODES):
            part = codes[start : start + _BLOCK_CODES]
            # One integer holds the whole order: distance first, then position. No two keys are equal.
            keys = hamming_distance(block, part, bits).astype(np.int64) * size
            keys += np.arange(start, start + len(part))
            best = np.concatenate([best, keys], axis=1)
            if best.shape[1] > k:
                best = np.partition(best, k - 1, axis=1)[:, :k]
        best.sort(axis=1)
        distances[row : row + len(block)], positions[row : row + len(block)] = np.divmod(best, size)
    return positions, distances


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    with path.open("rb") as file:
        try:
            arrays = np.load(file, allow_pickle=False)
            needed = ("schema", "bits", "codes", "ids", "sha256")
            # Indexes were written without a source once; the checksum of an empty one is theirs.
            return {"source": np.array(""), **{name: arrays[name] for name in (*needed, *arrays.files)}}
        except Exception as error:  # a damaged zip file or array header fails in a dozen ways
            raise ValueError(f"{path} is not a HammingIndex file, or it is damaged: {error}") from error


def _checked_ids(ids: ArrayLike, count: int) -> NDArray[np.int64]:
    values = as_array("ids", ids) if isinstance(ids, np.ma.MaskedArray) else np.asarray(ids)
    if values.shape != (count,):
        raise ValueError(f"ids must have shape ({count},), one for each code, got shape {values.shape}")
    if count and (values.dtype.kind not in "iu" or not np.can_cast(values.dtype, np.int64)):
        raise ValueError(f"ids must be integers that fit int64, got dtype {values.dtype}")
    values = values.astype(np.int64)
    if count and values.min() < 0:
        raise ValueError(f"ids must be >= 0 (-1 marks an empty place in results), got {values.min()}")
    unique, counts = np.unique(values, return_counts=True)
    if len(unique) < count:
        raise ValueError(f"ids must differ from each other; id {unique[counts > 1][0]} comes twice")
    return values


def _grown(array: NDArray[Any], size: int, capacity: int) -> NDArray[Any]:
    grown = np.empty((capacity, *array.shape[1:]), array.dtype)
    grown[:size] = array[:size]
    return grown


def _checksum(bits: int, codes: NDArray[np.uint8], ids: NDArray[np.int64], source: str) -> str:
    digest = hashlib.sha256(f"{_SCHEMA} {bits} {len(codes)} ".encode())
    digest.update(np.ascontiguousarray(codes).data)
    digest.update(np.ascontiguousarray(ids, "<i8").data)
    digest.update(source.encode())
    return digest.hexdigest()
