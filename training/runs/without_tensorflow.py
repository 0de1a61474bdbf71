"""Trainings on other backends that leave TensorFlow alone, where it is installed.

Keras imports it to seed it, and to ask whether what is saved is TensorFlow's: seconds in each process that trains.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras.src.utils import module_utils


@contextmanager
def without_tensorflow() -> Iterator[None]:
    """Within the block Keras takes TensorFlow for absent, unless it is the backend or has been imported before."""
    tensorflow: Any = getattr(module_utils, "tensorflow", None)
    # Keras' own, which a later version may have otherwise: then it imports.
    untried = hasattr(tensorflow, "_available") and tensorflow._available is None
    if not untried or "tensorflow" in sys.modules or keras.backend.backend() == "tensorflow":
        yield
        return
    tensorflow._available = False
    try:
        yield
    finally:
        tensorflow._available = None
