"""Every retrieval metric of a model on queries and a database."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.metrics import (
    mean_average_precision,
    precision_at_n,
    precision_recall_curve,
    precision_within_radius,
)
from scbch_keras.modalities import DIRECTIONS
from scbch_keras.training.data.pairs import Pairs

CURVE_POINTS = 15
"""Ranks of the precision-recall curve, spread evenly over the database as in the paper's Fig. 4."""


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
) -> dict[str, dict[str, Any]]:
    """Every retrieval metric of packed codes by direction: mAP (three readings), curve, precisions.

    Args:
        query: {"image": (q, w), "text": (q, w)}, uint8.
        database: the same with n rows.
        query_labels: (q, C), 0/1.
        database_labels: (n, C), 0/1.
        bits: code length.
    """
    size = len(database_labels)
    curve_ranks = np.unique(np.linspace(1, size, CURVE_POINTS).astype(int))
    results: dict[str, dict[str, Any]] = {}
    for direction, (asked, searched) in DIRECTIONS.items():
        codes = (query[asked], database[searched], query_labels, database_labels)
        precision, recall = precision_recall_curve(*codes, bits=bits, ranks=curve_ranks)
        results[direction] = {
            "map": mean_average_precision(*codes, bits=bits),
            "map_at_50": mean_average_precision(*codes, bits=bits, k=min(50, size)),
            "map_reference": mean_average_precision(*codes, bits=bits, ties="reference"),
            "precision": precision.tolist(),
            "recall": recall.tolist(),
            "precision_at": {
                str(n): float(precision_at_n(*codes, bits=bits, n=[n])[0])
                for n in (10, 100, 1000)
                if n <= size
            },
            "precision_radius_2": precision_within_radius(*codes, bits=bits, radius=min(2, bits)),
        }
    return results
