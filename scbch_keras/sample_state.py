"""Variables of a model with a row a training sample: their size is known only once the data is."""

from typing import Any

import keras
import numpy as np
from keras import ops


def sample_variable(
    model: keras.Model, current: Any, shape: tuple[int, ...], name: str, initializer: str = "zeros"
) -> Any:
    """A variable (N, ...) of a built model, not trained; `current`, unchanged, where it has this shape."""
    if current is not None and tuple(current.shape) == shape:
        return current
    # A built model takes no more variables; this one has its size from the data.
    model._tracker.unlock()
    if current is not None:
        model._untrack_variable(current)
    variable = model.add_weight(
        shape=shape, initializer=initializer, trainable=False, dtype="float32", autocast=False, name=name
    )
    model._tracker.lock()
    model.train_function = None
    return variable


def stored_variable(model: keras.Model, store: Any, name: str) -> Any:
    """The variable of `sample_variable` by that name, as a model's `save_own_variables` stored it."""
    values = np.asarray(store[name])
    variable = sample_variable(model, None, values.shape, name)
    variable.assign(values)
    return variable


def sample_rows(variable: Any, x: dict[str, Any]) -> Any:
    """Row numbers (n, 1) of a batch's samples in a variable of `sample_variable`.

    Raises:
        ValueError: there is no variable yet, or the batch does not say its rows.
    """
    if variable is None or "index" not in x:
        raise ValueError(
            "This method keeps something of each training sample: call fit, with arrays, a PairDataset, or a loader "
            "that yields 'index', the samples' rows in the training set, beside 'image' and 'text'."
        )
    return ops.cast(x["index"], "int32")[:, None]


def write_rows(variable: Any, rows: Any, values: Any) -> None:
    """Put the values (n, ...) into the rows (n, 1); a value that is not finite leaves its place as it was."""
    before = ops.take(variable, rows[:, 0], axis=0)
    values = ops.stop_gradient(ops.where(ops.isfinite(values), values, before))
    variable.assign(ops.scatter_update(variable, rows, values))
