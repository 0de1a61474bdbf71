"""Search by clusters: faiss' inverted file over packed codes. Some of the nearest codes are missed."""

from importlib import import_module
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.export.serving.engines import Faiss, Nearest, faiss_threads
from scbch_keras.export.serving.forks import renew_in_children

RECALL = 0.95
"""Share of the nearest codes that is found on a sample of the codes themselves."""
SMALLEST = 20_000
"""Fewer codes are searched exactly."""
_SAMPLED = 200
_SAMPLED_K = 100
_TRAINED_PER_LIST = 64


class Ivf:
    """The engine "ivf" of one index: clusters made at the first search, and anew when codes were replaced or removed.

    Codes that were only added since are added to the clusters. As many clusters are probed as `RECALL` takes.
    """

    package: str | None = "faiss"

    def __init__(self) -> None:
        self._codes: NDArray[np.uint8] | None = None
        self._index: Any = None
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Make a lock that no thread holds."""
        self._lock = Lock()

    def nearest(
        self,
        queries: NDArray[np.uint8],
        codes: NDArray[np.uint8],
        k: int,
        bits: int,
        threads: int | None,
    ) -> Nearest:
        """As `Engine.nearest`, but for codes that are missed. Those that are found are in the same order."""
        if len(codes) < SMALLEST:
            return Faiss().nearest(queries, codes, k, bits, threads)
        with faiss_threads(threads, len(queries)):
            with self._lock:
                index = self._current(codes)
            distances, positions = index.search(np.ascontiguousarray(queries), k)
        short = (positions < 0).any(axis=1)
        if short.any():  # fewer codes in the probed clusters than were asked for
            positions[short], distances[short] = Faiss().nearest(queries[short], codes, k, bits, threads)
        order = np.lexsort((positions, distances), axis=1)
        return np.take_along_axis(positions, order, 1), np.take_along_axis(distances, order, 1)

    def _current(self, codes: NDArray[np.uint8]) -> Any:
        """The clusters of these codes."""
        before = self._codes
        if before is None or len(before) > len(codes) or not _begins_with(codes, before):
            self._index = _clustered(codes)
        elif len(before) < len(codes):
            # A search of another thread may go on in the index: it is copied, not changed.
            index = _faiss().clone_binary_index(self._index)
            index.add(np.ascontiguousarray(codes[len(before) :]))
            self._index = index
        self._codes = codes
        return self._index


def _faiss() -> Any:
    # Its types leave out what its wrapper adds.
    return import_module("faiss")


def _begins_with(codes: NDArray[np.uint8], before: NDArray[np.uint8]) -> bool:
    # What is within an index' size never changes in place: the same memory is the same codes.
    same = codes.__array_interface__["data"][0] == before.__array_interface__["data"][0]
    return same or np.array_equal(codes[: len(before)], before)


def _clustered(codes: NDArray[np.uint8]) -> Any:
    faiss = _faiss()
    width = 8 * codes.shape[1]
    lists = int(2 * len(codes) ** 0.5)
    quantizer = faiss.IndexBinaryFlat(width)
    index = faiss.IndexBinaryIVF(quantizer, width, lists)
    index.own_fields = True
    quantizer.this.disown()
    rng = np.random.default_rng(0)
    count = min(len(codes), lists * _TRAINED_PER_LIST)
    index.train(np.ascontiguousarray(codes[np.sort(rng.choice(len(codes), count, replace=False))]))
    index.add(np.ascontiguousarray(codes))
    queries = np.ascontiguousarray(codes[np.sort(rng.choice(len(codes), _SAMPLED, replace=False))])
    exact, _ = faiss.knn_hamming(queries, np.ascontiguousarray(codes), _SAMPLED_K, variant="hc")
    probed = 1
    while True:
        index.nprobe = min(probed, lists)
        distances, _ = index.search(queries, _SAMPLED_K)
        # By distance: which of equally distant codes come is no matter of recall.
        if (distances <= exact[:, -1:]).mean() >= RECALL or probed >= lists:
            return index
        probed *= 2
