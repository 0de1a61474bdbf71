"""A layer that turns features into the rows that the posterior's regression takes, saved and exported with a branch."""

from typing import Any

import keras
import numpy as np
from keras import ops

from scbch_keras.arrays import Tensor, as_array, blocks, check_features
from scbch_keras.checks import number, one_of
from scbch_keras.features import check_shape
from scbch_keras.labels.scores import row_statistics
from scbch_keras.names import PACKAGE


@keras.saving.register_keras_serializable(PACKAGE)
class FeatureRows(keras.layers.Layer):
    """Features (n, d) -> rows (n, d) of one length, as `posterior.estimate` compares samples by them.

    "dense" (images, embeddings): signed square root, less its mean over the training set. "words" (counts of words):
    times inverse document frequency. Rows are then scaled to the length `scale`. `adapt` takes the training set's
    features before the layer is used.

    Args:
        kind: "dense" or "words".
        scale: float > 0, length of a row.

    Raises:
        ValueError: kind or scale out of range.
    """

    def __init__(self, kind: str, scale: float = 16.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kind = one_of("kind", kind, ("dense", "words"))
        self.scale = number("scale", scale, 0, above=True)
        self.adapted = False

    def build(self, input_shape: Any) -> None:
        plain = {"trainable": False, "dtype": "float32", "autocast": False}
        # Means of roots, or inverse document frequencies, (d,).
        self.statistics = self.add_weight(
            shape=(input_shape[-1],), initializer="zeros", name="statistics", **plain
        )

    def adapt(self, features: Any) -> None:
        """Take means or document frequencies of a training set.

        Args:
            features: (N, d), finite; words at least 0.

        Raises:
            ValueError: features of another shape or kind.
        """
        features = as_array("features", features)
        check_features("features", features, ndim=2, low=0 if self.kind == "words" else None)
        if not self.built:
            self.build(features.shape)
        check_shape("features", features.shape, (None, self.statistics.shape[0]))
        rows = (block for _, block in blocks(features))
        self.adapted = True
        self.statistics.assign(row_statistics(rows, self.kind).astype(np.float32))

    def call(self, features: Tensor) -> Tensor:
        if not self.adapted:
            raise ValueError(
                f"{self.name} was not adapted: call its adapt with the training set's features first."
            )
        features = ops.cast(features, "float32")
        if self.kind == "words":
            rows = features * self.statistics
        else:
            rows = ops.sign(features) * ops.sqrt(ops.abs(features)) - self.statistics
        square = ops.sum(ops.square(rows), axis=-1, keepdims=True)
        return self.scale * rows / ops.sqrt(ops.maximum(square, 1e-24))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kind": self.kind, "scale": self.scale}

    def load_own_variables(self, store: Any) -> None:
        """The statistics of the layer that was saved."""
        super().load_own_variables(store)
        self.adapted = True
