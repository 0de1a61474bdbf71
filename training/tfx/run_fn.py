"""TFX's Trainer contract: `run_fn`, for Trainer(run_fn=...) or Trainer(module_file=...). Imports no tfx."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from scbch_keras.export.releasing.store import versions as versions_in
from scbch_keras.hashing import CrossModalHashing
from scbch_keras.training.data.own.vocabulary import check_names
from scbch_keras.training.data.pairs import Pairs, RetrievalData
from scbch_keras.training.environment import versions
from scbch_keras.training.runs.folder import STATE, RunError, RunFolder
from scbch_keras.training.runs.recipe import Recipe
from scbch_keras.training.runs.release import release_trained
from scbch_keras.training.runs.train import load_model, train
from scbch_keras.training.tfx.examples import read_examples
from scbch_keras.training.tfx.fn_args import Arguments
from scbch_keras.training.tfx.serving_model import is_placed, place
from scbch_keras.training.tfx.warm_start import warm_start

RUN, LOGS, RELEASE = "run", "logs", "release"
"""Folders in `model_run_dir`: the run (`RunFolder`), TensorBoard's logs, the release that is served."""


def run_fn(fn_args: Any) -> None:
    """Train on Examples, evaluate, and write the serving model: what TFX's Trainer calls.

    Called again with the same arguments after a kill, it goes on from the last checkpoint. Keras' backend is the
    one that is configured (KERAS_BACKEND).

    Args:
        fn_args: TFX's FnArgs, or any object with these attributes; those with * may be missing or None:
            train_files, eval_files: lists of patterns of TFRecord files; see `read_examples`.
            train_steps*: batches to train; rounded up to whole epochs, since confidence weights are made anew
                as an epoch begins. None or 0: the setting `epochs`, which must not be given beside it.
            eval_steps*: batches of eval_files that are evaluated, from the first; None or 0: all.
            serving_model_dir: becomes a SavedModel with the release's signatures, and model.keras and
                manifest.json in its assets.extra.
            eval_model_dir*: becomes the same.
            model_run_dir: gets the run with its metrics (run/run.json), logs/ and release/.
            base_model*: weights to start from; see `warm_start`.
            hyperparameters*: settings of a `Recipe` by name; or KerasTuner's HyperParameters or its config,
                whose own names (tuner/...) are passed over.
            custom_config*: {"scbch_keras": {"features": {"image": name, "text": name, "labels": name},
                "label_names": [...], "formats": [...], "settings": {...}}}, each of them optional. Settings
                are as in hyperparameters, which go over them.

    Queries of the evaluation are the records of eval_files, the database those of train_files, both with the
    labels they have.

    Raises:
        ValueError: an argument, a setting or a record that is wrong, told by name.
        FileExistsError: serving_model_dir or eval_model_dir holds something else.
        RunError: model_run_dir holds a run of other settings or data.
        RunStopped: SIGTERM or Ctrl-C; a checkpoint was left.
        RuntimeError: the release could not be built or verified.
    """
    arguments = Arguments.of(fn_args)
    released = _released(arguments.model_run_dir / RELEASE)
    for target in arguments.served:
        is_placed(target, released)

    _hide_gpu_from_tensorflow()
    data = _data(arguments)
    run = _run(arguments.model_run_dir / RUN, _with_epochs(arguments, len(data.train)))
    model = _trained(run, data, arguments)
    if released is None:
        out = arguments.model_run_dir / RELEASE
        released = release_trained(run, model, data, out, formats=arguments.formats).path
    for target in arguments.served:
        place(released, target)


def _hide_gpu_from_tensorflow() -> None:
    """TensorFlow only reads and logs beside another backend; it would take the GPU's whole memory for that."""
    if keras.backend.backend() != "tensorflow":
        import tensorflow as tf

        # Where its devices are in use already, somebody else has decided this.
        with suppress(RuntimeError):
            tf.config.set_visible_devices([], "GPU")


def _data(arguments: Arguments) -> RetrievalData:
    pairs, train_sources = read_examples("train_files", arguments.train_files, arguments.names)
    queries, query_sources = read_examples("eval_files", arguments.eval_files, arguments.names, like=pairs)
    classes = pairs.labels.shape[1]
    numbers = [str(number) for number in range(classes)]
    label_names = check_names(
        "label_names", numbers if arguments.label_names is None else arguments.label_names
    )
    if len(label_names) != classes:
        raise ValueError(f"label_names: expected {classes} names, one a label, got {len(label_names)}")
    if arguments.eval_steps is not None:
        queries = _first(queries, arguments.eval_steps * arguments.recipe.batch_size)
    notes = {
        "labels of queries and database": "the given ones, wrong ones included: no clean ones known",
        "split": "eval_files are the queries; train_files are trained on and searched",
    }
    return RetrievalData(
        name="examples",
        title="TFRecord examples",
        train=pairs,
        query=queries,
        database=pairs,
        label_names=label_names,
        sources=train_sources + query_sources,
        notes=notes,
    )


def _first(pairs: Pairs, rows: int) -> Pairs:
    return Pairs(pairs.image[:rows], pairs.text[:rows], pairs.labels[:rows], pairs.ids[:rows])


def _with_epochs(arguments: Arguments, rows: int) -> Recipe:
    if arguments.train_steps is None:
        return arguments.recipe
    return replace(
        arguments.recipe, epochs=-(-arguments.train_steps // -(-rows // arguments.recipe.batch_size))
    )


def _run(folder: Path, recipe: Recipe) -> RunFolder:
    """The run, begun or gone on with."""
    if not (folder / STATE).is_file():
        return RunFolder.create(folder, recipe, versions(recipe.backend or ""))
    run = RunFolder.open(folder)
    if run.recipe != recipe:
        raise RunError(f"{folder}: the run was begun with other settings; name another model_run_dir")
    return run


def _trained(run: RunFolder, data: RetrievalData, arguments: Arguments) -> CrossModalHashing:
    if run.finished:
        run.check_data(data)
        return load_model(run)
    if arguments.base_model is not None and run.state["model"] is None:
        warm_start(run, data, arguments.base_model)
    board = keras.callbacks.TensorBoard(str(arguments.model_run_dir / LOGS), write_graph=False)
    return train(run, data, verbose=2, callbacks=[board])


def _released(folder: Path) -> Path | None:
    """The release that an earlier call made."""
    made = versions_in(folder)
    return folder / str(made[-1]) if made else None
