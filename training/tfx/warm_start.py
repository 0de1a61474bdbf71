"""A run that starts from the weights of a model trained before."""

import tempfile
from pathlib import Path
from typing import Any

import keras

from scbch_keras.export.format import manifest as manifests
from scbch_keras.training.data.pairs import RetrievalData
from scbch_keras.training.runs.folder import RunFolder
from scbch_keras.training.runs.train import new_model

SERVED_EXTRA = "assets.extra"
"""Where a SavedModel keeps files that are not its own: there `run_fn` puts model.keras and the manifest."""


def warm_start(run: RunFolder, data: RetrievalData, base: Path) -> None:
    """Give a run that has no model yet the weights of `base`, with its own settings and a new optimizer.

    Args:
        run: before its first epoch.
        data: its data.
        base: a .keras file; or the folder of a release, or one that `run_fn` wrote as the serving model: there
            the file's sha256 must be the manifest's.

    Raises:
        FileNotFoundError: there is no such file, or no manifest in the folder.
        ValueError: the model cannot be read, or has other weights than the run's: another method, code length,
            widths or number of labels.
    """
    model = new_model(run.recipe, data.train.labels.shape[1])
    model.build({name: features.shape for name, features in data.train.inputs.items()})
    source = _load(base)
    ours, theirs = (
        (type(each).__name__, [tuple(weight.shape) for weight in each.weights]) for each in (model, source)
    )
    if ours != theirs:
        raise ValueError(
            f"base_model: expected {ours[0]} with weights {ours[1]}, as this run has, got {theirs[0]} with "
            f"{theirs[1]} in {base}"
        )
    model.set_weights(source.get_weights())
    # Else the file lacks the optimizer's slots, of which Keras warns when it is loaded.
    model.optimizer.build(model.trainable_variables)
    run.save_model(model, "checkpoint-0.keras")


def _load(base: Path) -> Any:
    if base.is_file():
        return _loaded(base, base)
    extra = base / SERVED_EXTRA
    folder = extra.resolve() if (extra / manifests.NAME).is_file() else base.resolve()
    content = manifests.read_verified(folder, manifests.read(folder), manifests.MODEL)
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary, manifests.MODEL)
        file.write_bytes(content)
        return _loaded(file, base)


def _loaded(file: Path, base: Path) -> Any:
    try:
        return keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises nearly anything for a file that is damaged or foreign
        raise ValueError(f"base_model: {base} holds no model that can be loaded: {error}") from error
