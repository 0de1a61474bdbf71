"""Training on several devices or processes: what would not train one model is refused before the first step."""

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from scbch_keras import backend
from scbch_keras.data import LoaderPairs, PairDataset
from scbch_keras.resumable_backup import ResumableBackup
from scbch_keras.training_identity import data_identity, model_identity
from scbch_keras.training_state import digest

if TYPE_CHECKING:
    from scbch_keras.network import HashNetwork

WHAT_WORKS = (
    "What works: one process with one device on every backend; on PyTorch several processes, started by torchrun; on "
    "JAX one process with several devices, by keras.distribution.set_distribution(keras.distribution.DataParallel())."
)
OF_FIRST = (keras.callbacks.ModelCheckpoint, keras.callbacks.CSVLogger, keras.callbacks.TensorBoard)
"""Callbacks that write files: of several processes the first has them alone."""


def check_devices(model: keras.Model) -> None:
    """Refuse what would train unrelated models, or something else than the model's objective.

    Processes that torchrun started are joined on PyTorch.

    Raises:
        RuntimeError: several processes, or a distribution, that the backend does not have; it says what works.
    """
    processes = _workers() if backend.processes else max(_workers(), _world_size())
    if processes > 1:
        raise RuntimeError(
            f"This is one of {processes} processes that were started to train together (WORLD_SIZE or TF_CONFIG in the "
            "environment). Each would train a model of its own: the objective compares all pairs of a batch, and "
            f"nothing exchanges codes or gradients between them. {WHAT_WORKS}"
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


def check_processes(model: "HashNetwork", pairs: PairDataset | LoaderPairs, callbacks: Sequence[Any]) -> None:
    """Refuse what several processes cannot train as one would, each having what it was given.

    Raises:
        ValueError: a loader; a callback or a layer that cannot be shared; other data or settings in some process.
    """
    if isinstance(pairs, LoaderPairs):
        raise ValueError(
            "Several processes read the same batches, each computing its part; that a loader yields the same in each "
            "cannot be known. Pass arrays or a PairDataset."
        )
    kinds = (keras.callbacks.BackupAndRestore, ResumableBackup)
    backups = [callback for callback in callbacks if isinstance(callback, kinds)]
    if backups:
        raise ValueError(
            f"{type(backups[0]).__name__} would write one file from several processes. Use ModelCheckpoint, which the "
            "first one has alone, and load its file in each to go on."
        )
    if model.moving_statistics():
        raise ValueError(
            "A layer keeps moving means of its inputs (BatchNormalization), of which each process would see a part. "
            "Use LayerNormalization or GroupNormalization, or train in one process."
        )
    training = {**data_identity(pairs), **model_identity(model), "seed": pairs.seed}
    training |= {
        "rate": float(ops.convert_to_numpy(model.optimizer.learning_rate)),
        "weight": pairs.sample_weight,
    }
    if backend.processes.differ(bytes.fromhex(digest(training))):
        raise ValueError(
            "The processes were given different data, models or settings: each must pass the same arrays, or a "
            "PairDataset with the same seed, to the same model."
        )


class Together(keras.callbacks.Callback):
    """Several processes begin with the same weights and end at the same epoch. `fit` adds it itself."""

    def on_train_begin(self, logs: Any = None) -> None:
        """Take the first process' weights and optimizer."""
        variables = [*self.model.variables, *self.model.optimizer.variables]
        backend.processes.share(variables)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stop where the first process stops."""
        self.model.stop_training = bool(backend.processes.of_first(int(self.model.stop_training)))


def callbacks_of_process(callbacks: Sequence[Any]) -> list[Any]:
    """Of several processes the first has all callbacks, the others those that write nothing."""
    first = backend.processes.rank() == 0
    return [*(callback for callback in callbacks if first or not isinstance(callback, OF_FIRST)), Together()]


def _world_size() -> int:
    """Processes that torchrun says take part."""
    world = os.environ.get("WORLD_SIZE", "1")
    return int(world) if world.isdecimal() else 1


def _workers() -> int:
    """Processes that a cluster of TensorFlow says take part."""
    try:
        cluster: Any = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
        return sum(len(cluster.get(kind, ())) for kind in ("chief", "master", "worker"))
    except (ValueError, AttributeError, TypeError):
        return 1  # not the form that TensorFlow reads
