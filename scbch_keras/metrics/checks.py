"""What the metrics of retrieval ask of codes, labels and ranks. numpy only."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.checks import whole
from scbch_keras.codes import check_packed
from scbch_keras.labels.matrix import check_labels
from scbch_keras.metrics.comparison import Arrays


def check_retrieval(
    query_codes: Any, database_codes: Any, query_labels: Any, database_labels: Any, bits: int
) -> Arrays:
    """The four as arrays, if they fit each other. ValueError: they do not."""
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
    return Arrays(query_codes, database_codes, query_labels, database_labels)


def check_ranks(name: str, ranks: Any, size: int) -> NDArray[np.int64]:
    """Ranks from 1 to `size`, at least one, as an array."""
    if isinstance(ranks, int | np.integer) or len(ranks) == 0:
        raise ValueError(f"{name} must be a sequence of at least one integer, got {ranks!r}")
    for rank in ranks:
        whole(f"each of {name}", rank, 1, size)
    return np.asarray(ranks, np.int64)


def check_answerable(relevant: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Of relevant items by distance (q, bits + 1): the queries (q,) that have some. ValueError: none has."""
    answerable: NDArray[np.bool_] = relevant.sum(axis=1) > 0
    if not answerable.any():
        raise ValueError("query_labels and database_labels share no label: nothing is relevant to any query")
    return answerable
