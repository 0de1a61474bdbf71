"""The terms of the objective, each a function of keras.ops (Eq. 3-8) and a Keras loss over it.

Codes are continuous, (n, bits), one matrix a modality, rows paired; R is the label similarity (n, n).
Two dialects: "reference" is what the authors' code computes, from which the published numbers come; "paper" is
the paper's equations with their misprints corrected. They differ in `repulsion` only, and in how `SCBCH` adds
the terms up.

What each loss needs:

| loss | labels | codes | class logits |
| --- | --- | --- | --- |
| classification | 0/1 targets | | both modalities |
| attraction | through R > 0 | both modalities | |
| intra_modal | through R and R > 0 | one modality | |
| repulsion | through 1 - R | both modalities | |
| quantization | | both modalities | |

A `sample_weight` (n,) weighs the terms of single samples, and a pair by the product of its two samples, under
unchanged denominators: a sample of weight 0 adds nothing and gets no gradient.
"""

from typing import Any, Literal, get_args

import keras
from keras import ops

from scbch_keras.arrays import Tensor
from scbch_keras.checks import number, one_of
from scbch_keras.names import PACKAGE

Dialect = Literal["reference", "paper"]


def label_similarity(labels: Tensor) -> Tensor:
    """Jaccard similarity of label sets, R in [0, 1] (Eq. 4).

    Args:
        labels: (n, C), 0/1.

    Returns:
        (n, n), |y_i AND y_j| / |y_i OR y_j|; 0 where both samples have no label, also with themselves.
    """
    labels = ops.cast(labels, "float32")
    count = ops.sum(labels, axis=1)
    intersection = ops.matmul(labels, ops.transpose(labels))
    union = count[:, None] + count[None, :] - intersection
    return intersection / ops.maximum(union, 1.0)


def soft_label_similarity(probabilities: Tensor) -> Tensor:
    """Jaccard similarity of label sets that are known by probability; `label_similarity` where all are 0 or 1.

    Args:
        probabilities: (n, C), in [0, 1].

    Returns:
        (n, n), sum_c min(p_ic, p_jc) / sum_c max(p_ic, p_jc); 0 where both samples have no label.
    """
    first, second = _paired_labels(probabilities)
    union = ops.sum(ops.maximum(first, second), axis=2)
    return ops.sum(ops.minimum(first, second), axis=2) / ops.maximum(union, 1e-8)


def sharing_probability(probabilities: Tensor) -> Tensor:
    """Probability that two samples share a label, labels being independent.

    Args:
        probabilities: (n, C), in [0, 1].

    Returns:
        (n, n), 1 - prod_c (1 - p_ic p_jc).
    """
    first, second = _paired_labels(probabilities)
    return 1 - ops.prod(1 - first * second, axis=2)


def classification(
    labels: Tensor, image_logits: Tensor, text_logits: Tensor, sample_weight: Tensor | None = None
) -> Tensor:
    """Weighted binary cross-entropy of both modalities (Eq. 3; L_c with `sample_weight=None`).

    The paper prints label and prediction swapped inside the logarithms; the target is the label.

    Args:
        labels: (n, C), targets in [0, 1].
        image_logits: (n, C), before the sigmoid.
        text_logits: (n, C), before the sigmoid.
        sample_weight: (n,), the confidence weights w in [gamma, 1], or None for ones.

    Returns:
        Scalar >= 0: 1/(2nC) * sum_i w_i sum_m sum_c BCE.
    """
    labels = ops.cast(labels, "float32")
    entropy = _cross_entropy(labels, image_logits) + _cross_entropy(labels, text_logits)
    return ops.mean(_weighted(ops.mean(entropy, axis=1), sample_weight)) / 2


def attraction(
    image_codes: Tensor,
    text_codes: Tensor,
    similarity: Tensor,
    shift: float,
    sample_weight: Tensor | None = None,
    sharing: Tensor = None,
) -> Tensor:
    """Pulls pairs together that share a label (Eq. 5).

    Args:
        image_codes: (n, bits).
        text_codes: (n, bits).
        similarity: (n, n), label similarity R.
        shift: float, xi.
        sample_weight: (n,) or None.
        sharing: (n, n), `sharing_probability`, in place of [R > 0]; None: labels are 0/1.

    Returns:
        Scalar: 1/n^2 * sum_{i != j} [R_ij > 0] exp(xi - S_ij) - 1/n * sum_i S_ii, with S = h1 h2^T.
    """
    scores = _scores(image_codes, text_codes)
    n = ops.cast(ops.shape(scores)[0], "float32")
    if sharing is None:
        sharing = ops.cast(similarity > 0, "float32")
    others = sharing * (1 - own_pairs(scores))
    pull = ops.sum(_pair_weighted(others * ops.exp(shift - scores), sample_weight)) / n**2
    return pull - ops.mean(_weighted(ops.diagonal(scores), sample_weight))


def repulsion(
    image_codes: Tensor,
    text_codes: Tensor,
    similarity: Tensor,
    margin: float,
    shift: float,
    dialect: Dialect = "reference",
    sample_weight: Tensor | None = None,
) -> Tensor:
    """Pushes pairs apart that share few labels, hard negatives most (Eq. 6-7).

    A negative is hard where its score comes within `margin` of the anchor's own pair; easy ones are shifted
    down. An image anchor i compares along row i with S_ii, a text anchor j along column j with S_jj.

    Args:
        image_codes: (n, bits).
        text_codes: (n, bits).
        similarity: (n, n), label similarity R.
        margin: float, mu.
        shift: float, xi.
        dialect: "reference": N = S where S >= S_ii - mu, else S - xi, without a gradient through the
            comparison; 1/n^2 * sum over all i, j of exp(N (1 - R)); the diagonal, clamped at 0 from below, is
            the constant 2/n where every sample has a label. "paper": the ramp
            N = S - xi * max(0, S_ii - mu - S); 1/(2 n^2) * sum over i != j.
        sample_weight: (n,) or None.

    Returns:
        Scalar > 0, both directions added up.
    """
    one_of("dialect", dialect, get_args(Dialect))
    scores = _scores(image_codes, text_codes)
    n = ops.cast(ops.shape(scores)[0], "float32")
    identity = own_pairs(scores)
    threshold = ops.diagonal(scores) - margin
    total = 0.0
    for own in (threshold[:, None], threshold[None, :]):
        if dialect == "reference":
            negative = ops.where(scores >= own, scores, scores - shift)
            negative = ops.where(identity > 0, ops.maximum(negative, 0.0), negative)
            push = ops.exp(negative * (1 - similarity))
        else:
            negative = scores - shift * ops.relu(own - scores)
            push = ops.exp(negative * (1 - similarity)) * (1 - identity) / 2
        total = total + ops.sum(_pair_weighted(push, sample_weight))
    return total / n**2


def intra_modal(
    codes: Tensor, similarity: Tensor, sharing: Tensor, shift: float, sample_weight: Tensor | None = None
) -> Tensor:
    """Attraction and repulsion inside one modality; beyond the paper, and of use with cleaned labels only.

    Args:
        codes: (n, bits).
        similarity: (n, n), R.
        sharing: (n, n), probability of sharing a label, or [R > 0].
        shift: float, xi.
        sample_weight: (n,) or None.

    Returns:
        Scalar > 0: 1/2 * [1/n^2 * sum_ij exp((G_ij - xi)(1 - R_ij)) + 1/n^2 * sum_{i != j} M_ij exp(xi - G_ij)], with
        G = h h^T and M the sharing.
    """
    scores = _scores(codes, codes)
    push = ops.exp((scores - shift) * (1 - similarity))
    pull = sharing * (1 - own_pairs(scores)) * ops.exp(shift - scores)
    return ops.mean(_pair_weighted(push + pull, sample_weight)) / 2


def quantization(image_codes: Tensor, text_codes: Tensor, sample_weight: Tensor | None = None) -> Tensor:
    """Distance of the continuous codes from their signs (Eq. 8).

    The paper prints the sum of |h| - 1, which is negative and would shrink the codes to 0 when minimised; its
    meaning, and the authors' code, is the mean of | |h| - 1 |.

    Args:
        image_codes: (n, bits).
        text_codes: (n, bits).
        sample_weight: (n,) or None.

    Returns:
        Scalar >= 0: mean |h1 - sign h1| + mean |h2 - sign h2|.
    """
    return ops.mean(_weighted(_gap(image_codes) + _gap(text_codes), sample_weight))


def _paired_labels(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    probabilities = ops.cast(probabilities, "float32")
    return probabilities[:, None, :], probabilities[None, :, :]


def _gap(codes: Tensor) -> Tensor:
    codes = ops.cast(codes, "float32")
    return ops.mean(ops.abs(codes - ops.sign(codes)), axis=1)


def _cross_entropy(labels: Tensor, logits: Tensor) -> Tensor:
    logits = ops.cast(logits, "float32")
    return ops.relu(logits) - logits * labels + ops.log1p(ops.exp(-ops.abs(logits)))


def _scores(image_codes: Tensor, text_codes: Tensor) -> Tensor:
    return ops.matmul(ops.cast(image_codes, "float32"), ops.transpose(ops.cast(text_codes, "float32")))


def own_pairs(scores: Tensor) -> Tensor:
    """Which pairs of a batch are a sample's own: the diagonal.

    Args:
        scores: (n, n), of which only the number of rows is read.

    Returns:
        (n, n) float32: 1 on the diagonal, else 0.
    """
    rows = ops.arange(ops.shape(scores)[0])
    return ops.cast(rows[:, None] == rows[None, :], "float32")


def _weighted(values: Tensor, sample_weight: Tensor | None) -> Tensor:
    return values if sample_weight is None else values * ops.cast(sample_weight, "float32")


def _pair_weighted(values: Tensor, sample_weight: Tensor | None) -> Tensor:
    if sample_weight is None:
        return values
    weight = ops.cast(sample_weight, "float32")
    return values * weight[:, None] * weight[None, :]


class _PairedLoss(keras.losses.Loss):
    """A loss of two paired matrices, so that it serves any Keras model that stacks them.

    `y_true` (n, C): labels, 0/1. `y_pred` (n, 2, d): image rows at [:, 0], text rows at [:, 1].
    """

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        y_pred = ops.cast(y_pred, "float32")
        if len(y_pred.shape) != 3 or y_pred.shape[1] != 2:
            raise ValueError(f"{self.name} takes y_pred of shape (n, 2, d); got {tuple(y_pred.shape)}.")
        return self.term(ops.cast(y_true, "float32"), y_pred[:, 0], y_pred[:, 1], sample_weight)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return self(y_true, y_pred)

    def term(self, labels: Tensor, image: Tensor, text: Tensor, sample_weight: Tensor | None) -> Tensor:
        raise NotImplementedError


@keras.saving.register_keras_serializable(PACKAGE)
class Classification(_PairedLoss):
    """`classification` as a Keras loss. `y_true` (n, C) labels; `y_pred` (n, 2, C) image and text logits."""

    def term(self, labels: Tensor, image: Tensor, text: Tensor, sample_weight: Tensor | None) -> Tensor:
        return classification(labels, image, text, sample_weight)


@keras.saving.register_keras_serializable(PACKAGE)
class Attraction(_PairedLoss):
    """`attraction` as a Keras loss. `y_true` (n, C) labels; `y_pred` (n, 2, bits) image and text codes.

    Args:
        shift: as in `attraction`.
        name: of the loss, in logs.
        **kwargs: of `keras.losses.Loss`.
    """

    def __init__(self, shift: float = 0.8, name: str = "attraction", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.shift = shift

    def term(self, labels: Tensor, image: Tensor, text: Tensor, sample_weight: Tensor | None) -> Tensor:
        return attraction(image, text, label_similarity(labels), self.shift, sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shift": self.shift}


@keras.saving.register_keras_serializable(PACKAGE)
class Repulsion(_PairedLoss):
    """`repulsion` as a Keras loss. `y_true` (n, C) labels; `y_pred` (n, 2, bits) image and text codes.

    Args:
        margin: as in `repulsion`.
        shift: as in `repulsion`.
        dialect: "reference" or "paper", as in `repulsion`.
        name: of the loss, in logs.
        **kwargs: of `keras.losses.Loss`.
    """

    def __init__(
        self,
        margin: float = 0.15,
        shift: float = 0.8,
        dialect: Dialect = "reference",
        name: str = "repulsion",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.dialect = one_of("dialect", dialect, get_args(Dialect))
        self.margin = number("margin", margin)
        self.shift = number("shift", shift)

    def term(self, labels: Tensor, image: Tensor, text: Tensor, sample_weight: Tensor | None) -> Tensor:
        similarity = label_similarity(labels)
        return repulsion(image, text, similarity, self.margin, self.shift, self.dialect, sample_weight)

    def get_config(self) -> dict[str, Any]:
        own = {"margin": self.margin, "shift": self.shift, "dialect": self.dialect}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(PACKAGE)
class Quantization(_PairedLoss):
    """`quantization` as a Keras loss. `y_true` is not read; `y_pred` (n, 2, bits) image and text codes."""

    def term(self, labels: Tensor, image: Tensor, text: Tensor, sample_weight: Tensor | None) -> Tensor:
        return quantization(image, text, sample_weight)
