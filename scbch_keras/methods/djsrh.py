"""DJSRH: codes that reproduce how alike the frozen features of a batch are."""

from collections.abc import Mapping
from typing import Any, Unpack

import keras
from keras import ops

from scbch_keras.arrays import Tensor
from scbch_keras.checks import number, share
from scbch_keras.data import LoaderPairs, PairDataset
from scbch_keras.hashing import CrossModalHashing
from scbch_keras.layers import unit_norm
from scbch_keras.names import PACKAGE
from scbch_keras.network import NetworkArguments


@keras.saving.register_keras_serializable(PACKAGE)
class DJSRH(CrossModalHashing):
    """Deep Joint-Semantics Reconstructing Hashing (Su, Zhong and Zhang, ICCV 2019). Labels are not read.

    The cosines of a batch's codes, between the modalities and inside each, are drawn to the joint affinity S of the
    features that come in: J = mse(cos(u, v), S) + lambda_image mse(cos(u, u), S) + lambda_text mse(cos(v, v), S).
    Codes are tanh(a z) with a slope a = sqrt(epoch), which hardens them as training goes on. Source: the authors' code
    (zs-zhong/DJSRH).

    What differs from it:

    - The branches take features, of which S is made too; the authors train an AlexNet and make S of a frozen one's.
    - Codes have unit norm behind tanh(a z), which J, made of cosines, does not see. Validation and encoding take
      a = 1: the signs are the same.
    - Adam takes the place of SGD with momentum, and incomplete batches are kept.

    S is made for features without negative values (outputs of a ReLU, counts): centred ones stretch its range.

    Args:
        bits: int >= 1, code length.
        num_classes: int >= 1, number of labels; not read.
        beta: float in [0, 1], the images' share of S; the authors': 0.9 (MIRFlickr), 0.6 (NUS-WIDE).
        eta: float in [0, 1], share of the second order in S.
        mu: float >= 0, scale of S; above 1 it draws a pair together whatever its cosine.
        lambda_image: float >= 0, weight of the image codes' own cosines.
        lambda_text: float >= 0, weight of the text codes' own cosines.
        **network: the branches, l2 and name; see `CrossModalHashing`.

    Raises:
        ValueError: beta, eta, mu, lambda_image or lambda_text out of range.
    """

    COMPARES_FEATURES = True

    def __init__(
        self,
        bits: int,
        num_classes: int,
        beta: float = 0.9,
        eta: float = 0.4,
        mu: float = 1.5,
        lambda_image: float = 0.1,
        lambda_text: float = 0.1,
        **network: Unpack[NetworkArguments],
    ) -> None:
        names = ("image_text", "image_image", "text_text")
        super().__init__(bits, num_classes, terms=names, **network)
        self.beta = share("beta", beta)
        self.eta = share("eta", eta)
        self.mu = number("mu", mu, 0)
        self.lambda_image = number("lambda_image", lambda_image, 0)
        self.lambda_text = number("lambda_text", lambda_text, 0)
        self.slope = self.add_weight(
            shape=(), initializer="ones", trainable=False, dtype="float32", autocast=False, name="slope"
        )

    def begin_epoch(self, pairs: PairDataset | LoaderPairs, epoch: int, epochs: int) -> None:
        """Set the slope of the epoch."""
        self.slope.assign((epoch + 1) ** 0.5)

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> dict[str, Tensor]:
        """Codes of the modalities in `inputs`, in training with the epoch's slope."""
        if not training:
            return super().call(inputs, training)
        return {
            name: unit_norm(ops.tanh(self.slope * branch.project(inputs[name], training)))
            for name, branch in self._branches().items()
            if name in inputs
        }

    def objective(
        self, x: Any, labels: Tensor, outputs: dict[str, Tensor], sample_weight: Tensor | None, training: bool
    ) -> Mapping[str, tuple[Any, Any]]:
        """The three terms; see `CrossModalHashing.objective`."""
        target = joint_affinity(x["image"], x["text"], self.beta, self.eta, self.mu, sample_weight)
        image, text = outputs["image"], outputs["text"]
        return {
            "image_text": (1.0, reconstruction(image, text, target, sample_weight)),
            "image_image": (self.lambda_image, reconstruction(image, image, target, sample_weight)),
            "text_text": (self.lambda_text, reconstruction(text, text, target, sample_weight)),
        }


def joint_affinity(
    image: Tensor, text: Tensor, beta: float, eta: float, mu: float, sample_weight: Tensor | None = None
) -> Tensor:
    """How alike the samples of a batch are by the features of both modalities.

    Args:
        image: (n, ...), features.
        text: (n, ...), features.
        beta: float in [0, 1], the images' share.
        eta: float in [0, 1], share of the second order.
        mu: float, scale.
        sample_weight: (n,) or None: how much a sample counts between two others.

    Returns:
        (n, n): mu [(1 - eta) S + eta S S / n], with S = beta S^1 + (1 - beta) S^2 and S^m = 2 cos(x^m, x^m) - 1; a row
        of zeros has cosine 0 with all, itself included.
    """
    joint = beta * _affinity(image) + (1 - beta) * _affinity(text)
    n = ops.cast(ops.shape(joint)[0], "float32")
    between = joint if sample_weight is None else joint * ops.cast(sample_weight, "float32")[None, :]
    return mu * ((1 - eta) * joint + eta * ops.matmul(between, joint) / n)


def reconstruction(
    first: Tensor, second: Tensor, target: Tensor, sample_weight: Tensor | None = None
) -> Tensor:
    """Mean squared difference of the codes' cosines from their target.

    Args:
        first: (n, bits), codes.
        second: (n, bits), codes.
        target: (n, n).
        sample_weight: (n,) or None; weighs a pair by the product of its two samples.

    Returns:
        Scalar >= 0: 1/n^2 * sum_ij (cos(first_i, second_j) - target_ij)^2, the diagonal included.
    """
    error = ops.square(ops.matmul(unit_norm(first), ops.transpose(unit_norm(second))) - target)
    if sample_weight is not None:
        weight = ops.cast(sample_weight, "float32")
        error = weight[:, None] * weight[None, :] * error
    return ops.mean(error)


def _affinity(features: Tensor) -> Tensor:
    flat = unit_norm(ops.reshape(features, (ops.shape(features)[0], -1)))
    return 2 * ops.matmul(flat, ops.transpose(flat)) - 1
