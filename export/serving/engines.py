"""Exact k nearest codes by Hamming distance: one class an engine, all with the same results."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scbch_keras.codes import hamming_distance
from scbch_keras.export.serving.forks import is_forked

Nearest = tuple[NDArray[np.int64], NDArray[np.int32]]
_BLOCK_CODES = 2**16
_BLOCK_QUERIES = 64
_QUERIES_PER_THREAD = 32


class Engine(Protocol):
    """What searches.

    package: what must be installed for it, besides numpy; None if nothing.
    """

    package: str | None

    def nearest(
        self,
        queries: NDArray[np.uint8],
        codes: NDArray[np.uint8],
        k: int,
        bits: int,
        threads: int | None,
    ) -> Nearest:
        """The k nearest of `codes` to each query, by distance, then by position.

        Args:
            queries: packed, uint8 (q, ceil(bits / 8)), q >= 1.
            codes: packed, uint8 (n, ceil(bits / 8)).
            k: from 1 to n.
            bits: code length.
            threads: at most so many; None for the engine's own choice.

        Returns:
            Positions (q, k) int64 and distances (q, k) int32.
        """


class Faiss:
    """faiss' exact binary search.

    It keeps the k smallest by (distance, position) in its heap, which is our order; the tests hold it to that, ties
    at the cut included. Zero pad bits add nothing to a distance, so any length works.
    """

    package: str | None = "faiss"

    def nearest(
        self,
        queries: NDArray[np.uint8],
        codes: NDArray[np.uint8],
        k: int,
        bits: int,
        threads: int | None,
    ) -> Nearest:
        import faiss

        with faiss_threads(threads, len(queries)):
            distances, positions = faiss.knn_hamming(
                np.ascontiguousarray(queries), np.ascontiguousarray(codes), k, variant="hc"
            )
        return positions, distances


@contextmanager
def faiss_threads(threads: int | None, queries: int) -> Iterator[None]:
    """Inside, faiss has so many threads for so many queries."""
    import faiss

    # OpenMP's number of threads is of the calling thread: searches of others keep theirs.
    before = faiss.omp_get_max_threads()
    if threads is None:
        # A query is searched by one thread. Threads that have little to do cost more than they bring where
        # other processes want the cores too: each search then waits for the last of them.
        threads = min(before, queries // _QUERIES_PER_THREAD)
    # The threads of OpenMP's pool do not come along into a forked child, which would wait for them for ever.
    faiss.omp_set_num_threads(1 if is_forked() else max(1, threads))
    try:
        yield
    finally:
        faiss.omp_set_num_threads(1 if is_forked() else before)


class Numpy:
    """NumPy alone, in one thread."""

    package: str | None = None

    def nearest(
        self,
        queries: NDArray[np.uint8],
        codes: NDArray[np.uint8],
        k: int,
        bits: int,
        threads: int | None,
    ) -> Nearest:
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


ENGINES: dict[str, Engine] = {"faiss": Faiss(), "numpy": Numpy()}
"""By name, the first choice first."""


APPROXIMATE = {"ivf": "faiss"}
"""Engines that miss some of the nearest codes, taken only where they are asked for, and the package of each."""


def chosen_engine(name: Any) -> str:
    """The engine of that name, or for None the first that is installed.

    Raises:
        ValueError: there is none of that name.
        ImportError: its package is not installed.
    """
    packages = {**{engine: ENGINES[engine].package for engine in ENGINES}, **APPROXIMATE}
    if name is not None and (not isinstance(name, str) or name not in packages):
        raise ValueError(f"engine must be one of {', '.join(map(repr, packages))} or None, got {name!r}")
    for candidate in ENGINES if name is None else (name,):
        package = packages[candidate]
        if package is None or find_spec(package) is not None:
            return candidate
    raise ImportError(f"engine {name!r} needs the package {package}: pip install 'scbch_keras[{package}]'")
