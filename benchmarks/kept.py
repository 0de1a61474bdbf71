"""Scores of trainings kept in a folder: a table of hours goes on where it stopped.

Several commands may train other seeds of one table at once, each into the same folder; the command with all seeds then
prints it without a training. One folder a machine and a state of the package: a key is made of a training's seed, data,
settings and backend, not of its code.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

folder: Path | None = None
"""Where scores are kept; None keeps none."""


def score(train: Callable[[], dict[str, Any]], *key: Any) -> dict[str, Any]:
    """What `train` returns, from the folder where a training with the same key has been."""
    if folder is None:
        return train()
    path = folder / f"{_digest(key)}.json"
    if not path.is_file():
        text = json.dumps(train())
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
            file.write(text)
        os.replace(file.name, path)
    return json.loads(path.read_text())


def _digest(key: Any) -> str:
    import keras

    digest = hashlib.sha256(f"{keras.config.backend()} {keras.config.dtype_policy().name}".encode())

    def add(value: Any) -> None:
        if isinstance(value, dict):
            value = sorted(value.items())
        if isinstance(value, list | tuple):
            digest.update(f"({len(value)}".encode())
            for one in value:
                add(one)
        elif isinstance(value, np.ndarray):
            digest.update(f"{value.dtype.str}{value.shape}".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        elif isinstance(value, type):
            digest.update(value.__qualname__.encode())
        elif value is None or isinstance(value, str | int | float):
            digest.update(repr(value).encode())
        else:
            raise TypeError(f"key: cannot keep a training by a value of type {type(value).__name__}")

    add(key)
    return digest.hexdigest()
