"""Queries compared with a database: what every retrieval metric is computed from. numpy, and numba where it is.

Codes of L bits have only L + 1 distances, so the number of items and of relevant items at each of them says all about
a ranking but the order inside a tie. Queries x database never stands in memory.
"""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from scbch_keras.checks import whole
from scbch_keras.codes import as_words

BLOCK_BYTES = 2**23  # scratch memory of a block when no block_size is given; more is slower, not faster
_PAIR_BYTES = 32  # scratch for one query and one item: distance, relevance, cell, and their temporaries
_DATABASE_BLOCK = 2**16
_COMPILED_PAIRS = 2**22  # importing numba costs more than it saves on fewer


class Arrays(NamedTuple):
    """What a ranking is measured by: packed codes (q, w), (n, w) and labels (q, C), (n, C) that fit each other."""

    query_codes: NDArray[np.uint8]
    database_codes: NDArray[np.uint8]
    query_labels: NDArray[Any]
    database_labels: NDArray[Any]


class Comparison(NamedTuple):
    """Of each query: items and relevant items at each distance, int64 (q, bits + 1), and a sum.

    `precision_sums`, float64 (q,): precisions at the ranks of the relevant items up to the cut, ties in the order of
    the database; empty if they were not asked for.
    """

    items: NDArray[np.int64]
    relevant: NDArray[np.int64]
    precision_sums: NDArray[np.float64]


Result = TypeVar("Result")

# Arrays are kept alive as long as their ids are a key.
_shared: ContextVar[dict[tuple[Any, ...], tuple[Any, Arrays]] | None] = ContextVar("_shared", default=None)


@contextmanager
def compared_once() -> Iterator[None]:
    """Inside, the metrics of the same four arrays share one comparison. Do not change the arrays inside."""
    token = _shared.set({})
    try:
        yield
    finally:
        _shared.reset(token)


def once(compute: Callable[..., Result], arrays: Arrays, bits: int, *arguments: Any) -> Result:
    """What `compute(arrays, bits, *arguments)` gives; within `compared_once` it is computed once for its arrays.

    The arguments must not change the result.
    """
    known = _shared.get()
    if known is None:
        return compute(arrays, bits, *arguments)
    key = (compute, *map(id, arrays), bits)
    if key not in known:
        known[key] = compute(arrays, bits, *arguments), arrays
    result: Result = known[key][0]
    return result


def compare(arrays: Arrays, bits: int, block_size: int | None, cut: int | None = None) -> Comparison:
    """How the queries' codes and labels compare with the database's.

    Args:
        arrays: of `check_retrieval`.
        bits: code length.
        block_size: queries at a time, or None. It does not change the result.
        cut: last rank in `precision_sums`, 1 to n; None leaves them out.
    """
    block_size = whole("block_size", block_size, 1, optional=True)
    size = len(arrays.database_codes)
    if _shared.get() is None or cut not in (None, size):
        return _compare(arrays, bits, block_size, cut)
    return once(_compare, arrays, bits, block_size, size)


def _compare(arrays: Arrays, bits: int, block_size: int | None, cut: int | None) -> Comparison:
    query_codes, database_codes, query_labels, database_labels = arrays
    codes = as_words(query_codes), as_words(database_codes)
    query_sets: NDArray[Any] = as_words(np.packbits(query_labels != 0, axis=1))
    database_sets: NDArray[Any] = as_words(np.packbits(database_labels != 0, axis=1))
    pairs = len(query_codes) * len(database_codes)
    if pairs >= _COMPILED_PAIRS and importlib.util.find_spec("numba"):
        from scbch_keras.metrics.compiled import count, count_in_order

        if cut is None:
            return Comparison(*count(*codes, query_sets, database_sets, bits), np.empty(0))
        return Comparison(*count_in_order(*codes, query_sets, database_sets, bits, cut))
    if query_labels.shape[1] <= 32:
        query_sets, database_sets = _half(query_sets), _half(database_sets)
    columns = len(database_codes) if cut is not None else min(len(database_codes), _DATABASE_BLOCK)
    rows = block_size or max(1, BLOCK_BYTES // (_PAIR_BYTES * columns))
    return (
        _count(*codes, query_sets, database_sets, bits, rows, columns)
        if cut is None
        else _count_in_order(*codes, query_sets, database_sets, bits, rows, cut)
    )


def _count(
    query_codes: NDArray[np.uint64],
    database_codes: NDArray[np.uint64],
    query_sets: NDArray[Any],
    database_sets: NDArray[Any],
    bits: int,
    rows: int,
    columns: int,
) -> Comparison:
    queries, size = query_codes.shape[1], database_codes.shape[1]
    counts = np.zeros(
        (queries, 2 * (bits + 1)), np.int64
    )  # at each distance those not relevant, then those that are
    cell_type = np.min_scalar_type(2 * bits + 1)
    for start in range(0, queries, rows):
        block = slice(start, start + rows)
        for left in range(0, size, columns):
            part = slice(left, left + columns)
            cells = _distances(query_codes[:, block], database_codes[:, part], bits).astype(
                cell_type, copy=False
            )
            cells <<= 1
            cells |= _relevant(query_sets[:, block], database_sets[:, part])
            for row, row_cells in zip(counts[block], cells, strict=True):
                row += np.bincount(row_cells, minlength=len(row))
    irrelevant, relevant = counts[:, 0::2], counts[:, 1::2]
    return Comparison(irrelevant + relevant, relevant, np.empty(0))


def _count_in_order(
    query_codes: NDArray[np.uint64],
    database_codes: NDArray[np.uint64],
    query_sets: NDArray[Any],
    database_sets: NDArray[Any],
    bits: int,
    rows: int,
    cut: int,
) -> Comparison:
    queries, size = query_codes.shape[1], database_codes.shape[1]
    items, relevant = np.zeros((2, queries, bits + 2), np.int64)  # up to each distance, from none
    precision_sums = np.empty(queries)
    hits = np.arange(1.0, size + 1)
    ranked = np.empty(size, bool)
    for start in range(0, queries, rows):
        block = slice(start, start + rows)
        distances = _distances(query_codes[:, block], database_codes, bits)
        values = np.arange(bits + 1, dtype=distances.dtype)
        shared = _relevant(query_sets[:, block], database_sets)
        for query, (row, marks) in enumerate(zip(distances, shared, strict=True), start):
            order = row.argsort(
                kind="stable"
            )  # numpy sorts integers of up to 16 bits by radix, in linear time
            marks.take(order, out=ranked, mode="clip")
            places = np.flatnonzero(ranked)
            ends = row.searchsorted(values, "right", sorter=order)
            items[query, 1:] = ends
            relevant[query, 1:] = places.searchsorted(ends)
            counted = places[: places.searchsorted(cut)] + 1
            precision_sums[query] = (hits[: len(counted)] / counted).sum()
    return Comparison(np.diff(items), np.diff(relevant), precision_sums)


def _distances(queries: NDArray[np.uint64], database: NDArray[np.uint64], bits: int) -> NDArray[Any]:
    """Words (w, q), (w, n) -> the narrowest unsigned integers (q, n)."""
    distances = np.empty((queries.shape[1], database.shape[1]), np.min_scalar_type(bits))
    differing = np.empty(distances.shape, np.uint64)
    for place, (query, words) in enumerate(zip(queries, database, strict=True)):
        np.bitwise_xor(query[:, None], words, out=differing)
        if place == 0:
            np.bitwise_count(differing, out=distances)
        else:
            distances += np.bitwise_count(differing)
    return distances


def _half(words: NDArray[np.uint64]) -> NDArray[Any]:
    """The half (1, n) of one word a sample whose first four bytes are all there is: it takes half the time."""
    return np.ascontiguousarray(words[0].view(np.uint32)[::2])[None]


def _relevant(query_sets: NDArray[Any], database_sets: NDArray[Any]) -> NDArray[np.bool_]:
    shared = (query_sets[0][:, None] & database_sets[0]) != 0
    for query_word, database_word in zip(query_sets[1:], database_sets[1:], strict=True):
        shared |= (query_word[:, None] & database_word) != 0
    return shared
