"""InfoNCE on hash codes: its class and the terms of its loss."""

from collections.abc import Mapping
from typing import Any, Unpack

import keras
from keras import ops

from scbch_keras.arrays import Tensor
from scbch_keras.checks import number
from scbch_keras.hashing import CrossModalHashing
from scbch_keras.losses import quantization
from scbch_keras.methods.batch_terms import cross_entropy
from scbch_keras.names import PACKAGE
from scbch_keras.network import NetworkArguments


@keras.saving.register_keras_serializable(PACKAGE)
class InfoNCE(CrossModalHashing):
    """The symmetric contrastive loss of CLIP (Radford et al., Learning Transferable Visual Models From Natural
    Language Supervision, ICML 2021, Fig. 3), and the quantization term of SCBCH. Labels are not read.

    L = L_nce + beta Q. What differs from CLIP: quantization is added, since codes are wanted; the temperature is
    fixed at what CLIP's, which is learned, starts from.

    Args:
        bits: int >= 1, code length.
        num_classes: int >= 1, number of labels.
        temperature: float > 0.
        beta: float >= 0, weight of quantization.
        **network: the branches, l2 and name; see `CrossModalHashing`.

    Raises:
        ValueError: temperature or beta out of range.
    """

    def __init__(
        self,
        bits: int,
        num_classes: int,
        temperature: float = 0.07,
        beta: float = 0.3,
        **network: Unpack[NetworkArguments],
    ) -> None:
        names = ("contrast", "quantization")
        super().__init__(bits, num_classes, terms=names, **network)
        self.temperature = number("temperature", temperature, 0, above=True)
        self.beta = number("beta", beta, 0)

    def objective(
        self, x: Any, labels: Tensor, outputs: dict[str, Tensor], sample_weight: Tensor | None, training: bool
    ) -> Mapping[str, tuple[Any, Any]]:
        """The two terms; see `CrossModalHashing.objective`."""
        image, text = outputs["image"], outputs["text"]
        return {
            "contrast": (1.0, info_nce(image, text, self.temperature, sample_weight)),
            "quantization": (self.beta, quantization(image, text, sample_weight)),
        }


def info_nce(
    image_codes: Tensor, text_codes: Tensor, temperature: float, sample_weight: Tensor | None = None
) -> Tensor:
    """Symmetric cross-entropy over a batch: which text belongs to an image, and which image to a text (CLIP).

    Args:
        image_codes: (n, bits), unit norm.
        text_codes: (n, bits), unit norm.
        temperature: float > 0.
        sample_weight: (n,) or None.

    Returns:
        Scalar > 0: 1/2 the sum over both directions of 1/n * sum_i -log softmax_j(S_ij / temperature) at j = i.
    """
    logits = ops.matmul(image_codes, ops.transpose(text_codes)) / temperature
    directions = (logits, ops.transpose(logits))
    return sum(cross_entropy(anchored, sample_weight) for anchored in directions) / 2
