"""A training run from a recipe: resumable, stopped by Ctrl-C at the end of an epoch, recorded for the figures."""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from scbch_keras.baselines import BASELINES
from scbch_keras.callbacks import RetrievalMetrics
from scbch_keras.codes import pack_codes
from scbch_keras.confidence import check_neighbors, confidence_weights
from scbch_keras.data import PairDataset
from scbch_keras.hashing import CrossModalHashing
from scbch_keras.layers import HashBranch
from scbch_keras.model import SCBCH
from scbch_keras.posterior import LabelPosterior, estimate
from scbch_keras.training.data.pairs import Pairs, RetrievalData
from scbch_keras.training.evaluation import encode, retrieval_metrics
from scbch_keras.training.recipe import VARIANTS, Recipe
from scbch_keras.training.run_folder import POSTERIOR, RunError, RunFolder

CHECKPOINT_SECONDS = 60.0
MAP_SAMPLES = 16
"""Training samples in the similarity maps (Fig. 5)."""


class RunStopped(Exception):  # noqa: N818 - not an error
    """The run was asked to stop and left a checkpoint."""


def train(
    run: RunFolder,
    data: RetrievalData,
    verbose: Any = "auto",
    keep_model: bool = True,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    asked: threading.Event | None = None,
) -> CrossModalHashing:
    """Train what is left of a run, and write everything that evaluation, figures and audit read.

    The same recipe, data and backend give the same codes, stopped and resumed or not.

    Args:
        run: a run that was just created, or one that stopped.
        data: its data.
        verbose: Keras' progress bar.
        keep_model: whether the finished run keeps its weights (model.keras).
        callbacks: others, for instance to show progress.
        asked: set when the training shall stop at the end of its epoch; None: Ctrl-C and SIGTERM ask.

    Returns:
        The trained model.

    Raises:
        RunError: the data is not the run's.
        RunStopped: it was asked to stop; the epoch was finished and a checkpoint written.
    """
    recipe = run.recipe
    check_neighbors(recipe.neighbors, len(data.train))
    run.begin(data)
    if run.finished:
        raise RunError(f"{run.path}: the run is finished")
    keras.utils.set_random_seed(recipe.seed)
    train = data.train
    fresh = run.state["model"] is None
    model = new_model(recipe, train.labels.shape[1]) if fresh else load_model(run)
    with stop_when_asked() if asked is None else nullcontext(asked) as asked:
        keeper = _Keeper(run, train, asked)
        evaluation = RetrievalMetrics(
            (data.query.inputs, data.query.labels),
            (data.database.inputs, data.database.labels),
            every=recipe.evaluate_every,
        )
        targets = _probabilities(run, train) if model.soft_labels else train.labels
        model.fit(
            PairDataset(
                train.image,
                train.text,
                targets,
                recipe.batch_size,
                seed=recipe.seed,
                soft_labels=model.soft_labels,
            ),
            epochs=recipe.epochs,
            initial_epoch=run.epochs_done,
            callbacks=[evaluation, keeper, *callbacks],
            verbose=verbose,
        )
    if run.epochs_done < recipe.epochs:
        raise RunStopped(f"stopped after epoch {run.epochs_done} of {recipe.epochs}")
    _finish(run, model, data, keep_model)
    return model


def load_model(run: RunFolder) -> CrossModalHashing:
    """The run's model, as far as it was trained."""
    if run.state["model"] is None:
        raise RunError(f"{run.path}: the run has no model file")
    return keras.saving.load_model(run.path / run.state["model"], safe_mode=True)


def new_model(recipe: Recipe, num_classes: int) -> CrossModalHashing:
    """The compiled model of a recipe, not trained."""
    baseline = VARIANTS[recipe.variant].baseline
    method: Any = SCBCH if baseline is None else BASELINES[baseline]
    model = method(
        num_classes=num_classes,
        image_branch=HashBranch(recipe.bits, recipe.image_units, name="image_branch"),
        text_branch=HashBranch(recipe.bits, recipe.text_units, name="text_branch"),
        **recipe.model_settings(),
    )
    model.compile(keras.optimizers.Adam(recipe.learning_rate))
    return model


def _probabilities(run: RunFolder, train: Pairs) -> NDArray[np.float32]:
    """What the training labels probably are: estimated once, and kept with the run."""
    path = run.path / POSTERIOR
    if not path.is_file():
        estimate(train.image, train.text, train.labels, groups=train.groups).save(path)
    return LabelPosterior.load(path).probabilities


class _Keeper(keras.callbacks.Callback):
    """Keeps a run's history, its checkpoints, and what the figures compare: early and late."""

    def __init__(self, run: RunFolder, train: Pairs, asked: threading.Event):
        super().__init__()
        self.run, self.train, self.asked = run, train, asked
        self.history = list(run.state["history"])
        self.started = time.perf_counter() - run.state["seconds"]
        self.saved, self.pause = time.perf_counter(), CHECKPOINT_SECONDS

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.history.append({"epoch": epoch + 1, **_finite(logs or {})})
        model = self.model
        if epoch == 0:
            _save_maps(self.run, model, self.train, "first")
        if epoch == model.warmup_epochs and model.confidence_weighting:
            self.run.save_array("confidence_early", keras.ops.convert_to_numpy(model.confidence))
        if self.asked.is_set():
            model.stop_training = True
        last = epoch + 1 == self.params["epochs"]
        if last or self.asked.is_set() or time.perf_counter() - self.saved > self.pause:
            self._checkpoint(epoch + 1)

    def _checkpoint(self, epochs: int) -> None:
        began = time.perf_counter()
        before = self.run.state["history"]
        self.run.state["history"] = self.history.copy()
        self.run.state["seconds"] = round(began - self.started, 2)
        try:
            self.run.save_model(self.model, f"checkpoint-{epochs}.keras")
        except BaseException:
            self.run.state["history"] = before
            raise
        self.saved = time.perf_counter()
        # At most a twentieth of the time goes into checkpoints of a large model.
        self.pause = max(CHECKPOINT_SECONDS, 20 * (self.saved - began))


def _finish(run: RunFolder, model: CrossModalHashing, data: RetrievalData, keep_model: bool) -> None:
    train, recipe = data.train, run.recipe
    codes = encode(model, train)
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
    packed = {}
    for part, pairs in (("query", data.query), ("database", data.database)):
        packed[part] = {name: pack_codes(values) for name, values in encode(model, pairs).items()}
        for name, values in packed[part].items():
            run.save_array(f"{part}_{name}_codes", values)
        run.save_array(f"{part}_labels", pairs.labels)
    run.state["metrics"] = retrieval_metrics(
        packed["query"], packed["database"], data.query.labels, data.database.labels, model.bits
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


@contextmanager
def stop_when_asked() -> Iterator[threading.Event]:
    """The first Ctrl-C or SIGTERM sets the event; a second one acts as always."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: Any, frame: Any) -> None:
        asked.set()
        signal.signal(number, kept[number])

    for number in kept:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
