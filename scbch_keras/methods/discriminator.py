"""CPAH's discriminator of two modalities' features, which learns by an optimizer of its own."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from scbch_keras.arrays import Tensor

_UNITS = 64
_PENALTY = 10.0
_BETAS = (0.5, 0.9)
_DECAY = 1e-4
_NAMES = ("kernel", "bias", "out", "offset")


class Discriminator(keras.layers.Layer):
    """D: features (n, d) -> scores (n,), w . ReLU(x W + b) + c, positive for what passes for real.

    Its weights are no trainable variables of the model: `learn` moves them by Adam with betas .5 and .9 and a coupled
    weight decay of 1e-4, before the rest of the model learns.

    Args:
        rate: float > 0, learning rate.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = rate

    def build(self, input_shape: Any) -> None:
        self.width: int = input_shape[-1]
        shapes = {"kernel": (self.width, _UNITS), "bias": (_UNITS,), "out": (_UNITS, 1), "offset": (1,)}
        for name in _NAMES:
            # PyTorch's default, which the port trains from.
            limit = float(_UNITS if name in ("out", "offset") else self.width) ** -0.5
            start = keras.initializers.RandomUniform(-limit, limit)
            self._weight(name, shapes[name], start)
            for moment in ("mean", "square"):
                self._weight(f"{name}_{moment}", shapes[name], "zeros")
        self._weight("steps", (), "zeros")

    def _weight(self, name: str, shape: tuple[Any, ...], initializer: Any) -> None:
        variable = self.add_weight(shape=shape, initializer=initializer, trainable=False, name=name)
        setattr(self, f"_{name}", variable)

    @property
    def values(self) -> list[Tensor]:
        """W, b, w and c."""
        return [ops.convert_to_tensor(getattr(self, f"_{name}")) for name in _NAMES]

    def call(self, features: Tensor) -> Tensor:
        return scores(self.values, features)

    def learn(self, real: Tensor, fake: Tensor, mixed: Tensor, weight: Tensor) -> None:
        """One step on a batch, features (n, d) each, rows counting by their weight (n,)."""
        real, fake, mixed = map(ops.stop_gradient, (real, fake, mixed))
        gradients = loss_gradients(self.values, real, fake, mixed, weight)
        self._steps.assign(self._steps + 1)
        for name, gradient in zip(_NAMES, gradients, strict=True):
            variable = getattr(self, f"_{name}")
            gradient = gradient + _DECAY * variable
            moments = []
            for power, (moment, beta) in enumerate(zip(("mean", "square"), _BETAS, strict=True), 1):
                kept = getattr(self, f"_{name}_{moment}")
                kept.assign(beta * kept + (1 - beta) * gradient**power)
                moments.append(kept / (1 - beta**self._steps))
            variable.assign(variable - self.rate * moments[0] / (ops.sqrt(moments[1]) + 1e-8))


def scores(values: Sequence[Tensor], features: Tensor) -> Tensor:
    """D of features (n, d), (n,), with the weights W (d, h), b (h,), w (h, 1) and c (1,)."""
    kernel, bias, out, offset = values
    return ops.squeeze(ops.matmul(ops.relu(ops.matmul(features, kernel) + bias), out) + offset, axis=-1)


def loss(values: Sequence[Tensor], real: Tensor, fake: Tensor, mixed: Tensor, weight: Tensor) -> Tensor:
    """What the discriminator minimizes (CPAH, equation 5).

    Args:
        values: W, b, w and c.
        real: (n, d), the images' features.
        fake: (n, d), the texts'.
        mixed: (n, d), between the two.
        weight: (n,), how much a row counts.

    Returns:
        Scalar: mean softplus(-D(real)) + mean softplus(D(fake)) + 10 mean (|gradient of D at mixed| - 1)^2. D is
        linear but for a ReLU, so that its gradient is a formula.
    """
    slopes, _ = _slopes(values, mixed)
    length = ops.sqrt(ops.sum(ops.square(slopes), axis=1) + 1e-12)
    each = (
        ops.softplus(-scores(values, real))
        + ops.softplus(scores(values, fake))
        + _PENALTY * ops.square(length - 1)
    )
    return ops.mean(weight * each)


def loss_gradients(
    values: Sequence[Tensor], real: Tensor, fake: Tensor, mixed: Tensor, weight: Tensor
) -> list[Tensor]:
    """The gradient of `loss` by W, b, w and c, as a formula: the objective it is part of is being differentiated."""
    kernel, bias, out, _ = values
    weight = weight / ops.cast(ops.shape(weight)[0], "float32")
    slopes, active = _slopes(values, mixed)
    length = ops.sqrt(ops.sum(ops.square(slopes), axis=1) + 1e-12)
    pull = (2 * _PENALTY * weight * (length - 1) / length)[:, None] * slopes
    gradients = [
        ops.matmul(ops.transpose(pull), active * out[:, 0]),
        ops.zeros_like(bias),
        ops.sum(active * ops.matmul(pull, kernel), axis=0)[:, None],
        ops.zeros_like(values[3]),
    ]
    for features, sign in ((real, -1.0), (fake, 1.0)):
        before = ops.matmul(features, kernel) + bias
        of_score = sign * weight * ops.sigmoid(sign * scores(values, features))
        of_hidden = of_score[:, None] * out[:, 0] * ops.cast(before > 0, "float32")
        steps = (
            ops.matmul(ops.transpose(features), of_hidden),
            ops.sum(of_hidden, axis=0),
            ops.matmul(ops.transpose(ops.relu(before)), of_score[:, None]),
            ops.sum(of_score)[None],
        )
        gradients = [total + step for total, step in zip(gradients, steps, strict=True)]
    return gradients


def _slopes(values: Sequence[Tensor], features: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient (n, d) of D by its input, and which hidden units (n, h) are active."""
    kernel, bias, out, _ = values
    active = ops.cast(ops.matmul(features, kernel) + bias > 0, "float32")
    return ops.matmul(active * out[:, 0], ops.transpose(kernel)), active
