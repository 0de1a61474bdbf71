"""What encoders give for each token or place -> one row of features, said once for training and serving. numpy only."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

POOLINGS = ("mean", "cls", "none")
""""mean" over the tokens of the attention mask, or over the places of a picture; "cls": the first token's vector;
"none": the network gives one row already."""


def pooled(tokens: NDArray[Any], pooling: str, mask: NDArray[Any] | None = None) -> NDArray[np.float32]:
    """Vectors of tokens -> one row each: the mean over the mask, or the first token's vector.

    Sums run from the first token to the last in float32: what is masked changes no bit.

    Args:
        tokens: (n, t, d), float32.
        pooling: "mean" or "cls".
        mask: (n, t), 0/1: the tokens that count; None: all. A row without any becomes zeros.

    Returns:
        (n, d), float32.
    """
    if pooling == "cls":
        return np.ascontiguousarray(tokens[:, 0], np.float32)
    weights = np.ones(tokens.shape[:2], np.float32) if mask is None else mask.astype(np.float32)
    total = np.zeros((len(tokens), tokens.shape[2]), np.float32)
    for place in range(tokens.shape[1]):
        total += tokens[:, place] * weights[:, place, None]
    return total / np.maximum(weights.sum(axis=1, keepdims=True), np.float32(1))


def unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows (n, d), float32, over their Euclidean length; rows of zeros stay so."""
    length = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    return np.asarray(rows / np.where(length > 0, length, np.float32(1)), np.float32)
