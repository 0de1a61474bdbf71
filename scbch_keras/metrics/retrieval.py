"""The metrics of a ranking by Hamming distance where an item is relevant or not; see `scbch_keras.metrics`."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scbch_keras.checks import one_of, whole
from scbch_keras.metrics.checks import check_answerable, check_ranks, check_retrieval
from scbch_keras.metrics.comparison import Arrays, compare

Codes = NDArray[np.uint8]
Labels = NDArray[Any]
Ranks = Sequence[int] | NDArray[np.integer]
Ties = Literal["expected", "reference"]


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
    """Mean average precision (mAP) of a ranking by Hamming distance.

    The average precision of a query with R relevant items is the sum of the precisions at the ranks of the
    relevant items, divided by R (mAP@all), or, cut at rank k, over ranks up to k divided by min(R, k).

    Args:
        query_codes: (q, w), packed, w = ceil(bits / 8).
        database_codes: (n, w), packed.
        query_labels: (q, C), 0/1.
        database_labels: (n, C), 0/1.
        bits: int >= 1, code length.
        k: int >= 1, the rank at which it is cut; None, or at least n: not cut.
        ties: "expected" is the exact expectation over all orders of items at equal distance. "reference" is one
            fixed order, ties in the order of the database, for comparison with published numbers: the authors rank
            by a single sort too. Theirs leaves ties in no defined order, so their value is met only approximately,
            and this one moves with the order in which the database happens to stand. k means the same in both; the
            `k` of the authors' function (the first k relevant items, at any rank) is not offered.
        block_size: queries at a time; by default as many as work in a few MB. It does not change the result.

    Returns:
        The mean over the queries to which something is relevant, in [0, 1].

    Raises:
        ValueError: codes, labels or sizes that do not fit each other; or nothing is relevant to any query.
    """
    arrays = check_retrieval(query_codes, database_codes, query_labels, database_labels, bits)
    k = whole("k", k, 1, optional=True)
    one_of("ties", ties, ("expected", "reference"))
    cut = len(database_codes) if k is None else min(k, len(database_codes))
    if ties == "reference":
        comparison = compare(arrays, bits, block_size, cut)
        answerable = check_answerable(comparison.relevant)
        sums, relevant = comparison.precision_sums[answerable], comparison.relevant[answerable].sum(axis=1)
        return float((sums / np.minimum(relevant, cut)).mean())
    table = _distance_table(arrays, bits, block_size)
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
    """Mean average precision of both directions between the modalities; see `mean_average_precision`.

    Args:
        query_codes: {"image": (q, w), "text": (q, w)}, packed, w = ceil(bits / 8).
        database_codes: {"image": (n, w), "text": (n, w)}, packed.
        query_labels: (q, C), 0/1.
        database_labels: (n, C), 0/1.
        bits: int >= 1, code length.
        k: int >= 1, the rank at which it is cut; None: not cut.
        ties: "expected" or "reference".
        block_size: queries at a time; it does not change the result.

    Returns:
        i2t ranks the text codes of the database for image queries, t2i the image codes for text queries.

    Raises:
        ValueError: codes without one of the two modalities, and as `mean_average_precision`.
    """
    for name, codes in (("query_codes", query_codes), ("database_codes", database_codes)):
        if not isinstance(codes, Mapping) or set(codes) != {"image", "text"}:
            actual = f"keys {sorted(codes)}" if isinstance(codes, Mapping) else type(codes).__name__
            raise ValueError(f'{name} must be a dict with the keys "image" and "text", got {actual}')

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
    """Precision and recall by Hamming radius or by rank, means over the queries.

    Without `ranks`: the curve over the Hamming radius. Everything within the radius is retrieved, so ties play no
    part. A query with nothing within a radius has no precision there and is left out of the mean precision of that
    radius (its recall is 0); where that is every query, the precision is NaN.

    With `ranks`: one point a rank, over the first items, expected under random ties. The paper's Fig. 4 is drawn this
    way, from 15 ranks spread evenly over the database.

    Args:
        query_codes: (q, w), packed, w = ceil(bits / 8).
        database_codes: (n, w), packed.
        query_labels: (q, C), 0/1.
        database_labels: (n, C), 0/1.
        bits: int >= 1, code length.
        ranks: ints in 1..n; None: the curve over the radius.
        block_size: queries at a time; it does not change the result.

    Returns:
        (precision, recall), each (bits + 1,), radius 0 first, or (len(ranks),), in [0, 1].

    Raises:
        ValueError: as `mean_average_precision`, or a rank out of range.
    """
    arrays = check_retrieval(query_codes, database_codes, query_labels, database_labels, bits)
    cuts = None if ranks is None else check_ranks("ranks", ranks, len(database_codes))
    table = _distance_table(arrays, bits, block_size)
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
    """Share of relevant items among the first n, expected under random ties, mean over the queries.

    Args:
        query_codes: (q, w), packed, w = ceil(bits / 8).
        database_codes: (N, w), packed.
        query_labels: (q, C), 0/1.
        database_labels: (N, C), 0/1.
        bits: int >= 1, code length.
        n: ints in 1..N.
        block_size: queries at a time; it does not change the result.

    Returns:
        (len(n),), in [0, 1].

    Raises:
        ValueError: as `mean_average_precision`, or an n out of range.
    """
    arrays = check_retrieval(query_codes, database_codes, query_labels, database_labels, bits)
    cuts = check_ranks("n", n, len(database_codes))
    table = _distance_table(arrays, bits, block_size)
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
    """Share of relevant items among those within a Hamming radius, mean over the queries.

    By the field's convention a query with nothing within the radius counts as 0; `precision_recall_curve` leaves it
    out instead.

    Args:
        query_codes: (q, w), packed, w = ceil(bits / 8).
        database_codes: (n, w), packed.
        query_labels: (q, C), 0/1.
        database_labels: (n, C), 0/1.
        bits: int >= 1, code length.
        radius: int in 0..bits.
        block_size: queries at a time; it does not change the result.

    Returns:
        A share in [0, 1].

    Raises:
        ValueError: as `mean_average_precision`, or a radius out of range.
    """
    arrays = check_retrieval(query_codes, database_codes, query_labels, database_labels, bits)
    radius = whole("radius", radius, 0, bits)
    table = _distance_table(arrays, bits, block_size)
    retrieved = table.items[:, : radius + 1].sum(axis=1)
    hits = table.relevant[:, : radius + 1].sum(axis=1)
    return float((hits / np.maximum(retrieved, 1)).mean())


def _distance_table(arrays: Arrays, bits: int, block_size: int | None) -> _DistanceTable:
    comparison = compare(arrays, bits, block_size)
    answerable = check_answerable(comparison.relevant)
    if answerable.all():
        return _DistanceTable(comparison.items, comparison.relevant)
    return _DistanceTable(comparison.items[answerable], comparison.relevant[answerable])


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
    items, relevant = table
    before = items.cumsum(axis=1) - items
    relevant_before = relevant.cumsum(axis=1) - relevant
    share = relevant / np.maximum(items, 1)
    queries = np.arange(len(items))
    hits = np.empty((len(items), len(cuts)))
    for place, cut in enumerate(cuts):
        tie = (before < cut).sum(axis=1) - 1  # the last distance that begins before the cut
        inside = np.minimum(cut - before[queries, tie], items[queries, tie])
        hits[:, place] = relevant_before[queries, tie] + share[queries, tie] * inside
    return hits
