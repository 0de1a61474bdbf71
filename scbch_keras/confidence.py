"""Confidence of a sample's labels: how well its neighbours' labels agree with them (Eq. 1-2)."""

from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

import numpy as np
from keras import ops
from numpy.typing import NDArray

from scbch_keras import backend
from scbch_keras.arrays import Tensor, as_array, as_network, check_features
from scbch_keras.checks import check_neighbors, one_of, share, whole
from scbch_keras.labels.matrix import check_labels
from scbch_keras.layers import unit_norm
from scbch_keras.losses import Dialect
from scbch_keras.neighbors import EXACT_UP_TO, nearest

_SORTED = 2**15
"""The longest row that a card sorts whole: looking through groups took longer at 10,000 columns, half at 100,000."""


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
    exact_up_to: int = EXACT_UP_TO,
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
        block_size: rows compared with all N at a time; memory never grows with N * N.
        exact_up_to: int >= 0; the neighbours of more samples than that are searched by clusters where faiss is
            installed, and some are missed: the log says how many. With an accelerator, and without faiss, they are
            always exact.

    Returns:
        `Confidence`: weights (N,) and soft labels (N, C).

    Raises:
        ValueError: shapes that do not fit, codes that are not finite (the message names the row), labels that are not
            0/1, fewer than neighbors + 1 samples, gamma or dialect out of range.
    """
    one_of("dialect", dialect, get_args(Dialect))
    gamma = share("gamma", gamma)
    labels = check_labels("labels", labels)
    targets = labels.astype("float32")
    soft = _soft_labels(image_codes, text_codes, targets, neighbors, dialect, block_size, exact_up_to)
    return Confidence(gamma + (1 - gamma) * _cosine(targets, soft), soft)


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
    targets = np.asarray(ops.convert_to_numpy(labels), "float32")
    return _soft_labels(image_codes, text_codes, targets, neighbors, "reference", block_size, EXACT_UP_TO)


def _soft_labels(
    image_codes: Any,
    text_codes: Any,
    targets: NDArray[np.float32],
    neighbors: int,
    dialect: Dialect,
    block_size: int,
    exact_up_to: int,
) -> NDArray[np.float32]:
    """p_i of every sample (N, C)."""
    count, block_size = len(targets), whole("block_size", block_size, 1)
    neighbors = check_neighbors(neighbors, count)
    exact_up_to = whole("exact_up_to", exact_up_to, 0)
    modalities = []
    for name, codes in (("image_codes", image_codes), ("text_codes", text_codes)):
        codes = as_array(name, codes)
        if codes.ndim != 2 or len(codes) != count:
            raise ValueError(f"{name} must be ({count}, bits), a row a label row; got {codes.shape}.")
        check_features(name, codes)
        modalities.append(as_network(codes))
    if backend.has_accelerator():
        blocks = _on_device(modalities, targets, neighbors, dialect, block_size)
    else:
        blocks = _on_processor(modalities, targets, neighbors, dialect, block_size, exact_up_to)
    soft = np.empty(targets.shape, np.float32)
    for rows, part in blocks:
        soft[rows] = part
    return soft


def _on_processor(
    modalities: list[Any],
    targets: NDArray[np.float32],
    neighbors: int,
    dialect: Dialect,
    block_size: int,
    exact_up_to: int,
) -> Iterator[tuple[slice, Any]]:
    """Rows, and p_i of each of them, a block at a time."""
    parts = []
    for codes in modalities:
        codes = np.asarray(codes, np.float32)
        lengths = np.sqrt(np.maximum(np.square(codes).sum(axis=1, keepdims=True), np.float32(1e-24)))
        parts.append(codes / lengths)
    for rows, columns, similarity in nearest(parts, neighbors, block_size, exact_up_to):
        if dialect == "reference":
            shares = _share(similarity)
        else:
            shares = sum(_share(np.einsum("rd,rkd->rk", part[rows], part[columns])) for part in parts) / 2
        yield rows, np.einsum("rk,rkc->rc", shares, targets[columns])


def _on_device(
    modalities: list[Any],
    targets: NDArray[np.float32],
    neighbors: int,
    dialect: Dialect,
    block_size: int,
) -> Iterator[tuple[slice, Any]]:
    """The same on the backend's device."""
    modalities = [unit_norm(ops.convert_to_tensor(codes)) for codes in modalities]
    labels = ops.convert_to_tensor(targets)
    count = len(targets)
    group = round((count / neighbors) ** 0.5) if count > _SORTED else 1
    more = -count % group
    everyone = ops.arange(count + more)
    others = [ops.transpose(ops.pad(codes, ((0, more), (0, 0)))) for codes in modalities]
    for start in range(0, count, block_size):
        rows = slice(start, min(start + block_size, count))
        with backend.full_precision():
            similarity = (
                sum(ops.matmul(codes[rows], of_all) for codes, of_all in zip(modalities, others, strict=True))
                / 2
            )
        similarity = ops.where(everyone[rows][:, None] == everyone[None, :], 0.0, similarity)
        if more:
            similarity = ops.where(everyone[None, :] < count, similarity, -np.inf)
        highest, index = _highest_by_groups(similarity, neighbors, group)
        if dialect == "reference":
            part = _share(highest)
        else:
            part = sum(_share(_similarity_to(codes[rows], codes, index)) for codes in modalities) / 2
        yield rows, ops.convert_to_numpy(ops.sum(part[:, :, None] * ops.take(labels, index, axis=0), axis=1))


def _highest_by_groups(values: Tensor, k: int, group: int) -> tuple[Tensor, Tensor]:
    """The `k` highest of each row and their columns, as `keras.ops.top_k` has them, without a sort of whole rows.

    They are among the `k` groups of neighbouring columns with the highest maxima: of any other group, `k` values are
    ahead.

    Args:
        values: (r, c), c a multiple of `group`.
        k: int >= 1, at most c.
        group: int >= 1, columns; best about sqrt(c / k).

    Returns:
        (r, k) values from the highest, and int (r, k); of equal ones those of the backend's top_k.
    """
    rows, columns = values.shape
    if group == 1 or columns <= k * group:
        return ops.top_k(values, k)
    grouped = ops.reshape(values, (rows, columns // group, group))
    # Ascending, so that candidates are in the order of their columns.
    best = ops.sort(ops.top_k(ops.max(grouped, axis=2), k)[1], axis=1)
    candidates = ops.take_along_axis(grouped, best[:, :, None], axis=1)
    highest, place = ops.top_k(ops.reshape(candidates, (rows, k * group)), k)
    return highest, ops.take_along_axis(best, place // group, axis=1) * group + place % group


def _share(similarity: Any) -> Any:
    total = np.sum if isinstance(similarity, np.ndarray) else ops.sum
    return similarity / (total(similarity, axis=1, keepdims=True) + 1e-8)


def _similarity_to(codes: Tensor, all_codes: Tensor, index: Tensor) -> Tensor:
    return ops.sum(codes[:, None, :] * ops.take(all_codes, index, axis=0), axis=2)


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.sqrt(np.square(a).sum(axis=1) * np.square(b).sum(axis=1))
    cosine: NDArray[np.float32] = (a * b).sum(axis=1) / np.maximum(norms, np.float32(1e-8))
    return cosine
