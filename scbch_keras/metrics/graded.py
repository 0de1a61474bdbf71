"""How good a ranking by Hamming distance is where relevance has degrees: the number of labels that are shared.

numpy only. The definitions of multi-label hashing (Zhao et al., Deep Semantic Ranking Based Hashing, CVPR 2015):
average cumulated gain and discounted cumulated gain (Järvelin and Kekäläinen, TOIS 2002; the gain 2^r - 1 is that of
Burges et al., ICML 2005), and mAP weighted by the average cumulated gain; beside them precision where only items count
that have all labels of the query. As in `scbch_keras.metrics`, queries with which no item shares a label are left out
of every mean, and all values are exact expectations over the orders of items at equal distance: gains and their
discounted sums are linear in the items of a tie (McSherry and Najork 2008), and the weighted mAP needs their pairs.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scbch_keras.checks import whole
from scbch_keras.codes import hamming_distance
from scbch_keras.metrics.checks import check_answerable, check_ranks, check_retrieval
from scbch_keras.metrics.comparison import BLOCK_BYTES, Arrays, once
from scbch_keras.metrics.retrieval import Codes, Labels, Ranks

_PAIR_BYTES = 40
_DATABASE_BLOCK = 2**14


class _Gains(NamedTuple):
    """At each distance 0..bits, for each query with which something shares a label: (queries, bits + 1)."""

    items: NDArray[np.int64]
    relevant: NDArray[np.int64]
    """Items that share a label."""
    shared: NDArray[np.int64]
    """Sum of the labels that items share with the query."""
    exponential: NDArray[np.float64]
    """Sum of 2^r - 1."""
    complete: NDArray[np.int64]
    """Items with all labels of the query."""
    grades: NDArray[np.int64]
    """(queries, most shared + 1): items that share so many labels."""


def ndcg_at_k(
    query_codes: Codes,
    database_codes: Codes,
    query_labels: Labels,
    database_labels: Labels,
    *,
    bits: int,
    k: Ranks,
    block_size: int | None = None,
) -> NDArray[np.float64]:
    """Codes and labels as for `mean_average_precision` -> (len(k),), each in [0, 1].

    sum over ranks i <= k of (2^r_i - 1) / log2(1 + i), over that of the best order of the database, mean over queries;
    r_i is the number of labels that item i shares with the query. Each k is from 1 to the size of the database.
    Raises ValueError as `mean_average_precision` does.
    """
    arrays = check_retrieval(query_codes, database_codes, query_labels, database_labels, bits)
    cuts = check_ranks("k", k, len(database_codes))
    gains = _gains(arrays, bits, block_size)
    discounts = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, len(database_codes) + 2)))])
    mean_gain = gains.exponential / np.maximum(gains.items, 1)
    best_first = gains.grades[:, ::-1]
    best_gain = 2.0 ** np.arange(best_first.shape[1])[::-1] - 1
    scores = np.empty((len(mean_gain), len(cuts)))
    for place, cut in enumerate(cuts):
        gained = (mean_gain * _spread(discounts, gains.items, cut)).sum(axis=1)
        scores[:, place] = gained / (best_gain * _spread(discounts, best_first, cut)).sum(axis=1)
    return scores.mean(axis=0)


def acg_at_k(
    query_codes: Codes,
    database_codes: Codes,
    query_labels: Labels,
    database_labels: Labels,
    *,
    bits: int,
    k: Ranks,
    block_size: int | None = None,
) -> NDArray[np.float64]:
    """Codes and labels as for `mean_average_precision` -> (len(k),): labels shared by the first k items, mean of these.

    Mean over the queries; not a share, but a number of labels >= 0. Each k is from 1 to the size of the database.
    """
    arrays = check_retrieval(query_codes, database_codes, query_labels, database_labels, bits)
    cuts = check_ranks("k", k, len(database_codes))
    gains = _gains(arrays, bits, block_size)
    return _mean_among_first(gains.shared, gains.items, cuts)


def precision_with_all_labels(
    query_codes: Codes,
    database_codes: Codes,
    query_labels: Labels,
    database_labels: Labels,
    *,
    bits: int,
    n: Ranks,
    block_size: int | None = None,
) -> NDArray[np.float64]:
    """Codes and labels as for `mean_average_precision` -> (len(n),): share of the first n with all labels of the query.

    An item with other labels beside those of the query counts. Queries for whose labels there is no such item are in
    the mean, with 0. Each n is from 1 to the size of the database.
    """
    arrays = check_retrieval(query_codes, database_codes, query_labels, database_labels, bits)
    cuts = check_ranks("n", n, len(database_codes))
    gains = _gains(arrays, bits, block_size)
    return _mean_among_first(gains.complete, gains.items, cuts)


def weighted_mean_average_precision(
    query_codes: Codes,
    database_codes: Codes,
    query_labels: Labels,
    database_labels: Labels,
    *,
    bits: int,
    k: int | None = None,
    block_size: int | None = None,
) -> float:
    """Codes and labels as for `mean_average_precision` -> weighted mAP >= 0, not bounded by 1.

    The mean over the relevant items of a query of the average cumulated gain at their ranks; cut at rank k over ranks
    up to k, divided by min(R, k). It is mAP where no two samples share more than one label.
    """
    arrays = check_retrieval(query_codes, database_codes, query_labels, database_labels, bits)
    size = len(database_codes)
    cut = size if (k := whole("k", k, 1, optional=True)) is None else min(k, size)
    gains = _gains(arrays, bits, block_size)
    items, relevant, shared = gains.items, gains.relevant, gains.shared
    before = items.cumsum(axis=1) - items
    inside = np.clip(cut - before, 0, items)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, size + 1))])
    spread = harmonic[before + inside] - harmonic[before]
    # An item of the tie is relevant and gains what came before the tie and its own; each item of the tie that stands
    # before it adds the mean product of one's relevance and another's gain.
    own = (relevant * (shared.cumsum(axis=1) - shared) + shared) / np.maximum(items, 1)
    other = shared * (relevant - 1) / np.maximum(items * (items - 1), 1)
    terms = (own - other * (before + 1)) * spread + other * inside
    return float((terms.sum(axis=1) / np.minimum(relevant.sum(axis=1), cut)).mean())


def _gains(arrays: Arrays, bits: int, block_size: int | None) -> _Gains:
    return once(_counted, arrays, bits, whole("block_size", block_size, 1, optional=True))


def _counted(arrays: Arrays, bits: int, block_size: int | None) -> _Gains:
    query_codes, database_codes, *labels = arrays
    sought, stored = (np.asarray(of_side != 0, np.float32) for of_side in labels)
    most = int(min(sought.sum(axis=1).max(), stored.sum(axis=1).max()))
    cells, columns = (bits + 1) * (most + 1), min(len(stored), _DATABASE_BLOCK)
    rows = block_size or max(1, BLOCK_BYTES // max(_PAIR_BYTES * columns, 8 * cells))
    parts = []
    for start in range(0, len(sought), rows):
        block = slice(start, start + rows)
        height = len(sought[block])
        counts = np.zeros(height * cells, np.int64)
        first_cell = np.arange(0, height * cells, cells)[:, None]
        for left in range(0, len(stored), columns):
            part = slice(left, left + columns)
            cell = hamming_distance(query_codes[block], database_codes[part], bits).astype(np.int64)
            cell *= most + 1
            cell += (sought[block] @ stored[part].T).astype(np.int64)
            cell += first_cell
            counts += np.bincount(cell.ravel(), minlength=height * cells)
        parts.append(_reduced(counts.reshape(height, bits + 1, most + 1), sought[block].sum(axis=1)))
    joined: list[Any] = [np.concatenate(values) for values in zip(*parts, strict=True)]
    answerable = check_answerable(_Gains(*joined).relevant)
    return _Gains(*[values[answerable] for values in joined])


def _reduced(counts: NDArray[np.int64], labels: NDArray[np.float32]) -> _Gains:
    """Items by query, distance and shared labels, and the number of labels of each query."""
    grade = np.arange(counts.shape[2])
    complete = (grade == labels[:, None]) & (labels[:, None] > 0)
    return _Gains(
        counts.sum(axis=2),
        counts[:, :, 1:].sum(axis=2),
        counts @ grade,
        counts @ (2.0**grade - 1),
        np.einsum("qdg,qg->qd", counts, complete),
        counts.sum(axis=1),
    )


def _spread(discounts: NDArray[np.float64], items: NDArray[np.int64], cut: int) -> NDArray[Any]:
    """The discounts of the ranks up to `cut` that each group of items takes, the groups in their order."""
    ends = np.minimum(items.cumsum(axis=1), cut)
    return discounts[ends] - discounts[np.minimum(items.cumsum(axis=1) - items, cut)]


def _mean_among_first(
    values: NDArray[np.int64], items: NDArray[np.int64], cuts: NDArray[np.int64]
) -> NDArray[np.float64]:
    before = items.cumsum(axis=1) - items
    mean = values / np.maximum(items, 1)
    return np.array([(mean * np.clip(cut - before, 0, items)).sum(axis=1).mean() / cut for cut in cuts])
