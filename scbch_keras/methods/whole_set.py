"""What methods that compare the features of samples make of a whole training set, and of a batch in validation."""

from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from scbch_keras.arrays import Tensor
from scbch_keras.data import LoaderPairs, PairDataset
from scbch_keras.layers import unit_norm


def features_of(pairs: PairDataset | LoaderPairs) -> dict[str, NDArray[np.float32]]:
    """Both modalities' features (N, d), in the samples' order."""
    features: dict[str, NDArray[np.float32]] = {}
    for rows, image, text in pairs.in_order():
        for name, block in (("image", image), ("text", text)):
            flat = block.reshape(len(rows), -1)
            if name not in features:
                features[name] = np.empty((pairs.num_samples, flat.shape[1]), "float32")
            features[name][rows] = flat
    return features


def unit_rows(features: NDArray[Any]) -> NDArray[np.float32]:
    """Rows of length 1; a row of zeros stays."""
    features = np.asarray(features, "float32")
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def flat(features: Tensor) -> Tensor:
    """Features (n, ...) of a batch as (n, d)."""
    return ops.reshape(features, (ops.shape(features)[0], -1))


def affinity(image: Tensor, text: Tensor, text_share: float) -> Tensor:
    """(n, n): text_share cos(text, text) + (1 - text_share) cos(image, image), of features (n, ...)."""
    image, text = unit_norm(flat(image)), unit_norm(flat(text))
    of_texts, of_images = (ops.matmul(features, ops.transpose(features)) for features in (text, image))
    return text_share * of_texts + (1 - text_share) * of_images
