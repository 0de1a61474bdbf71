"""Confidence of a sample's labels: how well its neighbours' labels agree with them (Eq. 1-2)."""

from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

import numpy as np
from keras import ops

from scbch_keras.arrays import Tensor, as_array, as_network, check_features
from scbch_keras.checks import check_neighbors, one_of, share, whole
from scbch_keras.labels.matrix import check_labels
from scbch_keras.layers import unit_norm
from scbch_keras.losses import Dialect


class Confidence(NamedTuple):
    """What `confidence_weights` returns, as NumPy arrays."""

    weights: np.ndarray
    """(N,), float32: w_i, in [gamma, 1] where the similarities of the neighbours are not negative."""
    soft_labels: np.ndarray
    """(N, C), float32: p_i, the similarity-weighted mean of the neighbours' labels."""


def confidence_weights(
    image_codes: Any,
    text_codes: Any,
    labels: Any,
    neighbors: int = 20,
    gamma: float = 0.5,
    dialect: Dialect = "reference",
    block_size: int = 1024,
) -> Confidence:
    """Weight of each sample of a training set from its nearest neighbours in both modalities (Eq. 1-2).

    The neighbours of a sample are the `neighbors` others with the highest mean cosine similarity
    s = (s^1 + s^2) / 2 of image and text codes, a sample's similarity with itself counting as 0. Then

    - "reference" (the authors' code): p_i = sum_k y_k s_ik / (sum_j s_ij + 1e-8) over the neighbours;
    - "paper": p_i = sum_k y_k * 1/2 * sum_m s^m_ik / (sum_j s^m_ij + 1e-8), each modality normalised alone;

    and w_i = gamma + (1 - gamma) cos(y_i, p_i), where a sample without labels has cos = 0.

    Args:
        image_codes: (N, bits), continuous codes of the whole training set.
        text_codes: (N, bits).
        labels: (N, C), 0/1.
        neighbors: int >= 1, k; at most N - 1.
        gamma: float in [0, 1], the lowest weight.
        dialect: "reference" or "paper".
        block_size: rows compared with all N at a time; memory grows with block_size * N, never N * N.

    Returns:
        `Confidence`: weights (N,) and soft labels (N, C).

    Raises:
        ValueError: shapes that do not fit, codes that are not finite (the message names the row), labels that are not
            0/1, fewer than neighbors + 1 samples, gamma or dialect out of range.
    """
    one_of("dialect", dialect, get_args(Dialect))
    gamma = share("gamma", gamma)
    labels = check_labels("labels", labels)
    targets = ops.convert_to_tensor(labels.astype("float32"))
    weights, soft_labels = [], []
    for rows, soft in _soft_blocks(image_codes, text_codes, targets, neighbors, dialect, block_size):
        cosine = _cosine(targets[rows], soft)
        weights.append(ops.convert_to_numpy(gamma + (1 - gamma) * cosine))
        soft_labels.append(ops.convert_to_numpy(soft))
    return Confidence(np.concatenate(weights), np.concatenate(soft_labels))


def neighbor_labels(
    image_codes: Any, text_codes: Any, labels: Any, neighbors: int, block_size: int = 1024
) -> np.ndarray:
    """The similarity-weighted mean of the neighbours' labels alone, which may be probabilities here.

    Args:
        image_codes: (N, bits), continuous codes of the whole training set.
        text_codes: (N, bits).
        labels: (N, C), in [0, 1].
        neighbors: int >= 1, k; at most N - 1.
        block_size: see `confidence_weights`.

    Returns:
        (N, C), float32: p_i of the "reference" dialect of `confidence_weights`.
    """
    targets = ops.cast(ops.convert_to_tensor(labels), "float32")
    blocks = _soft_blocks(image_codes, text_codes, targets, neighbors, "reference", block_size)
    return np.concatenate([ops.convert_to_numpy(soft) for _, soft in blocks])


def _soft_blocks(
    image_codes: Any, text_codes: Any, targets: Any, neighbors: int, dialect: Dialect, block_size: int
) -> Iterator[tuple[slice, Any]]:
    """Rows, and p_i of each of them, a block at a time."""
    count, block_size = len(targets), whole("block_size", block_size, 1)
    neighbors = check_neighbors(neighbors, count)
    modalities = []
    for name, codes in (("image_codes", image_codes), ("text_codes", text_codes)):
        codes = as_array(name, codes)
        if codes.ndim != 2 or len(codes) != count:
            raise ValueError(f"{name} must be ({count}, bits), a row a label row; got {codes.shape}.")
        check_features(name, codes)
        modalities.append(unit_norm(ops.convert_to_tensor(as_network(codes))))
    everyone = ops.arange(count)
    for start in range(0, count, block_size):
        rows = slice(start, min(start + block_size, count))
        similarity = sum(ops.matmul(codes[rows], ops.transpose(codes)) for codes in modalities) / 2
        similarity = ops.where(everyone[rows][:, None] == everyone[None, :], 0.0, similarity)
        nearest, index = ops.top_k(similarity, neighbors)
        if dialect == "reference":
            part = _share(nearest)
        else:
            part = sum(_share(_similarity_to(codes[rows], codes, index)) for codes in modalities) / 2
        yield rows, ops.sum(part[:, :, None] * ops.take(targets, index, axis=0), axis=1)


def _share(similarity: Tensor) -> Tensor:
    return similarity / (ops.sum(similarity, axis=1, keepdims=True) + 1e-8)


def _similarity_to(codes: Tensor, all_codes: Tensor, index: Tensor) -> Tensor:
    return ops.sum(codes[:, None, :] * ops.take(all_codes, index, axis=0), axis=2)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    norms = ops.sqrt(ops.sum(ops.square(a), axis=1) * ops.sum(ops.square(b), axis=1))
    return ops.sum(a * b, axis=1) / ops.maximum(norms, 1e-8)
