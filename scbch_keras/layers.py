"""Layers of the hashing network: the hash branch, the concept classifier and bit packing."""

from typing import Any, Self

import keras
from keras import ops

from scbch_keras.arrays import Tensor
from scbch_keras.branch_inputs import BodyInputs, check_output, check_output_shape
from scbch_keras.checks import flag, whole, widths
from scbch_keras.feature_rows import FeatureRows
from scbch_keras.features import check_shape, first_array
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
        body: a `keras.Model` with one output (n, d) that takes the place of the dense layers: a backbone on pictures, a
            text encoder. The hash layer to `bits` is added behind it. With several inputs, a dict or a list of named
            ones, the branch takes a dict of arrays (n, ...) by their names.
        normalize: whether codes have Euclidean length 1.
        rows: a `FeatureRows` layer in front of the dense layers, adapted to the training set; not with a body.

    Raises:
        ValueError: `bits` or a width is not a positive int; `body` has inputs within inputs or more than one output, or
            its output is not (n, d); `rows` is another layer, was not adapted, or goes with a body.
    """

    def __init__(
        self,
        bits: int = 64,
        units: tuple[int, ...] = (8192, 8192),
        body: keras.Model | None = None,
        normalize: bool = True,
        rows: FeatureRows | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bits = whole("bits", bits, 1)
        self.units = widths("units", units)
        self.normalize = flag("normalize", normalize)
        if body is not None and not isinstance(body, keras.Model):
            raise ValueError(f"body must be a keras.Model with one output (n, d); got {type(body).__name__}.")
        self.inputs = BodyInputs(body)
        if body is not None:
            check_output(body)
        if rows is not None and (body is not None or not isinstance(rows, FeatureRows)):
            raise ValueError(
                f"rows must be a FeatureRows layer, without a body; got {type(rows).__name__}"
                f"{' and a body' if body is not None else ''}."
            )
        self.rows = rows
        self.body = body
        self.hidden: list[keras.layers.Layer] = []

    def check_input_shape(self, name: str, input_shape: Any) -> None:
        """Raise ValueError for features of a shape that the branch does not take; messages call them `name`."""
        if self.body is None:
            check_shape(name, input_shape, (), sizes=False)
        elif self.inputs.known:
            check_shape(name, input_shape, self.inputs.shape)

    def build(self, input_shape: Any) -> None:
        self.check_input_shape(self.name, input_shape)
        if self.body is None:
            if len(input_shape) != 2 or input_shape[-1] is None:
                raise ValueError(
                    f"{self.name} takes features of shape (n, d) with a known d; got {tuple(input_shape)}. "
                    "Pass a keras.Model as body for other inputs."
                )
            width = input_shape[-1]
            if self.rows is not None:
                if not self.rows.built:
                    self.rows.build(input_shape)
                check_shape(self.name, input_shape, (None, self.rows.statistics.shape[0]))
            for units in self.units:
                self.hidden.append(self._dense(width, units, "relu"))
                width = units
        else:
            arranged = self.inputs.arranged(input_shape)
            if not self.body.built:
                self.body.build(arranged)
            width = check_output_shape(self.body.compute_output_shape(arranged), self.inputs)
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
            trainable=self.trainable,
        )
        layer.build((None, inputs))
        return layer

    def call(self, inputs: Any, training: bool | None = None) -> Tensor:
        return self.codes_of(self.features(inputs, training))

    def codes_of(self, features: Tensor) -> Tensor:
        """Codes (n, bits), float32, of what `features` gives."""
        codes = ops.tanh(ops.cast(self.hash_layer(features), "float32"))
        return unit_norm(codes) if self.normalize else codes

    def project(self, inputs: Any, training: bool | None = None) -> Tensor:
        """The continuous values from which tanh makes codes.

        Args:
            inputs: features (n, ...).
            training: whether the body trains.

        Returns:
            (n, bits), float32.
        """
        return ops.cast(self.hash_layer(self.features(inputs, training)), "float32")

    def features(self, inputs: Any, training: bool | None = None) -> Tensor:
        """What the last layer sees: the body's output, or that of the last dense layer.

        Args:
            inputs: features (n, ...).
            training: whether the body trains.

        Returns:
            (n, d).
        """
        x = inputs if self.rows is None else self.rows(inputs)
        if self.body is not None:
            x = self.body(self.inputs.arranged(x), training=training)
        for layer in self.hidden:
            x = layer(x)
        return x

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        return keras.KerasTensor((first_array(inputs).shape[0], self.bits), dtype="float32")

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (first_array(input_shape)[0], self.bits)

    def get_config(self) -> dict[str, Any]:
        rows = {} if self.rows is None else {"rows": keras.saving.serialize_keras_object(self.rows)}
        return {
            **super().get_config(),
            "bits": self.bits,
            "units": list(self.units),
            "body": keras.saving.serialize_keras_object(self.body),
            "normalize": self.normalize,
            **rows,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        layers: dict[str, Any] = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in ("body", "rows")
            if name in config
        }
        return cls(**{**config, **layers})


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
