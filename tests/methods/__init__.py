"""Tests of the methods; the methods that SCBCH is compared with, by name, and what their authors' code gave."""

import keras
import numpy as np
from keras import ops

from scbch_keras.methods import classes
from tests.conftest import GOLDEN

BASELINES = {name: method for name, method in classes().items() if name != "scbch"}
# How a small model is trained soonest: on TensorFlow XLA takes longer than the training, on JAX to run one operation
# after the other does.
QUICKLY = {"jit_compile": keras.backend.backend() == "jax"}
EAGERLY = {"run_eagerly": keras.backend.backend() != "jax"}
VALUE, GRADIENT = 1e-5, 1e-4


def golden(name):
    with np.load(GOLDEN / "baselines" / f"{name}.npz") as file:
        return dict(file)


def agree(actual, expected, tolerance):
    """Whether arrays agree by the largest difference, as a share of the largest value."""
    actual, expected = np.asarray(ops.convert_to_numpy(actual)), np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()
