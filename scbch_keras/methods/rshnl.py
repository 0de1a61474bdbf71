"""Robust Self-paced Hashing with Noisy Labels: its class and the terms of its loss."""

from collections.abc import Mapping
from typing import Any, Unpack

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from scbch_keras.arrays import Tensor
from scbch_keras.checks import number, share, widths
from scbch_keras.hashing import CrossModalHashing
from scbch_keras.layers import HashBranch
from scbch_keras.losses import own_pairs
from scbch_keras.methods.batch_terms import EXCLUDED, by_block, weights
from scbch_keras.names import PACKAGE
from scbch_keras.network import NetworkArguments


@keras.saving.register_keras_serializable(PACKAGE)
class RSHNL(CrossModalHashing):
    """Robust Self-Paced Hashing for Cross-Modal Retrieval with Noisy Labels (Pu et al., AAAI 2025).

    L = 1/n sum_i w_i l_i + alpha L_c. L_c is contrastive hashing learning: each code finds its pair's other one in
    the batch. l_i is center aggregation learning: the probability of the sample's labels by its codes' products with
    learned class centers; both with a robust loss between cross-entropy and mean absolute error (q). Noise-tolerance
    self-paced hashing: w_i = max(0, 1 - l_i / gamma) after warm-up, so that a sample too hard to be clean has
    weight 0. Source: the authors' code (perquisite/RSHNL).

    What differs from it:

    - w is taken of the whole training set as an epoch begins; the code takes it of each batch.
    - The self-paced regularizer gamma (w^2 / 2 - w), a constant to the branches, is left out of the value.
    - The data sets of the code have one label a sample. Its formula adds up the probabilities of several labels, so
      that a sample with many is an easy one; kept. A sample without labels, which it does not know, has l = 0.

    Args:
        bits: int >= 1, code length.
        num_classes: int >= 1, number of labels.
        alpha: float >= 0, weight of L_c. The code's comments have 0.05, 0.1, 0.3 and 0.05 for its four data sets.
        gamma: float > 0, the pace: the loss l from which on a sample counts nothing; the code's comments have 3, 5,
            8 and 9. Untrained centers give about 2 log(C / number of labels); a logged `confidence` of 0 says that the
            pace lets no sample in.
        q: float in (0, 1], of the robust loss.
        temperature: float > 0, of L_c.
        warmup_epochs: int >= 0, first epochs with w = 1.
        center_units: widths of the network that makes the centers from the classes.
        **network: the branches, l2 and name; see `CrossModalHashing`.

    Raises:
        ValueError: alpha, gamma, q, temperature, warmup_epochs or center_units out of range.
    """

    def __init__(
        self,
        bits: int,
        num_classes: int,
        alpha: float = 0.05,
        gamma: float = 4.0,
        q: float = 0.01,
        temperature: float = 1.0,
        warmup_epochs: int = 5,
        center_units: tuple[int, ...] = (4096, 4096),
        **network: Unpack[NetworkArguments],
    ) -> None:
        super().__init__(
            bits,
            num_classes,
            terms=("aggregation", "contrast"),
            confidence_weighting=True,
            warmup_epochs=warmup_epochs,
            **network,
        )
        self.alpha = number("alpha", alpha, 0)
        self.gamma = number("gamma", gamma, 0, above=True)
        self.q = share("q", q, above=True)
        self.temperature = number("temperature", temperature, 0, above=True)
        self.center_units = widths("center_units", center_units)
        self.centers = HashBranch(bits, self.center_units, name="centers", dtype=self.dtype_policy)

    def build_heads(self, modality: str) -> None:
        """Build the network of the class centers, which both modalities have in common."""
        if not self.centers.built:
            self.centers.build((None, self.num_classes))

    def objective(
        self, x: Any, labels: Tensor, outputs: dict[str, Tensor], sample_weight: Tensor | None, training: bool
    ) -> Mapping[str, tuple[Any, Any]]:
        """The two terms; see `CrossModalHashing.objective`."""
        image, text = outputs["image"], outputs["text"]
        aggregation = center_aggregation(labels, image, text, self._centers(), self.q)
        if sample_weight is not None:
            aggregation = sample_weight * aggregation
        if training:
            aggregation = self.confidence_of(x) * aggregation
        contrast = pair_contrast(image, text, self.temperature, self.q, sample_weight)
        return {"aggregation": (1.0, ops.mean(aggregation)), "contrast": (self.alpha, contrast)}

    def _centers(self) -> Tensor:
        """(C, bits), unit norm."""
        return self.centers(ops.eye(self.num_classes))

    def weights_of(
        self, labels: NDArray[Any], image_codes: NDArray[Any], text_codes: NDArray[Any]
    ) -> NDArray[np.floating]:
        """The self-paced weights w: (n,), in [0, 1]."""
        centers = self._centers()
        difficulty = by_block(
            lambda labels, image, text: center_aggregation(labels, image, text, centers, self.q),
            labels,
            image_codes,
            text_codes,
        )
        return np.maximum(0, 1 - difficulty / self.gamma)


def pair_contrast(
    image_codes: Tensor, text_codes: Tensor, temperature: float, q: float, sample_weight: Tensor | None = None
) -> Tensor:
    """Each of the 2n codes of a batch finds the other one of its pair, by the robust loss (RSHNL).

    Args:
        image_codes: (n, bits), unit norm.
        text_codes: (n, bits), unit norm.
        temperature: float > 0.
        q: float in (0, 1]; see `robust_loss`.
        sample_weight: (n,) or None.

    Returns:
        Scalar >= 0: 1/n * sum_i l(p_i), over all 2n codes, p_i being the softmax of h_i . h_j / temperature over the
        2n - 1 others at the other code of the pair.
    """
    codes = ops.concatenate([image_codes, text_codes])
    weight, log_weight = (ops.tile(values, [2]) for values in weights(image_codes, sample_weight))
    logits = ops.matmul(codes, ops.transpose(codes)) / temperature + log_weight[None, :]
    logits = logits + EXCLUDED * own_pairs(logits)
    own = ops.tile(ops.sum(image_codes * text_codes, axis=1), [2]) / temperature + log_weight
    return 2 * ops.mean(weight * robust_loss(own - ops.logsumexp(logits, axis=1), q))


def center_aggregation(
    labels: Tensor, image_codes: Tensor, text_codes: Tensor, centers: Tensor, q: float
) -> Tensor:
    """How far a sample's two codes are from the centers of its labels (RSHNL).

    Args:
        labels: (n, C), 0/1.
        image_codes: (n, bits), unit norm.
        text_codes: (n, bits), unit norm.
        centers: (C, bits), unit norm.
        q: float in (0, 1]; see `robust_loss`.

    Returns:
        (n,) >= 0: l(p^1) + l(p^2), p being the sum over the sample's labels of softmax_c(h . center_c); 0 for a
        sample without labels.
    """
    labels = ops.cast(labels, "float32")
    absent = EXCLUDED * (1 - labels)
    labelled = ops.max(labels, axis=1)
    total = 0.0
    for codes in (image_codes, text_codes):
        logits = ops.matmul(codes, ops.transpose(centers))
        log_p = ops.logsumexp(logits + absent, axis=1) - ops.logsumexp(logits, axis=1)
        total = total + labelled * robust_loss(log_p, q)
    return total


def robust_loss(log_p: Tensor, q: float) -> Tensor:
    """(1 - q) (1 - p^q) / q + q (1 - p): from nearly -log p (q near 0) to 1 - p (q = 1), as RSHNL has it.

    Args:
        log_p: logarithm of the probability p of what is right, any shape.
        q: float in (0, 1].

    Returns:
        The loss, >= 0, of the same shape.
    """
    return (1 - q) * (1 - ops.exp(q * log_p)) / q + q * (1 - ops.exp(log_p))
