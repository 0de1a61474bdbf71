"""Features of one modality: one array (n, ...), or a dict of arrays by the names of a branch's inputs. numpy only."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scbch_keras.arrays import as_array, as_network, blocks, check_features, is_dict_of_arrays

Features: TypeAlias = NDArray[Any] | dict[str, NDArray[Any]]
Shape: TypeAlias = tuple[int | None, ...] | dict[str, tuple[int | None, ...]]
"""(None, ...), or one of these for each named input."""


def as_features(name: str, values: Any) -> Features:
    """The values as `as_array` reads them; of a dict each one under its name, `text['token_ids']` in messages.

    Raises:
        ValueError: what `as_array` refuses, a dict of nothing, in a dict, or with names that are no text.
    """
    if not is_dict_of_arrays(values):
        return as_array(name, values)
    if not values or not all(isinstance(key, str) and key for key in values):
        raise ValueError(
            f"{name} must be one array (n, ...) or a dict of arrays by the names of the branch's inputs; got a dict "
            f"of {', '.join(map(repr, values)) or 'nothing'}."
        )
    return {key: as_array(input_name(name, key), value) for key, value in values.items()}


def input_name(name: str, key: str) -> str:
    """How messages name one input of a modality."""
    return f"{name}[{key!r}]"


def arrays_of(name: str, features: Any) -> Iterator[tuple[str, Any]]:
    """(name for messages, array) of each input."""
    if isinstance(features, Mapping):
        yield from ((input_name(name, key), values) for key, values in features.items())
    else:
        yield name, features


def each(change: Callable[..., Any], features: Any) -> Any:
    """The same structure with `change` applied to each array."""
    if isinstance(features, Mapping):
        return {key: change(values) for key, values in features.items()}
    return change(features)


def first_array(features: Any) -> Any:
    """One of the arrays, which all have the same rows."""
    return next(iter(features.values())) if isinstance(features, Mapping) else features


def take(features: Features, rows: Any) -> Features:
    """Some rows."""
    return each(lambda values: values[rows], features)


def rows_of(features: Features, rows: Any) -> Features:
    """Some rows, as a network takes them (`as_network`)."""
    return each(as_network, take(features, rows))


def flat(name: str, features: Features) -> dict[str, NDArray[Any]]:
    """The arrays by names of a file: `name`, or `name/input` each."""
    if isinstance(features, Mapping):
        return {f"{name}/{key}": values for key, values in features.items()}
    return {name: features}


def grouped(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Features]:
    """What `flat` made one of."""
    features: dict[str, Any] = {}
    for name, values in arrays.items():
        outer, inner, key = name.partition("/")
        if inner:
            features.setdefault(outer, {})[key] = values
        else:
            features[name] = values
    return features


def shape_of(features: Any) -> Shape:
    """The shape of a batch, its size free."""
    return each(lambda values: (None, *values.shape[1:]), features)


def sizes_of(features: Any) -> Shape:
    """The shape of the features, rows counted."""
    return each(lambda values: tuple(values.shape), features)


def check_inputs(name: str, features: Features, first_row: int = 0) -> None:
    """Refuse features that `check_features` refuses, or whose inputs have not the same number of rows.

    Raises:
        ValueError: names the argument, and of several inputs which one.
    """
    check_row_counts(name, features)
    for shown, values in arrays_of(name, features):
        check_features(shown, values, first_row)


def check_whole(name: str, values: NDArray[Any], dtype: str, first_row: int = 0) -> None:
    """Refuse fractions, which an input of integers would cut off, and floats beyond it.

    Raises:
        ValueError: names the first row.
    """
    if values.dtype.kind in "biu":
        return
    limits = np.iinfo(np.int32)
    for start, block in blocks(values):
        numbers = block.astype("float64")
        fits = (numbers == np.floor(numbers)) & (numbers >= limits.min) & (numbers <= limits.max)
        if not fits.all():
            row = int(np.argwhere(~fits)[0][0])
            raise ValueError(
                f"{name} must hold whole numbers that int32 can hold, since its input is {dtype}; row "
                f"{first_row + start + row} holds {numbers[~fits][0]}."
            )


def check_row_counts(name: str, features: Features) -> None:
    """Raise ValueError for several inputs that have not the same number of rows, or for a number among them."""
    if not isinstance(features, Mapping):
        return
    lengths = {shown: values.shape[:1] for shown, values in arrays_of(name, features)}
    check_rows(lengths)
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{name} must have the same number of rows in each input; got {counted(lengths)}.")


def check_rows(lengths: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ValueError for a single number among the arrays."""
    for shown, length in lengths.items():
        if not length:
            raise ValueError(f"{shown} must have a row a sample; got a single number.")


def counted(lengths: Mapping[str, tuple[int, ...]]) -> str:
    """Row counts for a message, as "image 40, text['token_ids'] 39"."""
    return ", ".join(f"{shown} {length}" for shown, (length,) in lengths.items())


def finite_rows(features: Features) -> NDArray[np.bool_]:
    """(n,): whether a row has no NaN and no inf in any input."""
    arrays = [np.asarray(values) for _, values in arrays_of("", features)]
    return np.logical_and.reduce(
        [np.isfinite(values).reshape(len(values), -1).all(axis=1) for values in arrays]
    )


def check_shape(name: str, shape: Any, expected: Shape, *, sizes: bool = True) -> None:
    """Refuse a shape, or a dict of shapes, that is not the expected one, in which None is any size.

    Args:
        name: of the argument, for the messages.
        shape: of the features.
        expected: of the branch.
        sizes: whether sizes must be the same too, or the inputs' names alone.

    Raises:
        ValueError: inputs that are missing or too many, or of other sizes.
    """
    if not isinstance(expected, Mapping):
        if isinstance(shape, Mapping):
            raise ValueError(
                f"{name} must be one array (n, ...), since its branch has one input; got a dict of "
                f"{', '.join(map(repr, shape))}."
            )
        if sizes:
            _check_sizes(name, tuple(shape), tuple(expected))
        return
    wanted = f"{name} must be a dict of arrays, one for each input of its branch: {_quoted(expected)}"
    if not isinstance(shape, Mapping):
        raise ValueError(f"{wanted}; got one array of shape {tuple(shape)}.")
    if missing := [key for key in expected if key not in shape]:
        raise ValueError(f"{wanted}; {_quoted(missing)} missing, got {_quoted(shape)}.")
    if extra := [key for key in shape if key not in expected]:
        raise ValueError(f"{wanted}; {_quoted(extra)} must not be there.")
    if sizes:
        for key, size in shape.items():
            _check_sizes(input_name(name, key), tuple(size), tuple(expected[key]))


def _check_sizes(name: str, shape: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    fits = len(shape) == len(expected) and all(
        None in (want, actual) or want == actual for want, actual in zip(expected, shape, strict=True)
    )
    if not fits:
        sizes = ", ".join("n" if size is None else str(size) for size in expected)
        raise ValueError(f"{name} must have shape ({sizes}); got {shape}.")


def _quoted(names: Any) -> str:
    return ", ".join(map(repr, names))
