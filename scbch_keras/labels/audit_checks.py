"""What an audit asks of its arguments. numpy only."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.arrays import as_array, check_features


def check_ids(ids: Any, samples: int) -> None:
    """Refuse ids (samples,) that are no text, or that name a sample twice."""
    if not isinstance(ids, np.ndarray) or ids.dtype.kind != "U" or ids.shape != (samples,):
        raise ValueError(f"ids must be a numpy array of text of shape ({samples},); got {_describe(ids)}")
    distinct, count = np.unique(ids, return_counts=True)
    if len(distinct) < samples:
        raise ValueError(f"ids must name each sample once; {str(distinct[count.argmax()])!r} comes twice")
    _check_unicode("ids", ids.tolist())


def checked_numbers(name: str, values: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Finite floats of this shape, as an array; anything else is refused."""
    values = as_array(name, values)
    if values.dtype.kind in "biu" or values.shape != shape:
        raise ValueError(f"{name} must be an array of floats of shape {shape}; got {_describe(values)}.")
    check_features(name, values, ndim=len(shape))
    return values


def check_names(names: Any, classes: int) -> None:
    """Refuse names of labels that are not `classes` different texts."""
    if not isinstance(names, tuple | list) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"label_names must be a tuple or list of text, none of it empty; got {names!r}")
    if len(names) != classes:
        raise ValueError(f"label_names must name the {classes} columns of labels; got {len(names)} names")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"label_names must name each label once; {twice[0]!r} comes twice")
    _check_unicode("label_names", names)


def _check_unicode(name: str, texts: Sequence[str]) -> None:
    for text in texts:
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError(f"{name} must be text that UTF-8 can hold; {text!r} has half a surrogate pair")


def _describe(values: Any) -> str:
    if isinstance(values, np.ndarray):
        return f"{values.dtype} of shape {values.shape}"
    return type(values).__name__
