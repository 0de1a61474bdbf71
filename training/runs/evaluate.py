"""Every retrieval metric of a model on queries and a database."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scbch_keras.metrics import (
    mean_average_precision,
    precision_at_n,
    precision_recall_curve,
    precision_within_radius,
)
from scbch_keras.metrics.comparison import compared_once
from scbch_keras.metrics.graded import (
    acg_at_k,
    ndcg_at_k,
    precision_with_all_labels,
    weighted_mean_average_precision,
)
from scbch_keras.modalities import DIRECTIONS
from scbch_keras.training.data.pairs import Pairs

CURVE_POINTS = 15
"""Ranks of the precision-recall curve, spread evenly over the database as in the paper's Fig. 4."""


class Chance(NamedTuple):
    """What a random order of the database gives, exactly: the same in both directions."""

    map: float
    precision: float
    """Share of the items that have a label of the query, mean over the queries with any such item."""
    all_labels: float
    """Share of the items that have all labels of the query, mean over the same queries."""


class Metric(NamedTuple):
    """One number of a direction: its title, and its value by (query codes, database codes, labels of both)."""

    title: str
    measure: Callable[..., float]


METRICS = {
    "map": Metric("mAP@all", mean_average_precision),
    "map_at_50": Metric(
        "mAP@50",
        lambda *codes, bits: mean_average_precision(*codes, bits=bits, k=min(50, len(codes[1]))),
    ),
    "map_reference": Metric(
        "mAP@all, ties='reference'",
        lambda *codes, bits: mean_average_precision(*codes, bits=bits, ties="reference"),
    ),
    "precision_radius_2": Metric(
        "precision within radius 2",
        lambda *codes, bits: precision_within_radius(*codes, bits=bits, radius=min(2, bits)),
    ),
}
"""What is measured in each direction, beside curves, in the order in which it is shown."""

GRADED = {
    "ndcg_at_100": Metric("nDCG@100", lambda *codes, bits: _at(100, codes, ndcg_at_k, bits)),
    "acg_at_100": Metric("ACG@100", lambda *codes, bits: _at(100, codes, acg_at_k, bits)),
    "weighted_map": Metric("weighted mAP", weighted_mean_average_precision),
    "all_labels_at_10": Metric(
        "precision@10 with all labels of the query",
        lambda *codes, bits: float(
            precision_with_all_labels(*codes, bits=bits, n=[min(10, len(codes[1]))])[0]
        ),
    ),
}
"""Of relevance in degrees; measured where that is asked for."""


def _at(rank: int, codes: tuple[Any, ...], metric: Callable[..., NDArray[np.float64]], bits: int) -> float:
    return float(metric(*codes, bits=bits, k=[min(rank, len(codes[1]))])[0])


def random_order(query_labels: NDArray[np.uint8], database_labels: NDArray[np.uint8]) -> Chance:
    """Labels 0/1 (q, C) and (n, C) -> what chance gives: with one code for all, every order is a tie."""
    codes = [np.zeros((len(labels), 1), np.uint8) for labels in (query_labels, database_labels)]
    both = (*codes, query_labels, database_labels)
    with compared_once():
        return Chance(
            mean_average_precision(*both, bits=1),
            float(precision_at_n(*both, bits=1, n=[1])[0]),
            float(precision_with_all_labels(*both, bits=1, n=[1])[0]),
        )


def metric_rows(metrics: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[float]]]:
    """(title, values in the order of `DIRECTIONS`) of stored metrics, which may be of an earlier version."""
    known = {**METRICS, **GRADED}
    first = metrics["i2t"]
    rows = [
        (metric.title, [float(metrics[way][name]) for way in DIRECTIONS])
        for name, metric in known.items()
        if name in first
    ]
    at = [
        (f"precision@{n}", [float(metrics[way]["precision_at"][n]) for way in DIRECTIONS])
        for n in first["precision_at"]
    ]
    return [*rows, *at]


def encode(model: Any, pairs: Pairs) -> dict[str, NDArray[np.float32]]:
    """Continuous codes of both modalities."""
    return {
        "image": model.encode_image(pairs.image, packed=False, verbose=0),
        "text": model.encode_text(pairs.text, packed=False, verbose=0),
    }


def retrieval_metrics(
    query: Mapping[str, NDArray[np.uint8]],
    database: Mapping[str, NDArray[np.uint8]],
    query_labels: NDArray[np.uint8],
    database_labels: NDArray[np.uint8],
    bits: int,
    graded: bool = False,
) -> dict[str, dict[str, Any]]:
    """Every retrieval metric of packed codes by direction: `METRICS`, curve, precisions, and `GRADED`.

    Args:
        query: {"image": (q, w), "text": (q, w)}, uint8.
        database: the same with n rows.
        query_labels: (q, C), 0/1.
        database_labels: (n, C), 0/1.
        bits: code length.
        graded: whether those of relevance in degrees are measured too.
    """
    size = len(database_labels)
    curve_ranks = np.unique(np.linspace(1, size, CURVE_POINTS).astype(int))
    measured = {**METRICS, **(GRADED if graded else {})}
    results: dict[str, dict[str, Any]] = {}
    with compared_once():
        for direction, (source, target) in DIRECTIONS.items():
            codes = (query[source], database[target], query_labels, database_labels)
            precision, recall = precision_recall_curve(*codes, bits=bits, ranks=curve_ranks)
            results[direction] = {
                **{name: metric.measure(*codes, bits=bits) for name, metric in measured.items()},
                "precision": precision.tolist(),
                "recall": recall.tolist(),
                "precision_at": {
                    str(n): float(precision_at_n(*codes, bits=bits, n=[n])[0])
                    for n in (10, 100, 1000)
                    if n <= size
                },
            }
    return results
