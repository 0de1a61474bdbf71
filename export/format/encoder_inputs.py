"""What an encoder of features takes, as the manifest of its release says. Numpy only."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scbch_keras.arrays import as_float32, check_features
from scbch_keras.features import Features, Shape, check_whole, input_name

DTYPES = ("float32", "int32")


class Input(NamedTuple):
    """One input of an encoder.

    shape: batch first and None.
    dtype: "float32" or "int32".
    below: of whole numbers, the first that is too large to be tried.
    """

    shape: list[int | None]
    dtype: str
    below: int


def encoder_inputs(manifest: Mapping[str, Any], modality: str) -> dict[str, Mapping[str, Any]]:
    """Name -> {"shape", "dtype"}; the one input of an encoder has the modality's.

    Raises:
        KeyError, TypeError: the manifest does not say it.
    """
    inputs = manifest["signatures"][f"encode_{modality}"]["inputs"]
    if not isinstance(inputs, dict) or not inputs:
        raise TypeError(f"its inputs are {inputs!r}")
    for described in inputs.values():
        if not _is_shape(described["shape"]):
            raise TypeError(f"its shape is {described['shape']!r}")
        if described["dtype"] not in DTYPES:
            raise TypeError(f"its type is {described['dtype']!r}")
    return inputs


def inputs_shape(modality: str, inputs: Mapping[str, Mapping[str, Any]]) -> Shape:
    """The shape of the features: one, or one for each name where they are a dict."""
    shapes = {name: tuple(described["shape"]) for name, described in inputs.items()}
    return shapes[modality] if list(shapes) == [modality] else shapes


def tensors(
    name: str, inputs: Mapping[str, Mapping[str, Any]], features: Features, first_row: int = 0
) -> dict[str, NDArray[Any]]:
    """Features as the encoder's tensors, by its inputs' names: contiguous, of its types, checked.

    Args:
        name: of the features, for messages.
        inputs: from `encoder_inputs`.
        features: some rows, of the right shape.
        first_row: number of the first row, for messages.

    Raises:
        ValueError: NaN, values beyond the type, or fractions where it is int32; names the row.
    """
    if not isinstance(features, Mapping):
        (only,) = inputs
        return {only: _tensor(name, features, inputs[only]["dtype"], first_row)}
    return {
        key: _tensor(input_name(name, key), features[key], described["dtype"], first_row)
        for key, described in inputs.items()
    }


def _tensor(name: str, values: NDArray[Any], dtype: str, first_row: int) -> NDArray[Any]:
    if dtype == "float32":
        return as_float32(name, values, first_row)
    check_features(name, values, first_row)
    check_whole(name, values, dtype, first_row)
    return np.ascontiguousarray(values, np.int32)


def _is_shape(shape: Any) -> bool:
    """Whether it is a list of a free size, for the batch, and of sizes; other free ones may follow."""
    return (
        isinstance(shape, list)
        and shape[:1] == [None]
        and all(size is None or (type(size) is int and size >= 0) for size in shape)
    )
