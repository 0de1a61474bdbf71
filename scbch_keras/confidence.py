"""Confidence of a sample's labels: how well its neighbours' labels agree with them (Eq. 1-2)."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from scbch_keras.labels import check_labels
from scbch_keras.layers import check_positive_int, unit_norm
from scbch_keras.losses import Dialect, check_dialect


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
        ValueError: shapes that do not fit, labels that are not 0/1, fewer than neighbors + 1 samples,
            gamma or dialect out of range.
    """
    check_dialect(dialect)
    check_gamma(gamma)
    check_positive_int("block_size", block_size)
    check_labels("labels", labels)
    check_neighbors(neighbors, len(labels))
    targets = ops.cast(ops.convert_to_tensor(labels), "float32")
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
    check_neighbors(neighbors, len(labels))
    targets = ops.cast(ops.convert_to_tensor(labels), "float32")
    blocks = _soft_blocks(image_codes, text_codes, targets, neighbors, "reference", block_size)
    return np.concatenate([ops.convert_to_numpy(soft) for _, soft in blocks])


def _soft_blocks(
    image_codes: Any, text_codes: Any, targets: Any, neighbors: int, dialect: Dialect, block_size: int
) -> Iterator[tuple[slice, Any]]:
    """Rows, and p_i of each of them, a block at a time."""
    number = len(targets)
    modalities = []
    for name, codes in (("image_codes", image_codes), ("text_codes", text_codes)):
        if len(codes.shape) != 2 or codes.shape[0] != number:
            raise ValueError(f"{name} must be ({number}, bits), a row a label row; got {tuple(codes.shape)}.")
        modalities.append(unit_norm(ops.convert_to_tensor(codes)))
    everyone = ops.arange(number)
    for start in range(0, number, block_size):
        rows = slice(start, min(start + block_size, number))
        similarity = sum(ops.matmul(codes[rows], ops.transpose(codes)) for codes in modalities) / 2
        similarity = ops.where(everyone[rows][:, None] == everyone[None, :], 0.0, similarity)
        nearest, index = ops.top_k(similarity, neighbors)
        if dialect == "reference":
            share = _share(nearest)
        else:
            share = sum(_share(_similarity_to(codes[rows], codes, index)) for codes in modalities) / 2
        yield rows, ops.sum(share[:, :, None] * ops.take(targets, index, axis=0), axis=1)


def check_gamma(gamma: float) -> None:
    """Refuse a lowest weight outside [0, 1]."""
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma must be in [0, 1]; got {gamma!r}.")


def check_neighbors(neighbors: int, num_samples: int) -> None:
    """Refuse more neighbours than there are other samples."""
    check_positive_int("neighbors", neighbors)
    if num_samples < neighbors + 1:
        raise ValueError(
            f"neighbors={neighbors} needs at least {neighbors + 1} training samples; got {num_samples}."
        )


def _share(similarity):
    return similarity / (ops.sum(similarity, axis=1, keepdims=True) + 1e-8)


def _similarity_to(codes, all_codes, index):
    return ops.sum(codes[:, None, :] * ops.take(all_codes, index, axis=0), axis=2)


def _cosine(a, b):
    norms = ops.sqrt(ops.sum(ops.square(a), axis=1) * ops.sum(ops.square(b), axis=1))
    return ops.sum(a * b, axis=1) / ops.maximum(norms, 1e-8)
