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
    "JAX one process with several devices, by keras.distribution.set_distribution(keras.distribution.DataParallel()), "
    "and several processes that keras.distribution.initialize or jax.distributed.initialize has joined."
)
OF_FIRST = (keras.callbacks.ModelCheckpoint, keras.callbacks.CSVLogger, keras.callbacks.TensorBoard)
"""Callbacks that write files: of several processes the first has them alone."""


def check_devices(model: keras.Model) -> None:
    """Refuse what would train unrelated models, or something else than the model's objective.

    Processes that torchrun started are joined on PyTorch.

    Raises:
        RuntimeError: several processes, or a distribution, that the backend does not have; it says what works.
    """
    backend.check_devices(model)
    processes = max(_workers(), 1 if backend.several_processes() else _world_size())
    if processes > 1:
        raise RuntimeError(
            f"This is one of {processes} processes that were started to train together (WORLD_SIZE or TF_CONFIG in the "
            "environment). Each would train a model of its own: the objective compares all pairs of a batch, and "
            f"nothing exchanges codes or gradients between them. {WHAT_WORKS}"
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
    if backend.processes.PARTS_RUN_ALONE and model.moving_statistics():
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


class StepsTogether(keras.Model):
    """Keras' trainer, whose steps Python need not wait for, and which several devices or processes take together."""

    _jit_requested: Any

    @property
    def may_lag(self) -> bool:
        """Whether Python may run behind the steps of `fit`, and hand out the logs of the batch before."""
        return self._jit_requested == "auto" and not self.run_eagerly

    @property
    def optimizer_skips(self) -> bool:
        """Whether the optimizer itself skips non-finite gradients: loss scaling must see them to adapt."""
        return isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)

    def make_train_function(self, force: bool = False) -> None:
        """Keras' own; a step of all processes where several train together."""
        before: Any = self.train_function  # type: ignore[has-type]
        super().make_train_function(force)
        made: Any = self.train_function  # type: ignore[has-type]
        if backend.several_processes() and made is not before:
            self.train_function = backend.processes.together(made)

    def _get_jax_state(self, purge_model_variables: bool = False, **kinds: bool) -> Any:
        """Keras' own, which on JAX empties the variables for the steps of an epoch.

        What was in them is kept until a step hands out another: its error must not leave them empty.
        """
        state = super()._get_jax_state(purge_model_variables=purge_model_variables, **kinds)
        if purge_model_variables:
            self._jax_state = dict(
                zip((name for name, wanted in kinds.items() if wanted), state, strict=True)
            )
        return state

    def jax_state_sync(self) -> None:
        """Keras' own; of a state that several processes hold each takes what it has."""
        state: Any = getattr(self, "_jax_state", None)
        if backend.several_processes() and state:
            self._jax_state = {name: backend.processes.own(values) for name, values in state.items()}
        super().jax_state_sync()

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Keras' own; each of several processes evaluates all of the data that it is given."""
        with backend.placed(self):
            return super().evaluate(*args, **kwargs)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Keras' own; one of several processes may save alone."""
        with backend.placed(self):
            super().save(*args, **kwargs)


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
