"""Parts that the loss terms of several methods share, computed over the rows of a batch with keras.ops.

Codes are continuous, (n, bits), one matrix a modality, rows paired. A `sample_weight` (n,) weighs the terms of single
samples, and a pair by the product of its two samples, under unchanged denominators. Inside a softmax it counts how
often a sample is there: with equal weights the softmax is that of the plain batch, and a sample of weight 0 is no
one's negative.
"""

from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from scbch_keras.arrays import Tensor
from scbch_keras.data import ROWS_AT_ONCE

EXCLUDED = -1e9
"""Added to a logit to take it out of a softmax; finite, so that a batch of weight 0 has the gradient 0, not NaN."""


def shares_label(labels: Tensor) -> Tensor:
    """Whether two samples share a label, (n, n) 0/1, of labels (n, C) 0/1."""
    labels = ops.cast(labels, "float32")
    return ops.cast(ops.matmul(labels, ops.transpose(labels)) > 0, "float32")


def cross_entropy(
    logits: Tensor, sample_weight: Tensor | None, margin: float = 0.0, own: Tensor | None = None
) -> Tensor:
    """1/n * sum_i w_i (margin - own_i + log sum_j exp(logits_ij)), own being the diagonal unless given."""
    weight, log_weight = weights(logits, sample_weight)
    own = ops.diagonal(logits) if own is None else own
    return ops.mean(
        weight * (margin - own - log_weight + ops.logsumexp(logits + log_weight[None, :], axis=1))
    )


def lowered(scores: Tensor, margin: float, shift: float) -> Tensor:
    """Scores of anchors (rows), those of easy negatives lowered by `shift`."""
    threshold = ops.diagonal(scores)[:, None] - margin
    return ops.where(scores >= threshold, scores, scores - shift)


def label_errors(logits: Tensor, labels: Tensor) -> Tensor:
    """(n,): the binary cross-entropy of logits (n, C) and labels (n, C), summed over the labels."""
    return ops.sum(ops.softplus(logits) - labels * logits, axis=1)


def squared_distance(values: Tensor, others: Tensor) -> Tensor:
    """(n,): the squared differences of (n, d) and (n, d), summed over the columns."""
    return ops.sum(ops.square(values - others), axis=1)


def weights(rows: Tensor, sample_weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Weights (n,) of the rows, and their logarithms."""
    weight = ops.ones_like(rows[:, 0]) if sample_weight is None else ops.cast(sample_weight, "float32")
    return weight, ops.where(weight > 0, ops.log(ops.maximum(weight, 1e-30)), EXCLUDED)


def by_block(per_sample: Any, *arrays: NDArray[Any]) -> NDArray[np.float32]:
    """What a function of keras.ops says of each row, (N,), computed in blocks of rows."""
    values = np.empty(len(arrays[0]), "float32")
    for start in range(0, len(values), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        block = (ops.convert_to_tensor(array[rows], dtype="float32") for array in arrays)
        values[rows] = ops.convert_to_numpy(per_sample(*block))
    return values
