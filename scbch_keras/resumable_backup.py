"""A training that was killed goes on where it was, bit for bit: the callback."""

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from scbch_keras import backend
from scbch_keras.checks import flag, refuse, whole
from scbch_keras.data import LoaderPairs, PairDataset
from scbch_keras.loader_order import LoaderOrder, PassDigest
from scbch_keras.training_identity import data_identity, model_identity
from scbch_keras.training_state import (
    digest,
    load_state,
    random_states,
    read_variables,
    save_state,
    set_random_states,
    set_state_of_callback,
    state_of_callback,
    variables_of,
    write_variables,
)

FILE = "training.npz"


class ResumableBackup(keras.callbacks.Callback):
    """Back up a training so that `fit`, called again by the same script, goes on bit for bit as if never stopped.

    Kept are the weights, the optimizer, metrics, seed generators, the state of the other callbacks (`EarlyStopping`,
    `ReduceLROnPlateau`, `ModelCheckpoint`, the history, and any whose attributes are plain values and arrays or that
    has `get_state()` and `set_state(state)`), the random states of Python, NumPy and PyTorch, the training set's order
    and the place in the epoch. `keras.callbacks.BackupAndRestore` keeps the weights and the optimizer alone.

    The batches of an epoch before the place of a backup are read once more and passed over.

    Args:
        backup_dir: folder of the backup, of this training alone; made if it is missing. It holds one file, which is
            replaced as a whole.
        save_freq: "epoch", or int >= 1: batches from one backup to the next; the end of an epoch is one too.
        delete_checkpoint: whether the backup goes when the training has ended.
        fixed_order: that a loader, whose order is not known otherwise, yields the same batches in the same order in
            each pass.

    Raises:
        ValueError: a wrong argument; and from `fit`, before the first step, a loader or a callback that cannot be
            brought back, or a backup of another training, or a damaged one.
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: Any = "epoch",
        delete_checkpoint: bool = True,
        *,
        fixed_order: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(backup_dir, str | os.PathLike) or not str(backup_dir):
            refuse("backup_dir", "the path of a folder", backup_dir)
        self.path = Path(backup_dir) / FILE
        self.save_freq = None if save_freq == "epoch" else whole("save_freq", save_freq, 1)
        self.delete_checkpoint = flag("delete_checkpoint", delete_checkpoint)
        self.fixed_order = flag("fixed_order", fixed_order)
        self._pairs: Any = None
        self._all: list[Any] = []
        self._others: list[Any] = []

    def attach(self, pairs: Any, callbacks: list[Any], train_data: Any) -> None:
        """Get to know the training set and the other callbacks; `fit` calls it.

        Args:
            pairs: `PairDataset` or `LoaderPairs`.
            callbacks: the others, in their order.
            train_data: what Keras trains on.

        Raises:
            ValueError: a training set or a callback that cannot be brought back.
        """
        for callback in callbacks:
            kind = type(callback).__name__
            if isinstance(callback, ResumableBackup | keras.callbacks.BackupAndRestore):
                raise ValueError(
                    f"callbacks must have one ResumableBackup and no {kind} beside it; got both."
                )
            if isinstance(callback, keras.callbacks.CSVLogger) and not callback.append:
                raise ValueError(
                    "CSVLogger must have append=True beside ResumableBackup: it would begin its file anew."
                )
        self._pairs, self._all = pairs, callbacks
        self._others = [c for c in callbacks if not isinstance(c, _WITHOUT_STATE)]
        self._order = LoaderOrder(pairs.loader, self.fixed_order) if isinstance(pairs, LoaderPairs) else None
        self._passed = PassDigest()
        if self._order is not None:
            train_data.passed = self._passed
        self._training = data_identity(pairs)

    def on_train_begin(self, logs: Any = None) -> None:
        """Go on from the backup, if there is one."""
        if self._pairs is None:
            raise ValueError(
                "ResumableBackup works in fit of scbch_keras' models; use BackupAndRestore for others."
            )
        if self.save_freq is not None and self.model.steps_per_execution != 1:
            raise ValueError("save_freq must be 'epoch' with steps_per_execution above 1.")
        self._settings = [_snapshot(callback) for callback in self._others]
        self._resumed: dict[str, Any] | None = None
        self._fixed_pass = ""
        self._train_function: Any = None
        self._kept_initial_epoch = self.model._initial_epoch
        for left in self.path.parent.glob(f".{FILE}-*"):  # of a process that was killed while it wrote
            left.unlink()
        if not self.path.is_file():
            return
        state = load_state(self.path)
        self._check(state)
        if isinstance(self._pairs, PairDataset):
            self._pairs.seed = state["seed"]
        if state["stopped"] and state["batch"] == 0:
            self._restore(state)
            self.model._initial_epoch = self.params["epochs"]
            return
        self.model._initial_epoch = state["epoch"]
        if state["batch"] == 0:
            self._restore(state)
        self._resumed = state

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Pass over the batches before the backup."""
        state, self._resumed = self._resumed, None
        if state is not None and state["batch"]:
            set_random_states(state["epoch_random"])
            if self._order is not None:
                self._order.set_state(state["epoch_order"])
            self._passing = state
            model = self.model
            self._train_function = model.train_function
            model.train_function = backend.passing_over(model.get_metrics_result())
            self._muted = _mute(self._all)
        self._epoch, self._since, self._batches = epoch, 0, 0
        self._epoch_random = random_states()
        self._epoch_order = None if self._order is None else self._order.state()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Begin to train at the place of the backup; back up every `save_freq` batches."""
        if self._train_function is not None:
            if batch + 1 == self._passing["batch"]:
                self._go_on()
                self._batches = batch + 1
            return
        self._since, self._batches = self._since + 1, batch + 1
        if self.save_freq is not None and self._since >= self.save_freq:
            self._save(self._epoch, batch + 1)
            self._since = 0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Back up."""
        if self._train_function is not None:
            place = self._passing["batch"]
            raise ValueError(
                f"The training set has fewer than the {place} batches that the backup {self.path} had seen."
            )
        if self.fixed_order and self._order is not None:
            self._check_order(self._passed.of(self._batches))
        self._save(epoch + 1, 0)

    def on_train_end(self, logs: Any = None) -> None:
        """Delete the backup: the training has ended."""
        self.model._initial_epoch = self._kept_initial_epoch
        if self.delete_checkpoint:
            self.path.unlink(missing_ok=True)

    def _check_order(self, passed: str) -> None:
        """Hold an epoch's batches to those of the first one. Raises ValueError."""
        if self._fixed_pass not in ("", passed):
            raise ValueError(
                "The loader yielded other batches in this epoch than in the one before, or in another order, which "
                "fixed_order=True excludes. Give it state_dict() and load_state_dict(dict), or pass a PairDataset."
            )
        self._fixed_pass = passed

    def _go_on(self) -> None:
        state = self._passing
        if self._order is not None and self._passed.of(state["batch"]) != state["passed"]:
            raise ValueError(
                f"The loader did not yield the batches that the training of {self.path} had seen: it has another "
                "order or other data, so that it cannot go on bit for bit. Pass arrays or a PairDataset, whose order "
                "follows from the seed, or delete the backup to train anew."
            )
        self.model.train_function, self._train_function = self._train_function, None
        for callback, methods in self._muted:
            for name in _OF_BATCHES:
                delattr(callback, name)
            vars(callback).update(methods)
        self._restore(state)

    def _save(self, epoch: int, batch: int) -> None:
        model = self.model
        self.path.parent.mkdir(parents=True, exist_ok=True)
        save_state(
            self.path,
            {
                "training": {**self._training, **model_identity(model)},
                "epoch": epoch,
                "batch": batch,
                "stopped": bool(model.stop_training),
                "seed": getattr(self._pairs, "seed", None),
                "variables": read_variables([*variables_of(model), *model.metrics_variables]),
                "callbacks": [
                    [_kind(callback), _changes(callback, settings)]
                    for callback, settings in zip(self._others, self._settings, strict=True)
                ],
                "random": random_states(),
                "epoch_random": self._epoch_random,
                "order": None if self._order is None else self._order.state(),
                "epoch_order": self._epoch_order,
                "passed": self._passed.of(batch),
                "fixed_pass": self._fixed_pass,
            },
        )

    def _check(self, state: dict[str, Any]) -> None:
        """Refuse a backup of another training. Raises ValueError."""
        remedy = f"go on with what the backup is of, or delete {self.path} to train anew"
        for name, now in {**self._training, **model_identity(self.model)}.items():
            then = state["training"].get(name)
            if then != now:
                raise ValueError(
                    f"{self.path} is of another training: {name} was {then}, and is {now}; {remedy}."
                )
        then, now = [kind for kind, _ in state["callbacks"]], [_kind(callback) for callback in self._others]
        if then != now:
            raise ValueError(
                f"{self.path} is of another training: callbacks were {then}, and are {now}; {remedy}."
            )

    def _restore(self, state: dict[str, Any]) -> None:
        model = self.model
        write_variables([*variables_of(model), *model.metrics_variables], state["variables"])
        model.variables_restored()
        for callback, (_, changed) in zip(self._others, state["callbacks"], strict=True):
            set_state_of_callback(callback, changed)
        if self._order is not None:
            self._order.set_state(state["order"])
        self._fixed_pass = state["fixed_pass"]
        model.stop_training = state["stopped"]
        set_random_states(state["random"])


_OF_BATCHES = ("on_train_batch_begin", "on_train_batch_end")


def _mute(callbacks: list[Any]) -> list[tuple[Any, dict[str, Any]]]:
    """Keep callbacks from batches; each with the methods that it had of its own, as LambdaCallback has."""
    muted = []
    for callback in callbacks:
        muted.append(
            (callback, {name: vars(callback)[name] for name in _OF_BATCHES if name in vars(callback)})
        )
        for name in _OF_BATCHES:
            setattr(callback, name, _nothing)
    return muted


def _nothing(*args: Any, **kwargs: Any) -> None:
    """Stand in for a callback's method while batches are passed over."""


_WITHOUT_STATE = (
    keras.callbacks.CSVLogger,
    keras.callbacks.TensorBoard,
    keras.callbacks.RemoteMonitor,
    keras.callbacks.ProgbarLogger,
)
"""Callbacks that write down and decide nothing."""


def _kind(callback: Any) -> str:
    return type(callback).__name__


def _snapshot(callback: Any) -> dict[str, tuple[Any, str]]:
    """Its attributes as training begins: what changes later is its state."""
    return {name: (value, _digest(value)) for name, value in state_of_callback(callback).items()}


def _changes(callback: Any, settings: dict[str, tuple[Any, str]]) -> dict[str, Any]:
    changed = {}
    for name, value in state_of_callback(callback).items():
        before, mark = settings.get(name, (None, None))
        is_same = value is before and not isinstance(value, list | dict | set)
        if name == "get_state" or not (is_same or (mark and _digest(value) == mark)):
            changed[name] = value
    return changed


def _digest(value: Any) -> str:
    # An array, or a tuple that holds some, is a setting while it is the same object.
    return "" if isinstance(value, np.ndarray | tuple) else digest(value)
