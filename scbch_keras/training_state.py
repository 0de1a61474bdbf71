"""What a training is at one moment, in one file: variables, random states, plain values; whole or absent, no pickle."""

import hashlib
import json
import random
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from scbch_keras.files import loads, replaced
from scbch_keras.npz import load_npz
from scbch_keras.stored import FileKind, json_array

Arrays = dict[str, NDArray[Any]]
_STORED = FileKind("a backup of a training", "format", (1,), "delete it to train anew")
_STATE, _CHECKSUM = "state", "sha256"


class CannotCaptureError(ValueError):
    """A value that is neither plain nor an array."""


def variables_of(model: Any) -> list[Any]:
    """All that a training changes and the model holds, metrics apart: weights, seeds, optimizer."""
    return [*model.variables, *model.optimizer.variables]


def read_variables(variables: Iterable[Any]) -> list[NDArray[Any]]:
    """Their values, copied."""
    return [np.array(ops.convert_to_numpy(variable.value)) for variable in variables]


def write_variables(variables: Iterable[Any], values: Iterable[Any]) -> None:
    """Give variables the values that `read_variables` read."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def encode(value: Any, arrays: Arrays) -> Any:
    """A plain value, or a list, tuple or dict of them, as JSON has it; arrays in it go into `arrays`.

    Raises:
        CannotCaptureError: the value, or one within it, is neither plain nor an array.
    """
    if value is None or type(value) in (bool, int, float, str):
        return {"value": value}
    if isinstance(value, list | tuple | set | frozenset):
        return {"kind": type(value).__name__, "items": [encode(item, arrays) for item in value]}
    if isinstance(value, Mapping) and all(isinstance(key, str | int) for key in value):
        return {"kind": "dict", "items": [[key, encode(item, arrays)] for key, item in value.items()]}
    if isinstance(value, np.ndarray | np.generic) or ops.is_tensor(value):
        array = np.array(value if isinstance(value, np.ndarray | np.generic) else ops.convert_to_numpy(value))
        if array.dtype.kind in "biufc" or array.dtype.type.__module__ == "ml_dtypes":
            name = f"array {len(arrays)}"
            # NumPy's files know no bfloat16 and its like: their bytes, and the name of the type.
            arrays[name] = array if array.dtype.kind != "V" else np.frombuffer(array.tobytes(), np.uint8)
            scalar = isinstance(value, np.generic)
            return {
                "kind": "array",
                "name": name,
                "dtype": str(array.dtype),
                "shape": array.shape,
                "scalar": scalar,
            }
    raise CannotCaptureError(type(value).__qualname__)


def decode(coded: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """What `encode` was given."""
    kind = coded.get("kind")
    if kind is None:
        return coded["value"]
    if kind == "array":
        array = arrays[coded["name"]]
        if str(array.dtype) != coded["dtype"]:
            array = np.frombuffer(array.tobytes(), np.dtype(coded["dtype"]))
        array = array.reshape(coded["shape"])
        return array[()] if coded["scalar"] else array.copy()
    if kind == "dict":
        return {key: decode(item, arrays) for key, item in coded["items"]}
    kinds = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
    return kinds[kind](decode(item, arrays) for item in coded["items"])


def digest(value: Any) -> str:
    """SHA-256 of what `encode` takes: equal values have equal ones."""
    arrays: Arrays = {}
    return _checksum(json.dumps(encode(value, arrays)).encode(), arrays)


def random_states() -> dict[str, Any]:
    """States of the generators of a process: Python's, NumPy's, and PyTorch's, each card's too, where it is loaded."""
    legacy = np.random.get_state()  # noqa: NPY002
    states: dict[str, Any] = {"python": random.getstate(), "numpy": legacy}
    if torch := sys.modules.get("torch"):
        states["torch"] = torch.get_rng_state().numpy()
        # What Keras' dropout draws from there.
        states["cards"] = [state.numpy() for state in torch.cuda.get_rng_state_all()]
    return states


def set_random_states(states: Mapping[str, Any]) -> None:
    """Set the generators of this process to what `random_states` read."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    if "torch" in states and (torch := sys.modules.get("torch")):
        torch.set_rng_state(torch.from_numpy(states["torch"].copy()))
        for card, state in enumerate(states["cards"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(torch.from_numpy(state.copy()), card)


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state of plain values and arrays; readers see the old one or this, never a part.

    Raises:
        OSError: the file cannot be written; the old one stays.
    """
    arrays: Arrays = {}
    content = json_array(_STORED.marked({"state": encode(state, arrays)}))
    checksum = np.array(_checksum(content.tobytes(), arrays))
    with replaced(path) as file:
        np.savez(file, allow_pickle=False, **{_STATE: content, _CHECKSUM: checksum}, **arrays)


def load_state(path: Path) -> dict[str, Any]:
    """What `save_state` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is something else, or damaged.
    """
    path.stat()
    with _STORED.reading(path):
        arrays = load_npz(path)
        content, checksum = arrays.pop(_STATE).tobytes(), str(arrays.pop(_CHECKSUM))
        if checksum != _checksum(content, arrays):
            raise ValueError("its sha256 differs from the one it holds")
        state: dict[str, Any] = decode(_STORED.unmarked(loads(content))["state"], arrays)
    return state


def _checksum(content: bytes, arrays: Mapping[str, NDArray[Any]]) -> str:
    checksum = hashlib.sha256(content)
    for name, values in sorted(arrays.items()):
        checksum.update(f"{name} {values.dtype} {values.shape}".encode())
        checksum.update(np.ascontiguousarray(values).tobytes())
    return checksum.hexdigest()


def state_of_callback(callback: Any) -> dict[str, Any]:
    """The attributes of a callback that can change, by name: `get_state()` where it has one.

    Functions, models, paths and data sets are taken to be settings.

    Raises:
        CannotCaptureError: an attribute is something else, which may change; the message names it.
    """
    if hasattr(callback, "get_state"):
        return {"get_state": callback.get_state()}
    state = {}
    for name, value in vars(callback).items():
        if name in ("_model", "params", "validation_data", "monitor_op") or _is_setting(value):
            continue
        try:
            if not isinstance(value, np.ndarray | tuple):
                encode(value, {})
        except CannotCaptureError as error:
            raise CannotCaptureError(
                f"{type(callback).__name__} keeps {name!r}, {error}, which a backup cannot hold; give the class "
                "get_state() -> dict of plain values and arrays, and set_state(dict)"
            ) from None
        state[name] = value
    return state


def set_state_of_callback(callback: Any, state: Mapping[str, Any]) -> None:
    """Give a callback what `state_of_callback` read."""
    if set(state) == {"get_state"}:
        callback.set_state(state["get_state"])
        return
    # Keras' own choose their comparison at the first epoch's end, and turn the sign of min_delta with it.
    if getattr(callback, "monitor_op", True) is None and "min_delta" in state:
        callback._set_monitor_op()
    for name, value in state.items():
        setattr(callback, name, value)


def _is_setting(value: Any) -> bool:
    kinds = (keras.layers.Layer, keras.optimizers.Optimizer, keras.utils.PyDataset, Path)
    return callable(value) or isinstance(value, kinds)
