"""NACD: a confidence for each given label, that the classifiers and the neighbours lower where it is redundant."""

from collections.abc import Mapping
from typing import Any, Unpack

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from scbch_keras.arrays import Tensor
from scbch_keras.checks import check_neighbors, number, share, whole
from scbch_keras.confidence import neighbor_labels
from scbch_keras.data import LoaderPairs, PairDataset
from scbch_keras.hashing import CrossModalHashing
from scbch_keras.layers import ConceptClassifier
from scbch_keras.losses import classification, label_similarity, own_pairs, quantization
from scbch_keras.names import PACKAGE
from scbch_keras.network import NetworkArguments
from scbch_keras.sample_state import sample_rows, sample_variable, stored_variable, write_rows

# The share of a label's old confidence that a step keeps, in the first epoch and towards the last.
_KEPT = (0.95, 0.8)


@keras.saving.register_keras_serializable(PACKAGE)
class NACD(CrossModalHashing):
    """Neighbor-aware Contrastive Disambiguation (Su et al., NeurIPS 2025), for labels some of which are redundant.

    Each given label of each sample has a confidence p, at first 1; a label that is not given has 0 and keeps it, so
    that labels which are missing stay missing. The classifiers learn p; labels with p at least their class' threshold
    are pseudo labels, T their Jaccard similarity:

    L = BCE(z, p) + alpha [mean [T = 0] (exp N^12 + exp N^21) + mean [T > 0] exp(-S - T) - mean S_ii] + beta Q.

    Each step draws its samples' p to the classifiers' z. As an epoch begins, once the warm-up and one epoch more are
    over, p is drawn to the neighbours' p by `revision`, and the thresholds, at first 1/2, become the classes' means of
    the p that are not 0. Source: the authors' code (Rose-bud/NACD).

    What differs from it: Adam takes the place of RMSprop at 1e-5. The paper's data have redundant labels alone; of
    mixed noise the method can undo the added labels only.

    Args:
        bits: int >= 1, code length.
        num_classes: int >= 1, number of labels.
        margin: float >= 0: how close to the own pair's score a negative is hard.
        shift: float >= 0, by which the scores of easy negatives are lowered.
        alpha: float >= 0, weight of the contrast.
        beta: float >= 0, weight of quantization.
        revision: float in [0, 1], lambda: the neighbours' share in the confidence that an epoch begins with.
        neighbors: int >= 1, k; training needs at least k + 1 samples.
        warmup_epochs: int >= 0, first epochs without the neighbours; the authors': 10 of 100.
        **network: the branches, l2 and name; see `CrossModalHashing`.

    Raises:
        ValueError: margin, shift, alpha, beta, revision, neighbors or warmup_epochs out of range.
    """

    def __init__(
        self,
        bits: int,
        num_classes: int,
        margin: float = 0.2,
        shift: float = 1.0,
        alpha: float = 0.3,
        beta: float = 0.7,
        revision: float = 0.2,
        neighbors: int = 20,
        warmup_epochs: int = 10,
        **network: Unpack[NetworkArguments],
    ) -> None:
        super().__init__(
            bits,
            num_classes,
            terms=("classification", "contrast", "quantization"),
            warmup_epochs=warmup_epochs,
            **network,
        )
        self.margin = number("margin", margin, 0)
        self.shift = number("shift", shift, 0)
        self.alpha = number("alpha", alpha, 0)
        self.beta = number("beta", beta, 0)
        self.revision = share("revision", revision)
        self.neighbors = whole("neighbors", neighbors, 1)
        self.image_classifier = ConceptClassifier(num_classes, name="image_classifier")
        self.text_classifier = ConceptClassifier(num_classes, name="text_classifier")
        plain = {"trainable": False, "dtype": "float32", "autocast": False}
        self.threshold = self.add_weight(shape=(num_classes,), initializer="zeros", name="threshold", **plain)
        self.kept = self.add_weight(shape=(), initializer="zeros", name="kept", **plain)
        # p, (N, C) once fit knows N.
        self.label_confidence: Any = None

    def build_heads(self, modality: str) -> None:
        """Build the label classifier of a modality."""
        getattr(self, f"{modality}_classifier").build((None, self.bits))

    @property
    def needs_index(self) -> bool:
        """Whether training reads the samples' rows: their labels' confidence is kept by them."""
        return True

    def check_training_set(self, pairs: PairDataset | LoaderPairs) -> None:
        """Raise ValueError for labels of another width, or too few samples for `neighbors`."""
        super().check_training_set(pairs)
        check_neighbors(self.neighbors, pairs.num_samples)

    def _prepare(self, pairs: PairDataset | LoaderPairs) -> None:
        super()._prepare(pairs)
        before, shape = self.label_confidence, (pairs.num_samples, self.num_classes)
        self.label_confidence = sample_variable(self, before, shape, "label_confidence")
        if self.label_confidence is not before:
            self._trust_all(pairs)

    def _trust_all(self, pairs: PairDataset | LoaderPairs) -> None:
        self.label_confidence.assign(np.asarray(pairs.labels, "float32"))
        self.threshold.assign(np.full(self.num_classes, 0.5, "float32"))

    def reads_codes(self, epoch: int) -> bool:
        """After the first epoch and the warm-up: the confidence is revised by the neighbours."""
        return epoch > self.warmup_epochs

    def begin_epoch(self, pairs: PairDataset | LoaderPairs, epoch: int, epochs: int) -> None:
        """Revise the confidence by the neighbours; set the class thresholds and how much the steps keep."""
        if epoch == 0:
            self._trust_all(pairs)
        elif self.reads_codes(epoch):
            confidence = ops.convert_to_numpy(self.label_confidence)
            confidence = revise(
                *self.codes_of(pairs), pairs.labels, confidence, self.neighbors, self.revision
            )
            self.label_confidence.assign(confidence)
            self.threshold.assign(class_thresholds(confidence))
        first, last = _KEPT
        self.kept.assign(first + (last - first) * epoch / epochs)

    def objective(
        self, x: Any, labels: Tensor, outputs: dict[str, Tensor], sample_weight: Tensor | None, training: bool
    ) -> Mapping[str, tuple[Any, Any]]:
        """The three terms; see `CrossModalHashing.objective`. Validation trusts all labels."""
        image, text = outputs["image"], outputs["text"]
        logits = self.image_classifier(image), self.text_classifier(text)
        confidence = pseudo_labels = labels
        if training:
            rows = sample_rows(self.label_confidence, x)
            confidence = ops.take(self.label_confidence, rows[:, 0], axis=0)
            pseudo_labels = labels * ops.cast(confidence >= self.threshold[None, :], "float32")
            predicted = sum(ops.sigmoid(of_modality) for of_modality in logits) / 2
            write_rows(
                self.label_confidence,
                rows,
                labels * (self.kept * confidence + (1 - self.kept) * predicted),
            )
        similarity = label_similarity(pseudo_labels)
        contrast = disambiguated_contrast(image, text, similarity, self.margin, self.shift, sample_weight)
        return {
            "classification": (1.0, classification(confidence, *logits, sample_weight)),
            "contrast": (self.alpha, contrast),
            "quantization": (self.beta, quantization(image, text, sample_weight)),
        }

    def save_own_variables(self, store: Any) -> None:
        """The labels' confidence, without which training cannot go on where it was."""
        if self.label_confidence is not None:
            store["label_confidence"] = ops.convert_to_numpy(self.label_confidence)
            store["threshold"] = ops.convert_to_numpy(self.threshold)

    def load_own_variables(self, store: Any) -> None:
        """See `save_own_variables`."""
        if "label_confidence" in store:
            self.label_confidence = stored_variable(self, store, "label_confidence")
            self.threshold.assign(np.asarray(store["threshold"]))


def disambiguated_contrast(
    image_codes: Tensor,
    text_codes: Tensor,
    similarity: Tensor,
    margin: float,
    shift: float,
    sample_weight: Tensor | None = None,
) -> Tensor:
    """Pairs that share a pseudo label attract, all others repel, hard ones most; own pairs attract.

    Args:
        image_codes: (n, bits), unit norm.
        text_codes: (n, bits), unit norm.
        similarity: (n, n), T, of the pseudo labels; the diagonal is not read.
        margin: float: how close to the own pair's score a negative is hard.
        shift: float, by which the scores of the other negatives are lowered.
        sample_weight: (n,) or None; weighs a pair by the product of its two samples.

    Returns:
        Scalar: 1/n^2 * sum_{i != j} ([T = 0] (exp N^12 + exp N^21) + [T > 0] exp(-S - T)) - 1/n * sum_i S_ii, with
        N = S where S is at least the anchor's own less the margin (an image's along the row, a text's along the
        column) and S - shift elsewhere, without a gradient through the comparison.
    """
    scores = ops.matmul(image_codes, ops.transpose(text_codes))
    own = ops.diagonal(scores)
    sharing = ops.cast(similarity > 0, "float32")
    pairs = sharing * ops.exp(-scores - similarity)
    for anchor in (own[:, None], own[None, :]):
        lowered = ops.where(scores >= anchor - margin, scores, scores - shift)
        pairs = pairs + (1 - sharing) * ops.exp(lowered)
    pairs = pairs * (1 - own_pairs(scores))
    if sample_weight is not None:
        weight = ops.cast(sample_weight, "float32")
        pairs, own = weight[:, None] * weight[None, :] * pairs, weight * own
    return ops.mean(pairs) - ops.mean(own)


def revise(
    image_codes: NDArray[Any],
    text_codes: NDArray[Any],
    labels: NDArray[Any],
    confidence: NDArray[Any],
    neighbors: int,
    revision: float,
) -> Any:
    """The confidence of given labels, drawn to that of the nearest samples by both modalities' codes.

    Args:
        image_codes: (N, bits).
        text_codes: (N, bits).
        labels: (N, C), 0/1, as given.
        confidence: (N, C), in [0, 1].
        neighbors: int, k.
        revision: float in [0, 1], the neighbours' share.

    Returns:
        (N, C): revision * y * (the neighbours' confidence, by similarity) + (1 - revision) * confidence.
    """
    around = neighbor_labels(image_codes, text_codes, confidence, neighbors)
    return revision * labels * around + (1 - revision) * confidence


def class_thresholds(confidence: NDArray[Any]) -> Any:
    """The mean of each class' confidence (N, C) that is greater than 0: (C,), 0 where there is none."""
    positive = confidence > 0
    return (confidence * positive).sum(axis=0) / np.maximum(positive.sum(axis=0), 1)
