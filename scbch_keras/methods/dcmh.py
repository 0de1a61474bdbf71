"""Deep Cross-Modal Hashing: its class and the terms of its loss."""

from collections.abc import Mapping
from typing import Any, Unpack

import keras
from keras import ops

from scbch_keras.arrays import Tensor
from scbch_keras.checks import number
from scbch_keras.hashing import CrossModalHashing
from scbch_keras.methods.batch_terms import shares_label, weights
from scbch_keras.names import PACKAGE
from scbch_keras.network import NetworkArguments


@keras.saving.register_keras_serializable(PACKAGE)
class DCMH(CrossModalHashing):
    """Deep Cross-Modal Hashing (Jiang and Li, CVPR 2017), supervised, without a defence against wrong labels.

    J = sum_ij [log(1 + exp(Theta_ij)) - S_ij Theta_ij] + gamma (|B - F|^2 + |B - G|^2) + eta (|F 1|^2 + |G 1|^2)
    with Theta = F G^T / 2, S_ij = 1 where two samples share a label, and B = sign(F + G). Source: the authors'
    code (jiangqy/DCMH-CVPR2017).

    What differs from it:

    - A batch stands for the training set, and J is divided by n^2. The authors keep F, G and B of all N samples,
      compare a batch with all of them, and divide by n N: their quantization has n / N of the weight it has here.
    - Both branches learn in one step. The authors alternate: image branch, text branch, then B.
    - F and G are sqrt(bits) times the branches' codes of unit norm, so that their values are near -1 and 1; the
      authors' are linear outputs without a norm.
    - The branches take features; the authors train a CNN-F on pictures. Adam takes the place of plain SGD.

    Args:
        bits: int >= 1, code length.
        num_classes: int >= 1, number of labels.
        gamma: float >= 0, weight of quantization.
        eta: float >= 0, weight of bit balance. The authors' 1 needs their many steps: in a few hundred, the balance
            draws the codes to 0 before the likelihood has grown, and nothing is learned; 0.01 does not.
        **network: the branches, l2 and name; see `CrossModalHashing`.

    Raises:
        ValueError: gamma or eta out of range.
    """

    def __init__(
        self,
        bits: int,
        num_classes: int,
        gamma: float = 1.0,
        eta: float = 1.0,
        **network: Unpack[NetworkArguments],
    ) -> None:
        names = ("likelihood", "quantization", "balance")
        super().__init__(bits, num_classes, terms=names, **network)
        self.gamma = number("gamma", gamma, 0)
        self.eta = number("eta", eta, 0)

    def objective(
        self, x: Any, labels: Tensor, outputs: dict[str, Tensor], sample_weight: Tensor | None, training: bool
    ) -> Mapping[str, tuple[Any, Any]]:
        """The terms of J; see `CrossModalHashing.objective`."""
        image, text = (self.bits**0.5 * outputs[name] for name in ("image", "text"))
        likelihood = pairwise_likelihood(image, text, shares_label(labels), sample_weight)
        return {
            "likelihood": (1.0, likelihood),
            "quantization": (self.gamma, unified_quantization(image, text, sample_weight)),
            "balance": (self.eta, bit_balance(image, text, sample_weight)),
        }


def pairwise_likelihood(
    image_codes: Tensor, text_codes: Tensor, sharing: Tensor, sample_weight: Tensor | None = None
) -> Tensor:
    """Negative log-likelihood of which pairs share a label (DCMH).

    Args:
        image_codes: (n, bits), F, of values near -1 and 1.
        text_codes: (n, bits), G.
        sharing: (n, n), 0/1, S.
        sample_weight: (n,) or None.

    Returns:
        Scalar > 0: 1/n^2 * sum_ij log(1 + exp(Theta_ij)) - S_ij Theta_ij, with Theta = F G^T / 2.
    """
    weight, _ = weights(image_codes, sample_weight)
    theta = ops.matmul(image_codes, ops.transpose(text_codes)) / 2
    return ops.mean(weight[:, None] * weight[None, :] * (ops.softplus(theta) - sharing * theta))


def unified_quantization(
    image_codes: Tensor, text_codes: Tensor, sample_weight: Tensor | None = None
) -> Tensor:
    """Distance of both modalities' codes from one binary code, B = sign(F + G) (DCMH).

    No gradient flows through B.

    Args:
        image_codes: (n, bits), F, of values near -1 and 1.
        text_codes: (n, bits), G.
        sample_weight: (n,) or None.

    Returns:
        Scalar >= 0: 1/n^2 * sum_i |B_i - F_i|^2 + |B_i - G_i|^2.
    """
    weight, _ = weights(image_codes, sample_weight)
    binary = ops.where(image_codes + text_codes > 0, 1.0, -1.0)
    distance = ops.square(binary - image_codes) + ops.square(binary - text_codes)
    return ops.mean(weight * ops.sum(distance, axis=1)) / ops.cast(ops.shape(image_codes)[0], "float32")


def bit_balance(image_codes: Tensor, text_codes: Tensor, sample_weight: Tensor | None = None) -> Tensor:
    """How far each bit is from being as often 1 as -1 (DCMH).

    Args:
        image_codes: (n, bits), F.
        text_codes: (n, bits), G.
        sample_weight: (n,) or None.

    Returns:
        Scalar >= 0: 1/n^2 * (|sum_i F_i|^2 + |sum_i G_i|^2).
    """
    weight, _ = weights(image_codes, sample_weight)
    means = [ops.mean(weight[:, None] * codes, axis=0) for codes in (image_codes, text_codes)]
    return sum(ops.sum(ops.square(mean)) for mean in means)
