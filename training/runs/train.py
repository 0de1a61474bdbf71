"""A training run from a recipe: resumable, stopped by Ctrl-C at the next batch, recorded for the figures."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from scbch_keras.callbacks import RetrievalMetrics
from scbch_keras.checks import check_neighbors
from scbch_keras.confidence import confidence_weights
from scbch_keras.data import PairDataset
from scbch_keras.files import file_in
from scbch_keras.hashing import CrossModalHashing
from scbch_keras.labels.posterior import LabelPosterior, estimate
from scbch_keras.layers import HashBranch
from scbch_keras.methods import VARIANTS
from scbch_keras.training.data.pairs import Pairs, RetrievalData
from scbch_keras.training.environment import peak_memory
from scbch_keras.training.runs.evaluate import retrieval_metrics
from scbch_keras.training.runs.folder import POSTERIOR, RunError, RunFolder
from scbch_keras.training.runs.named import PRECISIONS
from scbch_keras.training.runs.open_data import checked_rows
from scbch_keras.training.runs.ranks import is_first
from scbch_keras.training.runs.recipe import Recipe
from scbch_keras.training.runs.stopping import RunStopped, Stop, Stopping, stopped_by_signals
from scbch_keras.training.runs.without_tensorflow import without_tensorflow
from scbch_keras.training_state import read_variables, variables_of, write_variables

__all__ = ["RunStopped", "epochs_told", "load_model", "new_model", "stopped_by_signals", "train"]

_log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 60.0
REMEMBERED_BYTES = 2**29
"""Up to this size a model is remembered as its last epoch left it, for a checkpoint when the run is stopped."""
MAP_SAMPLES = 16
"""Training samples in the similarity maps (Fig. 5)."""


def train(
    run: RunFolder,
    data: RetrievalData,
    verbose: Any = "auto",
    keep_model: bool = True,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    stop: Stop | None = None,
) -> CrossModalHashing:
    """Train what is left of a run, and write everything that evaluation, figures and audit read.

    The same recipe, data and backend give the same codes, stopped and resumed or not.

    Args:
        run: a run that was just created, or one that stopped.
        data: its data.
        verbose: Keras' progress bar.
        keep_model: whether the finished run keeps its weights (model.keras).
        callbacks: others, for instance to show progress.
        stop: set when the training shall stop, at its next batch; None: Ctrl-C and SIGTERM ask.

    Returns:
        The trained model.

    Raises:
        RunError: the data is not the run's.
        RunStopped: it was asked to stop. A checkpoint of the last finished epoch was written; of a model above
            `REMEMBERED_BYTES`, the last one stays that was on the disk.
    """
    held = run.in_use() if is_first() else nullcontext()
    stopping = stopped_by_signals() if stop is None else nullcontext(stop)
    with held, without_tensorflow(), stopping as stop:
        try:
            stop.check()
            return _train(run, data, verbose, keep_model, callbacks, stop)
        except Stopping:
            message = f"stopped after epoch {run.epochs_done} of {run.recipe.epochs}"
            raise RunStopped(message, stop.number) from None


def _train(
    run: RunFolder,
    data: RetrievalData,
    verbose: Any,
    keep_model: bool,
    callbacks: Sequence[keras.callbacks.Callback],
    stop: Stop,
) -> CrossModalHashing:
    recipe = run.recipe
    check_neighbors(recipe.neighbors, len(data.train))
    if is_first():
        run.begin(data)
    if run.finished:
        raise RunError(f"{run.path}: the run is finished")
    keras.utils.set_random_seed(recipe.seed)
    train = data.train
    fresh = run.state["model"] is None
    model = new_model(recipe, train.labels.shape[1]) if fresh else load_model(run)
    keeper = _Keeper(run, train, stop)
    evaluation = RetrievalMetrics(
        (data.query.inputs, data.query.labels),
        (data.database.inputs, data.database.labels),
        every=recipe.evaluate_every or _evaluate_every(data),
    )
    targets = _probabilities(run, data) if model.soft_labels else train.labels
    pairs = PairDataset(
        train.image,
        train.text,
        targets,
        recipe.batch_size,
        seed=recipe.seed,
        soft_labels=model.soft_labels,
    )
    try:
        model.fit(
            pairs,
            epochs=recipe.epochs,
            initial_epoch=run.epochs_done,
            callbacks=[evaluation, keeper, *callbacks] if is_first() else [],
            verbose=verbose,
        )
    except Stopping:
        if is_first():
            keeper.save_last(model)
        raise
    # Of several processes each encodes a part.
    codes = dict(zip(("image", "text"), model.codes_of(pairs), strict=True))
    if is_first():
        _finish(run, model, data, codes, evaluation, keep_model)
    return model


def _evaluate_every(data: RetrievalData) -> int:
    """Epochs from one evaluation to the next, so that encoding takes at most half as long as training."""
    # Rows that are training samples too are encoded for the confidence weights anyway; a step does for a sample three
    # times what its codes take.
    rows = len(data.query) + max(0, len(data.database) - len(data.train))
    every = max(1, math.ceil(rows / (1.5 * len(data.train))))
    if every > 1:
        _log.warning(
            "%d queries and %d rows of the database are encoded for an evaluation, beside %d that train: retrieval is "
            "evaluated every %d epochs, and after the last. evaluate_every=1 does it after each",
            len(data.query),
            len(data.database),
            len(data.train),
            every,
        )
    return every


def epochs_told(progress: Callable[[int, int], object], epochs: int) -> keras.callbacks.Callback:
    """A callback that tells epochs done and epochs in all."""
    return keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: progress(epoch + 1, epochs))


def load_model(run: RunFolder) -> CrossModalHashing:
    """The run's model, as far as it was trained. RunError if there is none, or it is damaged."""
    if run.state["model"] is None:
        raise RunError(f"{run.path}: the run has no model file")
    try:
        path = file_in(run.path, run.state["model"])
        model = keras.saving.load_model(path, safe_mode=True)
    except Exception as error:  # a damaged file can raise anything in Keras, zipfile and h5py
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise RunError(
            f"{run.path / str(run.state['model'])} is damaged, or no model of this version: {reason}; take the file "
            "from a backup, or train the run anew"
        ) from error
    if not isinstance(model, CrossModalHashing) or model.bits != run.recipe.bits:
        raise RunError(f"{path}: expected a model of {run.recipe.bits} bits as the recipe says, got {model}")
    return model


def new_model(recipe: Recipe, num_classes: int) -> CrossModalHashing:
    """The compiled model of a recipe, not trained."""
    method: Any = VARIANTS[recipe.variant].load()
    # Where the recipe names none it is that of Keras.
    policy = None if recipe.precision is None else PRECISIONS[recipe.precision]
    model = method(
        num_classes=num_classes,
        image_branch=HashBranch(recipe.bits, recipe.image_units, name="image_branch", dtype=policy),
        text_branch=HashBranch(recipe.bits, recipe.text_units, name="text_branch", dtype=policy),
        dtype=policy,
        **recipe.model_settings(),
    )
    model.compile(keras.optimizers.Adam(recipe.learning_rate))
    return model


def _probabilities(run: RunFolder, data: RetrievalData) -> NDArray[np.float32]:
    """What the training labels probably are: estimated once, and kept with the run."""
    path, recipe, train = run.path / POSTERIOR, run.recipe, data.train
    if path.is_file():
        return LabelPosterior.load(path).probabilities
    posterior = estimate(
        train.image,
        train.text,
        train.labels,
        VARIANTS[recipe.variant].noise_model,
        groups=train.groups,
        checked=None if recipe.checked is None else checked_rows(recipe, data).pair,
    )
    if is_first():
        posterior.save(path)
    return posterior.probabilities


class _Keeper(keras.callbacks.Callback):
    """Keeps a run's history, its checkpoints, and what the figures compare: early and late."""

    def __init__(self, run: RunFolder, train: Pairs, stop: Stop):
        super().__init__()
        self.run, self.train, self.stop = run, train, stop
        self.history = list(run.state["history"])
        self.started = time.perf_counter() - run.state["seconds"]
        self.cpu_started = time.process_time() - (run.state.get("cpu_seconds") or 0)
        self.saved, self.pause = time.perf_counter(), CHECKPOINT_SECONDS
        self.last: list[NDArray[Any]] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.stop.check()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        model = self.model
        if epoch == 0:
            _save_maps(self.run, model, self.train, "first")
        if epoch == model.warmup_epochs and model.confidence_weighting:
            self.run.save_array("confidence_early", keras.ops.convert_to_numpy(model.confidence))
        with self.stop.held():
            self.history.append({"epoch": epoch + 1, **_finite(logs or {})})
            self.last = self._remembered()
            last = epoch + 1 == self.params["epochs"]
            if last or time.perf_counter() - self.saved > self.pause:
                self._checkpoint(model)
        self.stop.check()

    def _remembered(self) -> list[NDArray[Any]]:
        variables = variables_of(self.model)
        if sum(4 * math.prod(variable.shape) for variable in variables) > REMEMBERED_BYTES:
            return []
        return read_variables(variables)

    def save_last(self, model: CrossModalHashing) -> None:
        """Write the checkpoint of the last finished epoch, whatever came after it."""
        if self.last and len(self.history) > self.run.epochs_done:
            write_variables(variables_of(model), self.last)
            with self.stop.held():
                self._checkpoint(model)

    def _checkpoint(self, model: CrossModalHashing) -> None:
        began = time.perf_counter()
        before = self.run.state["history"]
        self.run.state["history"] = self.history.copy()
        self.run.state["seconds"] = round(began - self.started, 2)
        self.run.state["cpu_seconds"] = round(time.process_time() - self.cpu_started, 2)
        peak = peak_memory()
        if peak is not None:
            self.run.state["peak_memory"] = max(peak, self.run.state.get("peak_memory") or 0)
        try:
            self.run.save_model(model, f"checkpoint-{len(self.history)}.keras")
        except BaseException:
            self.run.state["history"] = before
            raise
        self.saved = time.perf_counter()
        # At most a twentieth of the time goes into checkpoints of a large model.
        self.pause = max(CHECKPOINT_SECONDS, 20 * (self.saved - began))


def _finish(
    run: RunFolder,
    model: CrossModalHashing,
    data: RetrievalData,
    codes: Mapping[str, NDArray[np.float32]],
    evaluation: RetrievalMetrics,
    keep_model: bool,
) -> None:
    """Write what a finished run holds; `codes` are those of the training set."""
    train, recipe = data.train, run.recipe
    dialect = VARIANTS[recipe.variant].settings.get("dialect", "reference")
    confidence = confidence_weights(
        codes["image"], codes["text"], train.labels, recipe.neighbors, recipe.gamma, dialect
    )
    _save_maps(run, model, train, "last")
    run.save_array("confidence", confidence.weights)
    run.save_array("soft_labels", confidence.soft_labels)
    run.save_array("train_labels", train.labels)
    run.save_array("train_ids", train.ids)
    if train.clean_labels is not None:
        run.save_array("train_clean_labels", train.clean_labels)
    if train.pictures is not None:
        run.save_array("train_pictures", np.array([str(path.absolute()) for path in train.pictures]))
    if train.texts is not None:
        run.save_array("train_texts", np.array(train.texts))
    packed = evaluation.codes()
    for part, pairs in (("query", data.query), ("database", data.database)):
        for name, values in packed[part].items():
            run.save_array(f"{part}_{name}_codes", values)
        run.save_array(f"{part}_labels", pairs.labels)
    run.state["metrics"] = retrieval_metrics(
        packed["query"],
        packed["database"],
        data.query.labels,
        data.database.labels,
        model.bits,
        bool(recipe.graded),
    )
    run.state["status"] = "finished"
    if keep_model:
        run.save_model(model, "model.keras")
    else:
        run.drop_model()


def _save_maps(run: RunFolder, model: CrossModalHashing, train: Pairs, when: str) -> None:
    """Codes of the first few training samples that have labels, spread over the set."""
    rows = np.flatnonzero(train.labels.any(axis=1))
    rows = rows[np.linspace(0, len(rows) - 1, min(MAP_SAMPLES, len(rows))).astype(int)]
    run.save_array("map_labels", train.labels[rows])
    for name, encoder in (("image", model.encode_image), ("text", model.encode_text)):
        run.save_array(f"map_{name}_{when}", encoder(getattr(train, name)[rows], packed=False, verbose=0))


def _finite(logs: dict[str, Any]) -> dict[str, float | None]:
    values = {name: float(value) for name, value in logs.items()}
    return {name: value if np.isfinite(value) else None for name, value in values.items()}
