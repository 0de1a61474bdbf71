"""Runs that train in seconds."""

import keras
import pytest

from scbch_keras.training.environment import versions
from scbch_keras.training.runs.folder import RunFolder
from scbch_keras.training.runs.open_data import open_data
from scbch_keras.training.runs.recipe import resolve
from scbch_keras.training.runs.train import train

BACKEND = keras.backend.backend()
# What knows of no backend runs on the one that starts quickest.
once = pytest.mark.skipif(BACKEND != "torch", reason="the same on every backend; runs on torch")
SMALL = {
    "backend": BACKEND,
    "bits": 16,
    "image_units": [32],
    "text_units": [32],
    "neighbors": 10,
    "warmup_epochs": 1,
    "learning_rate": 1e-3,
}


def begin(file, path, **settings):
    recipe = resolve(data=str(file), **{"epochs": 4, "noise": 0.3, **SMALL, **settings})
    return RunFolder.create(path, recipe, versions(BACKEND))


def trained(run, **settings):
    return train(run, open_data(run.recipe, run.path), verbose=0, **settings)
