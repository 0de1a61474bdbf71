"""The network of CIRH's teacher: joint codes of a batch's images and texts, by the graph of their affinity."""

from typing import Any

import keras
from keras import ops

from scbch_keras.arrays import Tensor
from scbch_keras.layers import unit_norm
from scbch_keras.losses import own_pairs

_KEPT, _NEAR, _FAR = 0.7, 0.2, 0.1
"""Of a sample's features, and of those of its second and third neighbour, in what the teacher sees."""


class GraphTeacher(keras.layers.Layer):
    """Codes (n, bits) of a batch from both modalities' features and their affinity (n, n).

    V^m = ReLU(BN(x^m W)), rows of length 1; Z^m = ReLU(BN(A V^m W)); J the sum of both halves of
    BN([[A, I], [I, A]] [V^1; V^2] W), with ReLU; the images' code BN([Z^1, J] W), the joint one BN(J W) and the texts'
    BN([J, Z^2] W), all three made into tanh(BN([...] W)); and decoders of both modalities from the sum of the joint
    code and tanh of their own.

    Args:
        bits: int >= 1, code length.
        units: int >= 1, width of the layers.
    """

    def __init__(self, bits: int, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bits = bits
        self.units = units

    def build(self, widths: dict[str, int]) -> None:
        """Build for features of these widths, by "image" and "text"."""
        bits, units = self.bits, self.units
        for name, width in widths.items():
            setattr(self, f"{name}_input", _Normed(width, units, dtype=self.dtype_policy))
            setattr(self, f"{name}_graph", _Normed(units, units, dtype=self.dtype_policy))
            setattr(self, f"{name}_code", _Normed(2 * units, bits, dtype=self.dtype_policy))
            setattr(self, f"{name}_decoder", _Normed(bits, units, dtype=self.dtype_policy))
            setattr(self, f"{name}_output", _Normed(units, width, dtype=self.dtype_policy))
        self.joint_graph = _Normed(units, units, dtype=self.dtype_policy)
        self.joint_code = _Normed(units, bits, dtype=self.dtype_policy)
        self.fusion = _Normed(3 * bits, bits, dtype=self.dtype_policy)
        self.built = True

    def call(
        self, features: dict[str, Tensor], affinity: Tensor, training: bool = False
    ) -> dict[str, Tensor]:
        """The teacher's view of a batch.

        Args:
            features: (n, d) by "image" and "text".
            affinity: (n, n), A.
            training: whether the batch's own means and variances normalize.

        Returns:
            Codes (n, bits) by "image", "text" and "joint", the last in [-1, 1], and features decoded from them by
            "image_decoded" and "text_decoded".
        """
        seen = {
            name: unit_norm(ops.relu(getattr(self, f"{name}_input")(values, training=training)))
            for name, values in features.items()
        }
        own = {
            name: ops.relu(getattr(self, f"{name}_graph")(values, affinity, training=training))
            for name, values in seen.items()
        }
        n = ops.shape(affinity)[0]
        identity = own_pairs(affinity)
        both = ops.concatenate(
            [ops.concatenate([affinity, identity], axis=1), ops.concatenate([identity, affinity], axis=1)]
        )
        stacked = self.joint_graph(ops.concatenate([seen["image"], seen["text"]]), both, training=training)
        joined = ops.relu(stacked[:n] + stacked[n:])
        image = self.image_code(ops.concatenate([own["image"], joined], axis=1), training=training)
        text = self.text_code(ops.concatenate([joined, own["text"]], axis=1), training=training)
        between = self.joint_code(joined, training=training)
        joint = ops.tanh(self.fusion(ops.concatenate([image, between, text], axis=1), training=training))
        return {
            "image": image,
            "text": text,
            "joint": joint,
            **{
                f"{name}_decoded": getattr(self, f"{name}_output")(
                    getattr(self, f"{name}_decoder")(joint + ops.tanh(code), training=training),
                    training=training,
                )
                for name, code in (("image", image), ("text", text))
            },
        }


class _Normed(keras.layers.Layer):
    """A linear layer, the sum over neighbours where there is an adjacency, and batch normalization."""

    def __init__(self, inputs: int, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # PyTorch's defaults, which the authors train from.
        start = keras.initializers.RandomUniform(-(inputs**-0.5), inputs**-0.5)
        self.linear = keras.layers.Dense(
            units, kernel_initializer=start, bias_initializer=start.clone(), dtype=self.dtype_policy
        )
        self.norm = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype=self.dtype_policy)
        self.linear.build((None, inputs))
        self.norm.build((None, units))
        self.built = True

    def call(self, values: Tensor, adjacency: Tensor | None = None, training: bool = False) -> Tensor:
        values = self.linear(values)
        if adjacency is not None:
            values = ops.matmul(adjacency, values)
        return self.norm(values, training=training)


def neighbors_of(affinity: Tensor) -> tuple[Tensor, Tensor]:
    """The rows (n,) of each sample's second and third largest affinity but for the largest, which is its own.

    A sample of a batch with too few others is its own neighbour.
    """
    n = ops.shape(affinity)[0]
    none = ops.full_like(affinity[:, :1], -1e9)
    _, nearest = ops.top_k(ops.concatenate([affinity, none, none, none], axis=1), 4)
    itself = ops.cast(ops.arange(n), nearest.dtype)
    return tuple(ops.where(nearest[:, place] < n, nearest[:, place], itself) for place in (2, 3))


def mixed_with_neighbors(features: dict[str, Tensor], affinity: Tensor) -> dict[str, Tensor]:
    """Features (n, d) by modality, .7 of each sample's own, .2 of its second neighbour's and .1 of its third's."""
    near, far = neighbors_of(affinity)
    return {
        name: _KEPT * values + _NEAR * ops.take(values, near, axis=0) + _FAR * ops.take(values, far, axis=0)
        for name, values in features.items()
    }
