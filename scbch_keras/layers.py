"""Layers of the hashing network: the hash branch, the concept classifier and bit packing."""

from typing import Any, Self

import keras
from keras import ops

from scbch_keras.arrays import Tensor
from scbch_keras.checks import flag, whole, widths
from scbch_keras.names import PACKAGE


def unit_norm(x: Tensor) -> Tensor:
    """Scale rows to Euclidean length 1. A zero row stays zero.

    Args:
        x: (n, d).

    Returns:
        (n, d), float32.
    """
    x = ops.cast(x, "float32")
    square = ops.sum(ops.square(x), axis=-1, keepdims=True)
    return x / ops.sqrt(ops.maximum(square, 1e-24))


@keras.saving.register_keras_serializable(PACKAGE)
class HashBranch(keras.layers.Layer):
    """Features (n, ...) -> continuous codes (n, bits) in [-1, 1], float32.

    A body (dense layers with ReLU, or any Keras model), a linear hash layer, tanh, and unit norm, so that the
    dot product of two codes is their cosine. The paper prints h = tanh(f(x)); the authors' code adds the norm.

    Args:
        bits: int >= 1, code length.
        units: widths of the dense layers, each followed by ReLU. The paper: (8192, 8192) for images and
            (8192,) for text. Ignored where `body` is given.
        body: a `keras.Model` with one input and one output (n, d) that takes the place of the dense layers: a
            backbone on pictures, a text encoder. The hash layer to `bits` is added behind it.
        normalize: whether codes have Euclidean length 1.

    Raises:
        ValueError: `bits` or a width is not a positive int; `body` has more than one input or output, or its output is
            not (n, d).
    """

    def __init__(
        self,
        bits: int = 64,
        units: tuple[int, ...] = (8192, 8192),
        body: keras.Model | None = None,
        normalize: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bits = whole("bits", bits, 1)
        self.units = widths("units", units)
        self.normalize = flag("normalize", normalize)
        if body is not None and not isinstance(body, keras.Model):
            raise ValueError(f"body must be a keras.Model with one output (n, d); got {type(body).__name__}.")
        inputs = [] if body is None else _input_names(body)
        if len(inputs) > 1:
            raise ValueError(
                f"body must be a keras.Model with one input; got one with {len(inputs)}: {', '.join(inputs)}. Stack "
                "them into one array (n, ...) and take them apart in a model around it, or compute one from the other "
                "there: a padding mask is keras.ops.not_equal(token_ids, 0)."
            )
        self.body = body
        self.hidden: list[keras.layers.Layer] = []

    def build(self, input_shape: Any) -> None:
        if self.body is None:
            if len(input_shape) != 2 or input_shape[-1] is None:
                raise ValueError(
                    f"{self.name} takes features of shape (n, d) with a known d; got {tuple(input_shape)}. "
                    "Pass a keras.Model as body for other inputs."
                )
            width = input_shape[-1]
            for units in self.units:
                self.hidden.append(self._dense(width, units, "relu"))
                width = units
        else:
            if not self.body.built:
                self.body.build(input_shape)
            width = self._body_width(input_shape)
        self.hash_layer = self._dense(width, self.bits, None)

    def _dense(self, inputs: int, units: int, activation: str | None) -> keras.layers.Dense:
        # PyTorch's default, which the authors train from: weight and bias uniform in +-1/sqrt(fan_in).
        limit = inputs**-0.5
        layer = keras.layers.Dense(
            units,
            activation=activation,
            kernel_initializer=keras.initializers.RandomUniform(-limit, limit),
            bias_initializer=keras.initializers.RandomUniform(-limit, limit),
            dtype=self.dtype_policy,
        )
        layer.build((None, inputs))
        return layer

    def _body_width(self, input_shape: Any) -> int:
        shape = self.body.compute_output_shape(input_shape)  # type: ignore[union-attr]
        if not isinstance(shape, tuple) or len(shape) != 2 or not isinstance(shape[-1], int):
            raise ValueError(f"body must have one output of shape (n, d) with a known d; got {shape}.")
        return shape[-1]

    def call(self, inputs: Any, training: bool | None = None) -> Tensor:
        codes = ops.tanh(self.project(inputs, training))
        return unit_norm(codes) if self.normalize else codes

    def project(self, inputs: Any, training: bool | None = None) -> Tensor:
        """The continuous values from which tanh makes codes.

        Args:
            inputs: features (n, ...).
            training: whether the body trains.

        Returns:
            (n, bits), float32.
        """
        x = inputs
        if self.body is not None:
            x = self.body(x, training=training)
        for layer in self.hidden:
            x = layer(x)
        return ops.cast(self.hash_layer(x), "float32")

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        return keras.KerasTensor((inputs.shape[0], self.bits), dtype="float32")

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (input_shape[0], self.bits)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "bits": self.bits,
            "units": list(self.units),
            "body": keras.saving.serialize_keras_object(self.body),
            "normalize": self.normalize,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "body": keras.saving.deserialize_keras_object(config["body"])})


@keras.saving.register_keras_serializable(PACKAGE)
class ConceptClassifier(keras.layers.Layer):
    """Codes (n, bits) -> label logits (n, num_classes), float32; the sigmoid of a logit is z in (0, 1).

    Linear without bias, initialised orthogonally.

    Args:
        num_classes: int >= 1, number of labels.
    """

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = whole("num_classes", num_classes, 1)

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(
            shape=(input_shape[-1], self.num_classes),
            initializer="orthogonal",
            dtype="float32",
            name="kernel",
        )

    def call(self, codes: Tensor) -> Tensor:
        return ops.matmul(ops.cast(codes, "float32"), self.kernel)

    def compute_output_spec(self, codes: Tensor) -> Any:
        return keras.KerasTensor(self.compute_output_shape(codes.shape), dtype="float32")

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.num_classes)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes}


@keras.saving.register_keras_serializable(PACKAGE)
class PackBits(keras.layers.Layer):
    """Continuous codes (n, bits) -> packed codes (n, ceil(bits / 8)), uint8.

    Bit i is 1 if and only if h_i > 0; most significant bit first, zero padded: `numpy.packbits(h > 0, axis=1)`.
    """

    def call(self, codes: Tensor) -> Tensor:
        bits = codes.shape[-1]
        # A product with powers of two packs on every backend and in ONNX, where shifts of uint8 do not exist.
        # Sums stay below 256, exact in float32. The matrix is made here, inside the traced function: tf2onnx
        # does not take constants from outside it.
        weights = [[0.0] * -(-bits // 8) for _ in range(bits)]
        for i, row in enumerate(weights):
            row[i // 8] = float(1 << (7 - i % 8))
        positive = ops.cast(ops.greater(codes, 0), "float32")
        return ops.cast(ops.matmul(positive, ops.convert_to_tensor(weights, dtype="float32")), "uint8")

    def compute_output_spec(self, codes: Tensor) -> Any:
        return keras.KerasTensor((codes.shape[0], -(-codes.shape[-1] // 8)), dtype="uint8")

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (input_shape[0], -(-input_shape[-1] // 8))


def _input_names(model: keras.Model) -> list[str]:
    """Names of a model's inputs, where it knows them before it is called."""
    try:
        inputs = model.input
        return list(inputs) if isinstance(inputs, dict) else [x.name for x in keras.tree.flatten(inputs)]
    except (AttributeError, ValueError):
        return []
