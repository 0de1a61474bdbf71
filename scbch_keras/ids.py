"""Ids of codes: integers or strings, the same kind in one index. numpy only."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scbch_keras.arrays import as_array

Ids = NDArray[Any]
"""int64 (n,) >= 0, or str objects (n,)."""
NO_ID = -1
NO_DISTANCE = 2**31 - 1
"""What fills an empty place in results, as faiss does; None among strings."""


def checked_ids(name: str, ids: ArrayLike | Sequence[Any], count: int | None = None) -> Ids:
    """Ids as an array of int64 or of str objects.

    Args:
        name: of the argument, for the errors.
        ids: integers from 0 to 2^63 - 1, or strings.
        count: how many there must be; None for any number.

    Raises:
        ValueError: another shape; a type that is neither or both; an integer out of range; a string that UTF-8
            cannot hold.
    """
    values = _array(name, ids)
    if values.ndim != 1 or count not in (None, len(values)):
        shape = "(n,)" if count is None else f"({count},), one for each code"
        raise ValueError(f"{name} must have shape {shape}, got shape {values.shape}")
    if len(values) == 0:
        return np.empty(0, np.int64)
    if values.dtype == object:
        return _checked_strings(name, values)
    if values.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers that fit int64, or strings, got dtype {values.dtype}")
    if values.min() < 0:
        raise ValueError(f"{name} must be >= 0 (-1 marks an empty place in results), got {values.min()}")
    if values.max() > np.iinfo(np.int64).max:
        raise ValueError(
            f"{name} must be integers that fit int64, got {values.max()}; strings hold larger ones"
        )
    return values.astype(np.int64)


def check_distinct(name: str, ids: Ids) -> None:
    """Refuse ids of which one comes twice. Raises ValueError."""
    if ids.dtype == object:
        if len(set(ids.tolist())) == len(ids):
            return
        ids = ids.astype(np.dtypes.StringDType())
    elif (ids[1:] > ids[:-1]).all():
        return
    ordered = np.sort(ids)
    twice = ordered[1:] == ordered[:-1]
    if twice.any():
        raise ValueError(f"{name} must differ from each other; id {ordered[1:][twice][0]!s} comes twice")


def empty_results(queries: int, width: int, are_strings: bool) -> tuple[Ids, NDArray[np.int32]]:
    """Ids and distances (queries, width) of which no place is filled yet."""
    ids = np.full((queries, width), None if are_strings else NO_ID, object if are_strings else np.int64)
    return ids, np.full((queries, width), NO_DISTANCE, np.int32)


def not_in_index(name: str, first: Any, missing: int, count: int, remedy: str) -> ValueError:
    """The error for ids that an index has not."""
    shown = repr(first) if isinstance(first, str) else str(first)
    return ValueError(
        f"{name} must be in the index; {missing} of {count} are not, the first is {shown} ({remedy})"
    )


def _array(name: str, ids: Any) -> NDArray[Any]:
    """An array of the ids, without numpy's conversion of mixed types to a common one."""
    if isinstance(ids, np.ma.MaskedArray):
        return as_array(name, ids)
    if isinstance(ids, list | tuple) or (
        isinstance(ids, np.ndarray) and ids.dtype == object and ids.ndim == 1
    ):
        kinds = set(map(type, ids))
        if any(issubclass(kind, str) for kind in kinds):
            strings = np.empty(len(ids), object)
            strings[:] = ids
            return strings
        if any(issubclass(kind, bool | np.bool_) for kind in kinds):
            raise ValueError(f"{name} must be integers that fit int64, or strings, got a bool")
        if kinds and all(issubclass(kind, Integral) for kind in kinds):
            try:
                return np.array(ids, np.uint64 if max(ids) > np.iinfo(np.int64).max else np.int64)
            except OverflowError as error:
                raise ValueError(f"{name} must be integers that fit int64: {error}") from error
    try:
        values = np.asarray(ids)
    except ValueError as error:
        raise ValueError(f"{name} must be a list of integers or strings: {error}") from error
    is_foreign = values.dtype == object and not isinstance(ids, np.ndarray | list | tuple)
    if values.ndim == 1 and (values.dtype.kind in "UT" or is_foreign):
        return _array(name, values.tolist())
    return values


def _checked_strings(name: str, values: NDArray[Any]) -> NDArray[Any]:
    strings = values.tolist()
    for place, value in enumerate(strings):
        if not isinstance(value, str | Integral):
            raise ValueError(f"{name} must be integers or strings, got {type(value).__name__} at {place}")
    for place, value in enumerate(strings):
        if not isinstance(value, str):
            raise ValueError(
                f"{name} must be all integers or all strings, got {type(value).__name__} at {place}"
            )
    try:
        "".join(strings).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} must be valid Unicode, got a lone surrogate: {error.reason}") from error
    plain = np.empty(len(strings), object)
    plain[:] = [str(value) for value in strings]
    return plain
