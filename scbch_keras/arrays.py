"""The one gate for arrays: what is taken as features, labels and weights, and what of it a network sees. numpy only.

Taken is whatever NumPy reads as real numbers without a guess: arrays of any byte order and width, memory-mapped ones
(which stay on disk), lists, tensors of any backend, DataFrames, Arrow arrays. Refused by name, with the remedy: sparse
and masked arrays, complex numbers, dates, strings, objects. No framework is imported to tell.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Tensor: TypeAlias = Any
"""A tensor of the backend, whose three classes have no common type; shapes stand in the docstrings."""

_BLOCK_BYTES = 2**24
_KEPT = tuple(np.dtype(name) for name in ("bool", "int8", "uint8", "int16", "int32", "float32"))
_INT32 = np.iinfo(np.int32)


def as_array(name: str, values: Any) -> NDArray[Any]:
    """The values as a NumPy array of real numbers. What is such an array already is not copied: a memmap stays on disk.

    Raises:
        ValueError: sparse, masked or ragged values, or no real numbers: the message has the name and the remedy.
    """
    if type(values) not in (np.ndarray, np.memmap):
        values = _read(name, values)
    dtype = values.dtype
    if dtype.kind in "biu" or _is_float(dtype) or _is_small_integer(dtype):
        return values
    remedy = {
        "O": _remedy_for_objects(values),
        "c": " Give the real part, or real and imaginary part as columns.",
        "M": " Give them as numbers, such as days since a date.",
        "m": " Give them as numbers, such as days.",
    }.get(dtype.kind, "")
    raise ValueError(f"{name} must hold real numbers; got dtype {dtype}.{remedy}")


def is_dict_of_arrays(values: Any) -> bool:
    """Whether these are several arrays by name: a Mapping, as sparse matrices of keys are too, which are one."""
    return isinstance(values, Mapping) and not hasattr(values, "toarray")


def check_features(
    name: str,
    features: NDArray[Any],
    first_row: int = 0,
    ndim: int | None = None,
    rows: int | None = None,
    low: float | None = None,
) -> None:
    """Refuse features (n, ...) of which float32 or int32 cannot hold the values, reading a block at a time.

    Args:
        name: of the argument, for the messages.
        features: what `as_array` gave.
        first_row: number of the first row, for the messages.
        ndim: how many dimensions; None: two or more.
        rows: how many rows; None: any number.
        low: the least value; None: any.

    Raises:
        ValueError: another shape, no columns, or NaN, inf, and values beyond float32: the message has the first row.
    """
    shape = features.shape
    if len(shape) != ndim if ndim else len(shape) < 2:
        raise ValueError(
            f"{name} must have {ndim or 'at least 2'} dimensions, rows first; got shape {shape}."
        )
    if 0 in shape[1:]:
        raise ValueError(f"{name} must have at least one column; got shape {shape}.")
    if rows is not None and shape[0] != rows:
        raise ValueError(f"{name} must have {rows} rows; got shape {shape}.")
    for start, block in blocks(features):
        wrong = _not_held(block)
        if wrong is not None:
            row, value = _first(wrong, block)
            _refuse_value(name, first_row + start + row, value)
        if low is not None and (below := block < low).any():
            row, value = _first(below, block)
            raise ValueError(f"{name} must be >= {low}; row {first_row + start + row} holds {value}.")


def blocks(values: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """(first row, rows) of an array, so many rows at a time that a block has about 16 MB."""
    width = max(1, values.nbytes // max(1, len(values)))
    size = max(1, _BLOCK_BYTES // width)
    for start in range(0, len(values), size):
        yield start, np.asarray(values[start : start + size])


def as_network(values: NDArray[Any]) -> NDArray[Any]:
    """Rows as a network takes them on every backend: float32, or bool or an integer type up to int32.

    What is float32, bool, int8, uint8, int16 or int32 in the machine's byte order stays as it is; other integers become
    int32, other numbers float32. `check_features` has seen that their values fit.
    """
    values = np.asarray(values)
    if values.dtype in _KEPT and values.dtype.isnative:
        return values
    whole = values.dtype.kind in "iu" or _is_small_integer(values.dtype)
    return values.astype(np.int32 if whole else np.float32)


def as_float32(name: str, values: NDArray[Any], first_row: int = 0) -> NDArray[np.float32]:
    """A batch as contiguous float32, checked as `check_features` does."""
    check_features(name, values, first_row)
    return np.ascontiguousarray(values, np.float32)


def _read(name: str, values: Any) -> NDArray[Any]:
    """What is not a plain array yet, read into one."""
    if _is_sparse(values):
        calls = [call for call in ("toarray", "to_dense", "todense") if hasattr(values, call)]
        remedy = f": .{calls[0]}()" if calls else ""
        raise ValueError(f"{name} must be a dense array; got sparse {_kind(values)}. Make it dense{remedy}.")
    if isinstance(values, np.ma.MaskedArray):
        if np.ma.is_masked(values):
            _refuse_masked(name, int(np.argwhere(np.atleast_1d(np.ma.getmaskarray(values)))[0][0]))
        return np.asarray(values.data)
    if isinstance(values, Mapping):
        raise ValueError(f"{name} must be one array (n, ...); got a dict of {', '.join(map(str, values))}.")
    if isinstance(values, list | tuple):
        values = _rows(name, values)
    try:
        if type(values).__module__.startswith("keras.") and hasattr(values, "value"):
            values = values.value
        if hasattr(values, "detach"):
            values = _of_torch(values)
        array = np.asarray(_of_nullable(values))
    except Exception as error:  # each framework has its own, and so has each of the ways in which it cannot
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{name} must be an array of real numbers; got {_kind(values)}, which NumPy cannot read: {reason}"
        ) from error
    if array.dtype.kind == "O" and array.ndim == 0:
        padded = " Make its rows of one length: .to_tensor()." if hasattr(values, "to_tensor") else ""
        raise ValueError(f"{name} must be an array of real numbers; got {_kind(values)}.{padded}")
    return array


def _is_sparse(values: Any) -> bool:
    if any("sparse" in f"{kind.__module__}.{kind.__qualname__}".lower() for kind in type(values).__mro__):
        return True
    # A torch tensor in a sparse layout is of the same class as a dense one.
    return hasattr(values, "to_dense") and "sparse" in str(getattr(values, "layout", ""))


def _rows(name: str, values: Any) -> Any:
    """A list of rows, those read that NumPy would not read, or without what it must not lose, such as masks."""
    kinds = {type(row): row for row in values}.values()
    if any(isinstance(row, np.ma.MaskedArray) for row in kinds):
        masked = (number for number, row in enumerate(values) if np.ma.is_masked(row))
        if (row := next(masked, None)) is not None:
            _refuse_masked(name, row)
    if any(hasattr(row, "detach") or _is_sparse(row) for row in kinds):
        return [_read(name, row) for row in values]
    return values


def _refuse_masked(name: str, row: int) -> None:
    raise ValueError(
        f"{name} must not be masked; row {row} is, at least in part. Fill it: .filled(value), or drop the row."
    )


def _remedy_for_objects(values: NDArray[Any]) -> str:
    cell = next((cell for cell in values.flat if cell is not None), None)
    if hasattr(cell, "__len__") and not isinstance(cell, str | bytes):
        return " A cell holds a row; make one array of them: numpy.stack(list(column))."
    return " A cell is text, None or missing, or the columns have several types; convert them: .astype('float32')."


def _of_torch(tensor: Any) -> NDArray[Any]:
    tensor = tensor.detach()
    if str(tensor.dtype).startswith(("torch.bfloat16", "torch.float8")):
        tensor = tensor.float()  # NumPy has no such types; float32 holds each of their values
    return tensor.cpu().resolve_conj().resolve_neg().numpy()


def _of_nullable(values: Any) -> Any:
    """The numbers of a pandas object whose columns may miss values but do not; NumPy reads those as objects."""
    if not hasattr(values, "isna") or not hasattr(values, "dtypes"):
        return values
    dtypes = [getattr(dtype, "numpy_dtype", dtype) for dtype in np.ravel(values.dtypes)]
    numbers = all(isinstance(dtype, np.dtype) and dtype.kind in "biuf" for dtype in dtypes)
    if not dtypes or not numbers or np.any(values.isna()):
        return values
    return values.to_numpy(dtype=np.result_type(*dtypes))


def _kind(values: Any) -> str:
    kind = type(values)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _is_reduced(dtype: np.dtype) -> bool:
    # NumPy says of bfloat16 and its like that they are of kind "V", as records are.
    return dtype.type.__module__ == "ml_dtypes" and np.can_cast(dtype, np.float32)


def _is_float(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or (_is_reduced(dtype) and not _is_small_integer(dtype))


def _is_small_integer(dtype: np.dtype) -> bool:
    return _is_reduced(dtype) and "int" in dtype.type.__name__


def _not_held(block: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Where the values of a block are not finite as float32, or beyond int32; None: nowhere."""
    if _is_float(block.dtype):
        if block.dtype != np.float32 or not block.dtype.isnative:
            with np.errstate(over="ignore"):
                block = block.astype(np.float32)
        finite = np.isfinite(block)
        return None if finite.all() else ~finite
    if block.dtype.kind in "iu" and block.size and not np.can_cast(block.dtype, np.int32):
        # each compared with numbers of its own type: what int32 holds is nothing to a type that holds less
        low = max(_INT32.min, int(np.iinfo(block.dtype).min))
        if block.min() < low or block.max() > _INT32.max:
            return (block < low) | (block > _INT32.max)
    return None


def _first(wrong: NDArray[np.bool_], values: NDArray[Any]) -> tuple[int, Any]:
    place = np.unravel_index(int(wrong.argmax()), wrong.shape)
    return int(place[0]), values[place]


def _refuse_value(name: str, row: int, value: Any) -> None:
    if not _is_float(value.dtype):
        raise ValueError(
            f"{name} must hold integers that int32 can hold; row {row} holds {value}. "
            "Scale them, or give them as .astype('float32')."
        )
    if np.isfinite(value):
        raise ValueError(f"{name} must be finite as float32; row {row} holds {value!s}. Scale the values.")
    raise ValueError(f"{name} must be finite; row {row} holds NaN or inf.")
