"""How good a ranking by Hamming distance is: mAP, precision-recall, precision@N, precision within a radius.

numpy only. A database item is relevant to a query if the two share at least one label; queries to which
nothing is relevant are left out of every mean.

Codes of L bits have only L + 1 distances, so most of a ranking is ties, and the order inside a tie is not the
model's doing. Everything here, but for the reference mode of mAP, is therefore computed from the number of
items and of relevant items at each distance from a query, and is the exact expected value over all orders of
the ties (McSherry and Najork 2008; for hashing He et al., CVPR 2018). Queries are compared with the database
a block at a time: queries x database never stands in memory.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scbch_keras.checks import one_of, whole
from scbch_keras.codes import as_words, check_packed, hamming_distance
from scbch_keras.labels.matrix import check_labels

Codes = NDArray[np.uint8]
Labels = NDArray[Any]
Ranks = Sequence[int] | NDArray[np.integer]
Ties = Literal["expected", "reference"]

BLOCK_BYTES = 2**23  # scratch memory of a block when no block_size is given; more is slower, not faster
_PAIR_BYTES = 32  # scratch for one query and one item: distance, relevance, cell, and their temporaries
_DATABASE_BLOCK = 2**16


class CrossModalMAP(NamedTuple):
    """mAP of both directions, each in [0, 1]. `mean` is what the paper's tables report."""

    i2t: float
    t2i: float

    @property
    def mean(self) -> float:
        """Mean of the two directions."""
        return (self.i2t + self.t2i) / 2


class _DistanceTable(NamedTuple):
    """At each distance 0..bits, for each query to which something is relevant: int64 (queries, bits + 1)."""

    items: NDArray[np.int64]
    relevant: NDArray[np.int64]


def mean_average_precision(
    query_codes: Codes,
    database_codes: Codes,
    query_labels: Labels,
    database_labels: Labels,
    *,
    bits: int,
    k: int | None = None,
    ties: Ties = "expected",
    block_size: int | None = None,
) -> float:
    """Packed codes (q, w) and (n, w) with w = ceil(bits / 8), labels 0/1 (q, C) and (n, C) -> mAP in [0, 1].

    The average precision of a query with R relevant items is the sum of the precisions at the ranks of the
    relevant items, divided by R (mAP@all), or, cut at rank k, over ranks up to k divided by min(R, k).

    ties: "expected" is the exact expectation over all orders of items at equal distance. "reference" is one
    fixed order, ties in the order of the database, for comparison with published numbers: the authors rank by
    a single sort too. Theirs leaves ties in no defined order, so their value is met only approximately, and
    this one moves with the order in which the database happens to stand. k means the same in both; the `k` of
    the authors' function (the first k relevant items, at any rank) is not offered.
    k: >= 1; at least n is the same as None.
    block_size: queries at a time; by default as many as work in `BLOCK_BYTES`. It does not change the result.
    Raises ValueError for codes, labels or sizes that do not fit each other, and if nothing is relevant to any
    query.
    """
    query_labels, database_labels = check_retrieval(
        query_codes, database_codes, query_labels, database_labels, bits
    )
    k = whole("k", k, 1, optional=True)
    one_of("ties", ties, ("expected", "reference"))
    cut = len(database_codes) if k is None else min(k, len(database_codes))
    if ties == "reference":
        return _reference_map(
            query_codes, database_codes, query_labels, database_labels, bits, cut, block_size
        )
    table = _distance_table(query_codes, database_codes, query_labels, database_labels, bits, block_size)
    return float(_expected_average_precision(table, cut).mean())


def cross_modal_map(
    query_codes: Mapping[str, Codes],
    database_codes: Mapping[str, Codes],
    query_labels: Labels,
    database_labels: Labels,
    *,
    bits: int,
    k: int | None = None,
    ties: Ties = "expected",
    block_size: int | None = None,
) -> CrossModalMAP:
    """{"image": (q, w), "text": (q, w)}, the same with n rows, labels (q, C), (n, C) -> (i2t, t2i).

    i2t ranks the text codes of the database for image queries, t2i the image codes for text queries. The rest
    is `mean_average_precision`.
    """
    for name, codes in (("query_codes", query_codes), ("database_codes", database_codes)):
        if not isinstance(codes, Mapping) or set(codes) != {"image", "text"}:
            came = f"keys {sorted(codes)}" if isinstance(codes, Mapping) else type(codes).__name__
            raise ValueError(f'{name} must be a dict with the keys "image" and "text", got {came}')

    def direction(query: str, database: str) -> float:
        return mean_average_precision(
            query_codes[query],
            database_codes[database],
            query_labels,
            database_labels,
            bits=bits,
            k=k,
            ties=ties,
            block_size=block_size,
        )

    return CrossModalMAP(i2t=direction("image", "text"), t2i=direction("text", "image"))


def precision_recall_curve(
    query_codes: Codes,
    database_codes: Codes,
    query_labels: Labels,
    database_labels: Labels,
    *,
    bits: int,
    ranks: Ranks | None = None,
    block_size: int | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Codes and labels as for `mean_average_precision` -> (precision, recall), means over the queries.

    Without `ranks`: the curve over the Hamming radius, bits + 1 points, radius 0 first. Everything within the
    radius is retrieved, so ties play no part. A query with nothing within a radius has no precision there and
    is left out of the mean precision of that radius (its recall is 0); where that is every query, the
    precision is NaN.
    With `ranks`: one point a rank, over the first 1 <= rank <= n items, expected under random ties. The
    paper's Fig. 4 is drawn this way, from 15 ranks spread evenly over the database.
    """
    query_labels, database_labels = check_retrieval(
        query_codes, database_codes, query_labels, database_labels, bits
    )
    cuts = None if ranks is None else check_ranks("ranks", ranks, len(database_codes))
    table = _distance_table(query_codes, database_codes, query_labels, database_labels, bits, block_size)
    total = table.relevant.sum(axis=1, keepdims=True)
    if cuts is not None:
        hits = _expected_hits(table, cuts)
        return (hits / cuts).mean(axis=0), (hits / total).mean(axis=0)
    retrieved = table.items.cumsum(axis=1)
    hits = table.relevant.cumsum(axis=1)
    precision = np.divide(hits, retrieved, out=np.zeros(hits.shape), where=retrieved > 0).sum(axis=0)
    retrieving = (retrieved > 0).sum(axis=0)
    mean_precision = np.divide(precision, retrieving, out=np.full(bits + 1, np.nan), where=retrieving > 0)
    return mean_precision, (hits / total).mean(axis=0)


def precision_at_n(
    query_codes: Codes,
    database_codes: Codes,
    query_labels: Labels,
    database_labels: Labels,
    *,
    bits: int,
    n: Ranks,
    block_size: int | None = None,
) -> NDArray[np.float64]:
    """Codes and labels as for `mean_average_precision` -> (len(n),): share of relevant items in the first n.

    Expected under random ties, mean over the queries. Each n is from 1 to the size of the database.
    """
    query_labels, database_labels = check_retrieval(
        query_codes, database_codes, query_labels, database_labels, bits
    )
    cuts = check_ranks("n", n, len(database_codes))
    table = _distance_table(query_codes, database_codes, query_labels, database_labels, bits, block_size)
    return (_expected_hits(table, cuts) / cuts).mean(axis=0)


def precision_within_radius(
    query_codes: Codes,
    database_codes: Codes,
    query_labels: Labels,
    database_labels: Labels,
    *,
    bits: int,
    radius: int = 2,
    block_size: int | None = None,
) -> float:
    """Codes and labels as for `mean_average_precision` -> precision of everything within a Hamming radius.

    Mean over the queries; by the field's convention a query with nothing within the radius counts as 0 (in
    `precision_recall_curve` it is left out instead). radius: 0 to bits.
    """
    query_labels, database_labels = check_retrieval(
        query_codes, database_codes, query_labels, database_labels, bits
    )
    radius = whole("radius", radius, 0, bits)
    table = _distance_table(query_codes, database_codes, query_labels, database_labels, bits, block_size)
    retrieved = table.items[:, : radius + 1].sum(axis=1)
    hits = table.relevant[:, : radius + 1].sum(axis=1)
    return float((hits / np.maximum(retrieved, 1)).mean())


def _distance_table(
    query_codes: Codes,
    database_codes: Codes,
    query_labels: Labels,
    database_labels: Labels,
    bits: int,
    block_size: int | None,
) -> _DistanceTable:
    columns = min(len(database_codes), _DATABASE_BLOCK)
    rows = _block_rows(block_size, columns)
    query_sets, database_sets = _label_sets(query_labels), _label_sets(database_labels)
    cells = 2 * (bits + 1)  # at each distance the items that are not relevant, then those that are
    counts = np.zeros((len(query_codes), cells), np.int64)
    for start in range(0, len(query_codes), rows):
        block = slice(start, start + rows)
        height = len(counts[block])
        first_cell = np.arange(0, height * cells, cells)[:, None]
        for left in range(0, len(database_codes), columns):
            part = slice(left, left + columns)
            cell = hamming_distance(query_codes[block], database_codes[part], bits).astype(np.int64)
            cell *= 2
            cell += _relevant(query_sets[:, block], database_sets[:, part])
            cell += first_cell
            counts[block] += np.bincount(cell.ravel(), minlength=height * cells).reshape(height, cells)
    irrelevant, relevant = counts[:, 0::2], counts[:, 1::2]
    answerable = _answerable(relevant.sum(axis=1))
    return _DistanceTable((irrelevant + relevant)[answerable], relevant[answerable])


def _expected_average_precision(table: _DistanceTable, cut: int) -> NDArray[np.float64]:
    items, relevant = table
    before = items.cumsum(axis=1) - items
    relevant_before = relevant.cumsum(axis=1) - relevant
    inside = np.clip(cut - before, 0, items)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, items[0].sum() + 1))])
    spread = harmonic[before + inside] - harmonic[before]
    share = relevant / np.maximum(items, 1)
    # given that one item of the tie is relevant, the chance that another is
    other = (relevant - 1) / np.maximum(items - 1, 1)
    terms = share * ((relevant_before + 1 - other * (before + 1)) * spread + other * inside)
    return terms.sum(axis=1) / np.minimum(relevant.sum(axis=1), cut)


def _expected_hits(table: _DistanceTable, cuts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Expected number of relevant items among the first `cut` of each query -> (queries, len(cuts))."""
    share = table.relevant / np.maximum(table.items, 1)
    before = table.items.cumsum(axis=1) - table.items
    hits = np.empty((len(share), len(cuts)))
    for place, cut in enumerate(cuts):
        hits[:, place] = (share * np.clip(cut - before, 0, table.items)).sum(axis=1)
    return hits


def _reference_map(
    query_codes: Codes,
    database_codes: Codes,
    query_labels: Labels,
    database_labels: Labels,
    bits: int,
    cut: int,
    block_size: int | None,
) -> float:
    rows = _block_rows(block_size, len(database_codes))
    query_sets, database_sets = _label_sets(query_labels), _label_sets(database_labels)
    rank = np.arange(1, cut + 1)
    total = np.empty(len(query_codes), np.int64)
    precisions = np.empty(len(query_codes))
    small = np.min_scalar_type(bits)  # numpy sorts integers of up to 16 bits by radix, in linear time
    for start in range(0, len(query_codes), rows):
        block = slice(start, start + rows)
        distance = hamming_distance(query_codes[block], database_codes, bits).astype(small)
        order = distance.argsort(axis=1, kind="stable")[:, :cut]
        relevant = _relevant(query_sets[:, block], database_sets)
        total[block] = relevant.sum(axis=1)
        ranked = np.take_along_axis(relevant, order, axis=1)
        precisions[block] = (ranked.cumsum(axis=1) / rank).sum(axis=1, where=ranked)
    answerable = _answerable(total)
    return float((precisions[answerable] / np.minimum(total[answerable], cut)).mean())


def _label_sets(labels: Labels) -> NDArray[np.uint64]:
    return as_words(np.packbits(labels != 0, axis=1))


def _relevant(query_sets: NDArray[np.uint64], database_sets: NDArray[np.uint64]) -> NDArray[np.bool_]:
    shared = (query_sets[0][:, None] & database_sets[0]) != 0
    for query_word, database_word in zip(query_sets[1:], database_sets[1:], strict=True):
        shared |= (query_word[:, None] & database_word) != 0
    return shared


def _answerable(relevant: NDArray[np.int64]) -> NDArray[np.bool_]:
    answerable = relevant > 0
    if not answerable.any():
        raise ValueError("query_labels and database_labels share no label: nothing is relevant to any query")
    return answerable


def _block_rows(block_size: int | None, columns: int) -> int:
    if block_size is None:
        return max(1, BLOCK_BYTES // (_PAIR_BYTES * columns))
    return whole("block_size", block_size, 1)


def check_retrieval(
    query_codes: Any, database_codes: Any, query_labels: Any, database_labels: Any, bits: int
) -> tuple[Labels, Labels]:
    """The labels as arrays; ValueError for codes and labels that do not fit each other."""
    check_packed("query_codes", query_codes, bits)
    check_packed("database_codes", database_codes, bits)
    query_labels = check_labels("query_labels", query_labels)
    database_labels = check_labels("database_labels", database_labels)
    if query_labels.shape[1] != database_labels.shape[1]:
        raise ValueError(
            "query_labels and database_labels must have the same classes, got "
            f"{query_labels.shape[1]} and {database_labels.shape[1]} columns"
        )
    for name, codes, labels in (
        ("query", query_codes, query_labels),
        ("database", database_codes, database_labels),
    ):
        if len(codes) != len(labels):
            raise ValueError(
                f"{name}_codes and {name}_labels must have one row a sample, "
                f"got {len(codes)} and {len(labels)} rows"
            )
    return query_labels, database_labels


def check_ranks(name: str, ranks: Any, size: int) -> NDArray[np.int64]:
    """Ranks, each from 1 to `size`, as an array; else ValueError naming the argument."""
    if isinstance(ranks, int | np.integer) or len(ranks) == 0:
        raise ValueError(f"{name} must be a sequence of at least one integer, got {ranks!r}")
    for rank in ranks:
        whole(f"each of {name}", rank, 1, size)
    return np.asarray(ranks, np.int64)
