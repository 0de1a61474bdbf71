"""Noise-Robust Cross-modal Hashing: its class and the terms of its loss."""

from collections.abc import Mapping
from typing import Any, Unpack

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from scbch_keras.arrays import Tensor
from scbch_keras.checks import number, share
from scbch_keras.hashing import CrossModalHashing
from scbch_keras.layers import ConceptClassifier
from scbch_keras.losses import own_pairs
from scbch_keras.methods.batch_terms import by_block, cross_entropy, lowered, shares_label, weights
from scbch_keras.methods.mixture import lower_component
from scbch_keras.names import PACKAGE
from scbch_keras.network import NetworkArguments


@keras.saving.register_keras_serializable(PACKAGE)
class NRCH(CrossModalHashing):
    """Robust Contrastive Cross-modal Hashing with Noisy Labels (Wang et al., ACM MM 2024).

    L = alpha L_r + (1 - alpha) Q + L_w on the samples that pass for clean. L_r attracts a sample's own pair alone and
    repels those that share no label (robust contrastive hashing); Q draws magnitudes to 1 / sqrt(bits); L_w teaches
    class centers to predict the labels from the codes, which get no gradient of it. The dynamic noise separator: as
    an epoch begins, the largest error of L_w among each sample's labels, scaled to [0, 1], is modelled by two
    Gaussians; a sample passes whose probability to be of the lower one is at least `threshold`. Its confidence is
    1, that of the others 0. Source: the authors' code (LonganWANG-cs/NRCH).

    What differs from it:

    - The code takes the image anchors' negatives in both halves of L_r; here a text anchor has its own.
    - The code applies tanh to the codes, already of unit norm, once more for L_r and Q; left out.
    - The mixture starts from two means without chance, in place of k-means++.
    - Adam takes the place of RMSprop at 1e-5.

    Args:
        bits: int >= 1, code length.
        num_classes: int >= 1, number of labels.
        alpha: float in [0, 1], share of L_r, lambda in the code.
        margin: float >= 0: how close to the own pair's score a negative is hard.
        shift: float >= 0, by which the scores of easy negatives are lowered.
        threshold: float in [0, 1], the lowest probability of being clean that passes.
        warmup_epochs: int >= 0, first epochs with all samples; the authors': 19 of 100. With so few steps that the
            centers have hardly moved, the separator's choice is close to chance.
        selection: whether the separator chooses at all; False trains on all samples.
        **network: the branches, l2 and name; see `CrossModalHashing`.

    Raises:
        ValueError: alpha, margin, shift, threshold or warmup_epochs out of range.
    """

    def __init__(
        self,
        bits: int,
        num_classes: int,
        alpha: float = 0.6,
        margin: float = 0.2,
        shift: float = 1.0,
        threshold: float = 0.3,
        warmup_epochs: int = 19,
        selection: bool = True,
        **network: Unpack[NetworkArguments],
    ) -> None:
        super().__init__(
            bits,
            num_classes,
            terms=("contrast", "quantization", "centers"),
            confidence_weighting=selection,
            warmup_epochs=warmup_epochs,
            **network,
        )
        self.alpha = share("alpha", alpha)
        self.margin = number("margin", margin, 0)
        self.shift = number("shift", shift, 0)
        self.threshold = share("threshold", threshold)
        self.selection = selection
        self.centers = ConceptClassifier(num_classes, name="centers")

    def build_heads(self, modality: str) -> None:
        """Build the class centers, which both modalities have in common."""
        if not self.centers.built:
            self.centers.build((None, self.bits))

    def objective(
        self, x: Any, labels: Tensor, outputs: dict[str, Tensor], sample_weight: Tensor | None, training: bool
    ) -> Mapping[str, tuple[Any, Any]]:
        """The terms over the samples that pass; see `CrossModalHashing.objective`."""
        image, text = outputs["image"], outputs["text"]
        weight, share = sample_weight, 1.0
        if training and self.selection:
            passing = self.confidence_of(x)
            weight = passing if sample_weight is None else passing * sample_weight
            # Means over those that pass, as in a batch of them alone.
            share = ops.maximum(ops.mean(passing), 1e-6)
        contrast = robust_contrast(image, text, shares_label(labels), self.margin, self.shift, weight)
        errors = ops.mean(center_errors(labels, image, text, self._centers()), axis=1)
        return {
            "contrast": (self.alpha, contrast / share),
            "quantization": (1 - self.alpha, magnitude_gap(image, text, weight) / share),
            "centers": (1.0, ops.mean(errors if weight is None else weight * errors) / share),
        }

    def _centers(self) -> Tensor:
        return ops.tanh(self.centers.kernel)

    def weights_of(
        self, labels: NDArray[Any], image_codes: NDArray[Any], text_codes: NDArray[Any]
    ) -> NDArray[np.floating]:
        """The dynamic noise separator: (n,), 1 for samples that pass and 0 for the others."""
        centers = self._centers()
        largest = by_block(
            lambda labels, image, text: ops.max(labels * center_errors(labels, image, text, centers), axis=1),
            labels,
            image_codes,
            text_codes,
        )
        scaled = (largest - largest.min() + 1e-8) / (largest.max() - largest.min() + 1e-8)
        return (lower_component(scaled) >= self.threshold).astype("float32")


def robust_contrast(
    image_codes: Tensor,
    text_codes: Tensor,
    sharing: Tensor,
    margin: float,
    shift: float,
    sample_weight: Tensor | None = None,
) -> Tensor:
    """Only a sample's own pair attracts, and only samples that share no label repel (NRCH).

    Args:
        image_codes: (n, bits), unit norm.
        text_codes: (n, bits), unit norm.
        sharing: (n, n), 0/1; the diagonal is not read.
        margin: float: how close to the own pair's score a negative is hard.
        shift: float, by which the scores of the other negatives are lowered.
        sample_weight: (n,) or None.

    Returns:
        Scalar: the sum over both directions of 1/n * sum_i margin - S_ii + log(exp(max(S_ii, 0)) +
        sum_{j != i} exp((1 - sharing_ij) N_ij)), with N as in `cross_modal_ranking`.
    """
    scores = ops.matmul(image_codes, ops.transpose(text_codes))
    identity = own_pairs(scores)
    total = 0.0
    for anchored in (scores, ops.transpose(scores)):
        negatives = (1 - identity) * (1 - sharing) * lowered(anchored, margin, shift)
        logits = negatives + identity * ops.relu(anchored)
        total = total + cross_entropy(logits, sample_weight, margin, ops.diagonal(anchored))
    return total


def magnitude_gap(image_codes: Tensor, text_codes: Tensor, sample_weight: Tensor | None = None) -> Tensor:
    """Distance of the codes' magnitudes from those of a binary code of unit norm (NRCH).

    Args:
        image_codes: (n, bits), unit norm.
        text_codes: (n, bits), unit norm.
        sample_weight: (n,) or None.

    Returns:
        Scalar >= 0: the sum over both modalities of the mean of (|h| - 1 / sqrt(bits))^2.
    """
    weight, _ = weights(image_codes, sample_weight)
    target = image_codes.shape[1] ** -0.5
    gaps = [ops.mean(ops.square(ops.abs(codes) - target), axis=1) for codes in (image_codes, text_codes)]
    return ops.mean(weight * sum(gaps))


def center_errors(labels: Tensor, image_codes: Tensor, text_codes: Tensor, centers: Tensor) -> Tensor:
    """Squared error of each label predicted by the codes' products with the class centers (NRCH).

    No gradient flows into the codes.

    Args:
        labels: (n, C), 0/1.
        image_codes: (n, bits).
        text_codes: (n, bits).
        centers: (bits, C).

    Returns:
        (n, C) >= 0: (2y - 1 - h^1 . c)^2 + (2y - 1 - h^2 . c)^2.
    """
    signs = 2 * ops.cast(labels, "float32") - 1
    return sum(
        ops.square(signs - ops.matmul(ops.stop_gradient(codes), centers))
        for codes in (image_codes, text_codes)
    )
