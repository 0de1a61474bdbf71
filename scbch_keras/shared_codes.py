"""Codes made once where an evaluation and the training read those of the same samples at the same weights."""

import hashlib
import zlib
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from scbch_keras import backend
from scbch_keras.arrays import Tensor
from scbch_keras.codes import pack_codes
from scbch_keras.data import ROWS_AT_ONCE, PairDataset
from scbch_keras.features import Features, arrays_of


class SharedCodes(NamedTuple):
    """Continuous codes (N, bits) of a training set, which holds them, and what made them."""

    model: Any
    """A weak reference."""
    weights: tuple[int, ...]
    codes: tuple[NDArray[np.float32], NDArray[np.float32]]


def weights_mark(model: Any) -> tuple[int, ...]:
    """A checksum of each variable of the branches: codes made at the same one are the same."""
    return tuple(
        _checksum(ops.stop_gradient(variable.value))
        for branch in (model.image_branch, model.text_branch)
        for variable in branch.variables
    )


def _checksum(values: Tensor) -> int:
    if backend.has_accelerator() and keras.backend.standardize_dtype(values.dtype) == "float32":
        # To copy the weights of a large network from a card takes about as long as an epoch there.
        words = ops.reshape(ops.view(values, "int32"), (-1,))
        return int(ops.sum(words * (2 * ops.arange(words.shape[0], dtype="int32") + 1)))
    return zlib.crc32(np.ascontiguousarray(ops.convert_to_numpy(values)).reshape(-1).view(np.uint8).data)


def shared_rows(samples: dict[str, Features], others: dict[str, Features]) -> NDArray[np.int64]:
    """The row of `samples` that each row of `others` is, bit for bit in both modalities; -1 where there is none.

    Args:
        samples: {"image": (N, ...), "text": (N, ...)}.
        others: the same with n rows.

    Returns:
        (n,).
    """
    marks = _marks(samples)
    rows = {mark: row for row, mark in reversed(list(enumerate(marks)))}
    return np.array([rows.get(mark, -1) for mark in _marks(others)], np.int64)


def packed_codes(
    model: Any, x: dict[str, Features], pairs: PairDataset, samples: NDArray[np.int64]
) -> dict[str, NDArray[np.uint8]]:
    """Packed codes by modality of features; `model.codes_of(pairs)` has those of the training set next.

    Args:
        model: a `HashNetwork`.
        x: {"image": (n, ...), "text": (n, ...)}.
        pairs: the training set.
        samples: of `shared_rows`; the rows that are none of these alone are encoded here.
    """
    of_samples = dict(zip(("image", "text"), model.codes_of(pairs, share=True), strict=True))
    is_sample = samples >= 0
    packed = {}
    for name, others in model.codes_of_rows(x, np.flatnonzero(~is_sample)).items():
        codes = np.empty((len(samples), others.shape[1]), "float32")
        codes[is_sample], codes[~is_sample] = of_samples[name][samples[is_sample]], others
        packed[name] = pack_codes(codes)
    return packed


def _marks(features: dict[str, Features]) -> list[bytes]:
    """A digest of each row: equal ones are of equal rows."""
    arrays = [pair for name in ("image", "text") for pair in arrays_of(name, features[name])]
    kinds = hashlib.sha256()
    for name, values in arrays:
        kinds.update(f"{name} {values.dtype.str} {values.shape[1:]};".encode())
    marks = []
    size = len(arrays[0][1])
    for start in range(0, size, ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, size)
        blocks = [np.ascontiguousarray(values[start:stop]) for _, values in arrays]
        rows = [block.reshape(len(block), -1).view(np.uint8) for block in blocks]
        for parts in zip(*rows, strict=True):
            mark = kinds.copy()
            for part in parts:
                mark.update(part)
            marks.append(mark.digest())
    return marks
