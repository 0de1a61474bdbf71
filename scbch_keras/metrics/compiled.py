"""The counts of `scbch_keras.metrics.comparison` in one pass without scratch memory for pairs; needs numba.

Compiled once and kept on the disk where that can be written.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

Words = NDArray[np.uint64]
"""One contiguous row a word place: (words, n)."""

_Function = TypeVar("_Function", bound=Callable[..., Any])
_ITEM = np.uint64(1 << 32)  # an item's step in a counter that has items above and relevant ones below
_BELOW = np.uint64(32)


def _compiled(function: _Function) -> _Function:
    """Sums may be reassociated, which moves them in their last bits; counts are exact."""
    options: Any = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc"}}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither beside this file nor in the user's folder can a cache be written
        return numba.njit(**options)(function)


def _count_bits(typing_context: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


_bit_count: Any = intrinsic(_count_bits)


def count(
    query_codes: Words, database_codes: Words, query_sets: Words, database_sets: Words, bits: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Words of codes and of label sets -> items and relevant items at each distance, (q, bits + 1)."""
    counts = np.zeros((query_codes.shape[1], 2 * (bits + 1)), np.int64)
    cells = np.empty(database_codes.shape[1], np.min_scalar_type(2 * bits + 1))
    _count(query_codes, database_codes, query_sets, database_sets, cells, counts)
    return counts[:, 0::2] + counts[:, 1::2], counts[:, 1::2].copy()


def count_in_order(
    query_codes: Words, database_codes: Words, query_sets: Words, database_sets: Words, bits: int, cut: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """`count`, and the sums of precisions up to rank `cut` with ties in the order of the database, (q,)."""
    queries, size = query_codes.shape[1], database_codes.shape[1]
    counts = np.zeros((queries, 2 * (bits + 1)), np.int64)
    cells = np.empty(size, np.min_scalar_type(2 * bits + 1))
    found = np.empty(size + 1, np.uint64)
    sums = np.empty(queries)
    _count_in_order(query_codes, database_codes, query_sets, database_sets, cut, cells, found, counts, sums)
    return counts[:, 0::2] + counts[:, 1::2], counts[:, 1::2].copy(), sums


@_compiled
def _count(
    query_codes: Any, database_codes: Any, query_sets: Any, database_sets: Any, cells: Any, counts: Any
) -> None:
    for query in range(counts.shape[0]):
        _fill_cells(query, query_codes, database_codes, query_sets, database_sets, cells)
        row = counts[query]
        for cell in cells:
            row[cell] += 1


@_compiled
def _count_in_order(
    query_codes: Any,
    database_codes: Any,
    query_sets: Any,
    database_sets: Any,
    cut: int,
    cells: Any,
    found: Any,
    counts: Any,
    sums: Any,
) -> None:
    before = np.empty(counts.shape[1] // 2, np.uint64)
    for query in range(counts.shape[0]):
        _fill_cells(query, query_codes, database_codes, query_sets, database_sets, cells)
        row = counts[query]
        for cell in cells:
            row[cell] += 1
        total = np.uint64(0)
        for distance in range(before.shape[0]):
            before[distance] = total
            irrelevant, relevant = np.uint64(row[2 * distance]), np.uint64(row[2 * distance + 1])
            total += (irrelevant + relevant) * _ITEM + relevant
        sums[query] = _precision_sum(found, _ranks(cells, before, found), cut)


@_compiled
def _fill_cells(
    query: int, query_codes: Any, database_codes: Any, query_sets: Any, database_sets: Any, cells: Any
) -> None:
    """Twice the distance, plus one where the item is relevant."""
    code, labels = query_codes[0, query], query_sets[0, query]
    if query_codes.shape[0] == 1 and query_sets.shape[0] == 1:
        words, sets = database_codes[0], database_sets[0]
        for item in range(cells.shape[0]):
            cells[item] = 2 * _bit_count(code ^ words[item]) + ((labels & sets[item]) != 0)
        return
    for item in range(cells.shape[0]):
        distance = _bit_count(code ^ database_codes[0, item])
        for place in range(1, query_codes.shape[0]):
            distance += _bit_count(query_codes[place, query] ^ database_codes[place, item])
        shared = labels & database_sets[0, item]
        for place in range(1, query_sets.shape[0]):
            shared |= query_sets[place, query] & database_sets[place, item]
        cells[item] = 2 * distance + (shared != 0)


@_compiled
def _ranks(cells: Any, before: Any, found: Any) -> int:
    """Rank and relevant items up to it, of every relevant item, written to `found`; how many these are."""
    end = 0
    for cell in cells:
        relevant = np.uint64(cell & 1)
        reached = before[cell >> 1] + _ITEM + relevant
        before[cell >> 1] = reached
        found[end] = reached  # without a branch: what is not relevant is written over
        end += cell & 1
    return end


@_compiled
def _precision_sum(found: Any, end: int, cut: int) -> float:
    total = 0.0
    for place in range(end):
        rank, hits = found[place] >> _BELOW, found[place] & (_ITEM - np.uint64(1))
        total += (rank <= cut) * np.float64(hits) / np.float64(rank)
    return total
