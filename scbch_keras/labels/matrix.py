"""The one check of multi-label arrays, made wherever labels come in. numpy only."""

from typing import Any

import numpy as np


def check_labels(name: str, labels: Any, num_classes: int | None = None, soft: bool = False) -> None:
    """Refuse anything but multi-labels: a numpy array (n, classes) of 0 and 1, n >= 1 and classes >= 1.

    Bool, integer and floating point arrays are all right; a row without any label is too. With `num_classes`
    the number of columns must be that. With `soft` they may be probabilities, from 0 to 1.
    Raises ValueError naming the argument `name`, what was expected and what came, with the first bad row.
    """
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "biuf":
        came = f"dtype {labels.dtype}" if isinstance(labels, np.ndarray) else type(labels).__name__
        raise ValueError(f"{name} must be a numpy array of 0 and 1, got {came}")
    if labels.ndim != 2:
        hint = "; one class number a sample must be one-hot encoded first" if labels.ndim == 1 else ""
        raise ValueError(f"{name} must have shape (n, classes), got shape {labels.shape}{hint}")
    if 0 in labels.shape:
        raise ValueError(f"{name} must not be empty, got shape {labels.shape}")
    if num_classes is not None and labels.shape[1] != num_classes:
        raise ValueError(f"{name} must have {num_classes} classes (columns), got {labels.shape[1]}")
    wrong = ~((labels >= 0) & (labels <= 1)) if soft else (labels != 0) & (labels != 1)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        allowed = "probabilities from 0 to 1" if soft else "0 and 1"
        raise ValueError(
            f"{name} must hold only {allowed}; the first row that does not is {row} "
            f"(column {column}: {labels[row, column]})"
        )
