"""The nearest neighbours of every row among all others, by mean inner product. numpy; faiss for very many rows.

The N x N similarities never stand in memory: blocks are compared with the least of the k best so far, and only what
exceeds it is kept.
"""

import itertools
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

Vectors = NDArray[np.float32]

EXACT_UP_TO = 200_000
"""Rows among which neighbours are exact unless somebody says otherwise: the time of an exact search is quadratic."""
MIN_RECALL = 0.9
_BLOCK = 2**20  # similarities in scratch memory at once
_FIRST = 512  # columns from which the first bound is taken
_MOST_THREADS = 16  # each has scratch memory of its own, 9 MB
_CHECKED = 500  # rows on which an approximate search is compared with an exact one

_log = logging.getLogger(__name__)


class Nearest(NamedTuple):
    """Of some rows: which, and the columns (r, k) and similarities (r, k) of their neighbours, by column."""

    rows: slice
    columns: NDArray[np.int64]
    similarity: Vectors


def nearest(
    parts: Sequence[Vectors], k: int, block_size: int, exact_up_to: int = EXACT_UP_TO
) -> Iterator[Nearest]:
    """The k rows most similar to each row, in blocks of rows. A row is as similar to itself as 0.

    Args:
        parts: (N, d) each; the similarity of two rows is the mean of their inner products in each part.
        k: from 1 to N - 1.
        block_size: rows at a time.
        exact_up_to: more rows than that are searched by clusters, with neighbours missed, where faiss is installed.
            The log says so, with the recall on some rows; clusters are added until it is `MIN_RECALL`.
    """
    size = len(parts[0])
    if size > exact_up_to:
        if find_spec("faiss"):
            yield from _by_clusters(parts, k, block_size)
            return
        _log.warning(
            "%d samples: their neighbours are searched exactly, in quadratic time; install the extra faiss, which "
            "searches more than %d by clusters",
            size,
            exact_up_to,
        )
    yield from _in_threads(parts, k, block_size)


def _in_threads(parts: Sequence[Vectors], k: int, block_size: int) -> Iterator[Nearest]:
    """A block a thread, on as many as products have: half of the time goes into choosing, for which NumPy has one.

    Products have one as well meanwhile: other ones would only wait for them, at full speed.
    """
    size = len(parts[0])
    blas = ThreadpoolController().select(user_api="blas")
    threads = min(max((library["num_threads"] for library in blas.info()), default=1), _MOST_THREADS)
    blocks = (slice(start, min(start + block_size, size)) for start in range(0, size, block_size))

    def of(rows: slice) -> Nearest:
        return Nearest(rows, *_exact(parts, np.arange(rows.start, rows.stop), k))

    with blas.limit(limits=1), ThreadPoolExecutor(threads) as pool:
        ahead = deque(pool.submit(of, rows) for rows in itertools.islice(blocks, threads + 1))
        while ahead:
            yield ahead.popleft().result()
            ahead.extend(pool.submit(of, rows) for rows in itertools.islice(blocks, 1))


def _exact(parts: Sequence[Vectors], rows: NDArray[np.int64], k: int) -> tuple[NDArray[np.int64], Vectors]:
    """Columns (r, k), ascending, and similarities; of equal ones those of the first columns."""
    queries = [part[rows] for part in parts]
    size = len(parts[0])
    width = max(_FIRST, 2 * k, _BLOCK // len(rows))
    index = np.empty((len(rows), 0), np.int64)
    similarity = np.empty((len(rows), 0), np.float32)
    start, stop = 0, min(max(_FIRST, 2 * k), size)
    # Memory of one's own for every block would be mapped anew by the kernel each time.
    block_memory = np.empty(len(rows) * min(width, size), np.float32)
    part_memory = np.empty_like(block_memory)
    kept_memory = np.empty(len(block_memory), bool)
    while start < size:
        shape = len(rows), stop - start
        block = block_memory[: shape[0] * shape[1]].reshape(shape)
        kept = kept_memory[: block.size].reshape(shape)
        np.matmul(queries[0], parts[0][start:stop].T, out=block)
        for query, part in zip(queries[1:], parts[1:], strict=True):
            more_products = part_memory[: block.size].reshape(shape)
            block += np.matmul(query, part[start:stop].T, out=more_products)
        own = np.flatnonzero((rows >= start) & (rows < stop))
        block[own, rows[own] - start] = 0
        if start == 0:
            bound = _kth_largest(block, k)
            np.greater_equal(block, bound, out=kept)
        else:
            np.greater(block, bound, out=kept)  # an equal one further on comes too late
        places = np.flatnonzero(kept)
        found, columns = np.divmod(places, stop - start)
        counts = np.bincount(found, minlength=len(rows))
        # Candidates behind those kept so far, in rows of one length.
        longest = index.shape[1] + counts.max(initial=0)
        more_index = np.full((len(rows), longest), -1)
        more = np.full((len(rows), longest), -np.inf, np.float32)
        more_index[:, : index.shape[1]], more[:, : index.shape[1]] = index, similarity
        within = np.arange(len(found)) - np.repeat(counts.cumsum() - counts, counts) + index.shape[1]
        more_index[found, within] = columns + start
        more[found, within] = block.ravel()[places]
        bound = _kth_largest(more, k)
        equal = more == bound
        above = more > bound
        room = k - above.sum(axis=1, keepdims=True)
        chosen = above | (equal & (equal.cumsum(axis=1) <= room))
        index, similarity = more_index[chosen].reshape(-1, k), more[chosen].reshape(-1, k)
        start, stop = stop, min(stop + width, size)
    return index, similarity / np.float32(len(parts))


def _kth_largest(values: Vectors, k: int) -> Vectors:
    place = values.shape[1] - k
    return np.partition(values, place, axis=1)[:, place : place + 1]


def _by_clusters(parts: Sequence[Vectors], k: int, block_size: int) -> Iterator[Nearest]:
    """By an inverted file of faiss, its lists probed until enough of the neighbours of some rows are found."""
    import faiss

    vectors = np.concatenate(parts, axis=1)  # one inner product is the sum of all
    vectors /= np.float32(len(parts) ** 0.5)
    size = len(vectors)
    lists = int(4 * np.sqrt(size))
    index = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(vectors.shape[1]), vectors.shape[1], lists, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.max_points_per_centroid = 64
    index.cp.niter = 6
    index.train(vectors)
    index.add(vectors)
    some = np.unique(np.linspace(0, size - 1, min(_CHECKED, size)).astype(np.int64))
    exact, _ = _exact(parts, some, k)
    probed = 16
    while True:
        index.nprobe = min(probed, lists)
        columns, _ = _searched(index, vectors, some, k)
        recall = float(np.mean([len(np.intersect1d(*pair)) for pair in zip(columns, exact, strict=True)])) / k
        if recall >= MIN_RECALL or index.nprobe == lists:
            break
        probed *= 2
    _log.warning(
        "%d samples: their neighbours are searched by clusters (%d of %d a sample), not exactly; on %d samples %.3f of "
        "the neighbours are the exact ones. exact_up_to=%d has all of them, in quadratic time",
        size,
        index.nprobe,
        lists,
        len(some),
        recall,
        size,
    )
    for start in range(0, size, block_size):
        rows = slice(start, min(start + block_size, size))
        yield Nearest(rows, *_searched(index, vectors, np.arange(rows.start, rows.stop), k))


def _searched(
    index: Any, vectors: Vectors, rows: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], Vectors]:
    similarity, columns = index.search(vectors[rows], k + 1)
    similarity[columns == rows[:, None]] = 0  # with itself
    similarity[columns < 0] = -np.inf
    # Each has one too many: itself, where other similarities are positive, or the least.
    last = similarity.argmin(axis=1)
    keep = np.arange(k + 1) != last[:, None]
    columns, similarity = columns[keep].reshape(-1, k), similarity[keep].reshape(-1, k)
    empty = columns < 0
    columns[empty], similarity[empty] = 0, 0
    order = columns.argsort(axis=1, kind="stable")
    return np.take_along_axis(columns, order, 1), np.take_along_axis(similarity, order, 1)
