"""What tells one training from another: its data, its model and its optimizer."""

from typing import Any

import keras
import numpy as np

from scbch_keras.data import PairDataset
from scbch_keras.features import arrays_of
from scbch_keras.training_state import digest, variables_of


def data_identity(pairs: Any) -> dict[str, Any]:
    """What tells one training set from another, without a look at all of it."""
    identity: dict[str, Any] = {
        "backend": keras.backend.backend(),
        "samples": pairs.num_samples,
        "labels": digest(np.asarray(pairs.labels)),
    }
    if isinstance(pairs, PairDataset):
        identity |= {"batch_size": pairs.batch_size, "shuffle": pairs.shuffle}
        for name in ("image", "text"):
            for shown, values in arrays_of(name, getattr(pairs, name)):
                ends = np.asarray(values[[0, -1]], np.float64)
                identity[shown] = f"{values.shape} {digest(ends)[:12]}"
    return identity


def model_identity(model: Any) -> dict[str, Any]:
    """What tells one model and optimizer from another, their values and the learning rate apart."""
    settings = {name: str(getattr(model, name)) for name in ("bits", "num_classes", "l2", *model.SETTINGS)}
    optimizer = {
        name: str(value)
        for name, value in model.optimizer.get_config().items()
        if name not in ("name", "learning_rate")
    }
    variables = [*variables_of(model), *model.metrics_variables]
    return {
        "model": type(model).__name__,
        "settings": settings,
        "optimizer": [type(model.optimizer).__name__, optimizer],
        "weights": [f"{variable.dtype} {tuple(variable.shape)}" for variable in variables],
    }
