"""Training on several devices or processes: what would not train one model is refused before the first step."""

import json
import os
from typing import Any

import keras

from scbch_keras import backend

ONE_PROCESS = (
    "What works: one process with one device on every backend; on JAX one process with several devices, by "
    "keras.distribution.set_distribution(keras.distribution.DataParallel())."
)


def check_devices(model: keras.Model) -> None:
    """Refuse what would train unrelated models, or something else than the model's objective.

    Raises:
        RuntimeError: several processes, or a distribution that the backend does not have; it says what works.
    """
    processes = _launched_processes()
    if processes > 1:
        raise RuntimeError(
            f"This is one of {processes} processes that were started to train together (WORLD_SIZE or TF_CONFIG in the "
            "environment). Each would train a model of its own: the objective compares all pairs of a batch, and "
            f"nothing exchanges codes or gradients between processes yet. {ONE_PROCESS}"
        )
    backend.check_devices(model)


def check_batch_sizes(name: str, sizes: set[int]) -> None:
    """Refuse batches that the devices of a `keras.distribution` cannot have equal parts of.

    Raises:
        ValueError: names the set and the size.
    """
    multiple = backend.batch_multiple()
    uneven = sorted(size for size in sizes if size % multiple)
    if uneven:
        raise ValueError(
            f"{name} has a batch of {uneven[0]} samples, which {multiple} devices cannot share evenly. With "
            f"keras.distribution every batch, the last one too, must be a multiple of {multiple}: choose a batch size "
            f"and a number of samples that are."
        )


def _launched_processes() -> int:
    """Processes that a launcher (torchrun, TensorFlow's cluster) says take part."""
    world = os.environ.get("WORLD_SIZE", "1")
    count = int(world) if world.isdecimal() else 1
    try:
        cluster: Any = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
        workers = sum(len(cluster.get(kind, ())) for kind in ("chief", "master", "worker"))
    except (ValueError, AttributeError, TypeError):
        workers = 1  # not the form that TensorFlow reads
    return max(count, workers)
