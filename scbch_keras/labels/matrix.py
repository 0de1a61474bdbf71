"""The one check of multi-label arrays, made wherever labels come in. numpy only."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.arrays import as_array, blocks


def check_labels(
    name: str, labels: Any, num_classes: int | None = None, soft: bool = False, rows: int | None = None
) -> NDArray[Any]:
    """Multi-labels (n, classes) of 0 and 1, n >= 1 and classes >= 1, as a NumPy array; anything else is refused.

    Any kind of array that `arrays.as_array` takes is all right; a row without any label is too. With `num_classes` or
    `rows` the number of columns or rows must be that. With `soft` labels may be probabilities, from 0 to 1.
    Raises ValueError naming the argument `name`, what was expected and what came, with the first bad row.
    """
    labels = as_array(name, labels)
    if labels.ndim != 2:
        hint = " One class number a sample must be one-hot encoded first." if labels.ndim == 1 else ""
        raise ValueError(f"{name} must have shape (n, classes); got shape {labels.shape}.{hint}")
    if 0 in labels.shape:
        raise ValueError(f"{name} must not be empty; got shape {labels.shape}.")
    if num_classes is not None and labels.shape[1] != num_classes:
        raise ValueError(f"{name} must have {num_classes} classes (columns); got {labels.shape[1]}.")
    if rows is not None and len(labels) != rows:
        raise ValueError(f"{name} must have {rows} rows, one a sample; got {len(labels)}.")
    for start, block in blocks(labels):
        wrong = ~((block >= 0) & (block <= 1)) if soft else (block != 0) & (block != 1)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            allowed = "probabilities from 0 to 1" if soft else "0 and 1"
            raise ValueError(
                f"{name} must hold only {allowed}; the first row that does not is {start + row} "
                f"(column {column}: {block[row, column]})."
            )
    return labels
