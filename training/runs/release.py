"""A finished run of `scbch train` -> a release, with all that the run knows of itself."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scbch_keras.export import Evaluation, ImagePipeline, Release, TextPipeline, release
from scbch_keras.hashing import CrossModalHashing
from scbch_keras.preprocessing.image_encoder import ImageEncoder
from scbch_keras.preprocessing.text_encoder import TextEncoder
from scbch_keras.training.data.pairs import RetrievalData
from scbch_keras.training.features import sentences
from scbch_keras.training.runs.folder import RunFolder
from scbch_keras.training.runs.open_data import IMAGE, open_data, stored_backbone
from scbch_keras.training.runs.train import load_model


def release_run(
    path: Path,
    out: Path,
    formats: Sequence[str] = ("saved_model", "onnx"),
    quantize: Sequence[str] = (),
    min_map: float | None = None,
    max_map_loss: float | None = 0.0,
    progress: Callable[[str], object] = lambda step: None,
) -> Release:
    """Release a run's model, scored on the run's own queries and database.

    It takes strings where the run made its text features from words or with an encoder, and pictures where it made its
    image features with a backbone; both lie in the release. The manifest keeps the run's recipe, its data
    with checksums, and its metrics.

    Args:
        path: folder of the run.
        out: folder of the model's versions; its name is the model's.
        formats: as in `release`.
        quantize: as in `release`.
        min_map: as in `release`.
        max_map_loss: as in `release`.
        progress: as in `release`.

    Raises:
        RunError: the run is not finished, has no model, or its data has changed.
        ValueError, RuntimeError: as `release` does.
    """
    run = RunFolder.open(path)
    run.check_finished()
    progress("Opening the run and its data")
    model = load_model(run)
    data = open_data(run.recipe, path)
    run.check_data(data)
    return release_trained(
        run,
        model,
        data,
        out,
        formats=formats,
        text=_servable(_text_pipeline(path), formats),
        image=_servable(_image_pipeline(path), formats),
        quantize=quantize,
        min_map=min_map,
        max_map_loss=max_map_loss,
        progress=progress,
    )


def release_trained(
    run: RunFolder, model: CrossModalHashing, data: RetrievalData, out: Path, **options: Any
) -> Release:
    """Release the model of a finished run with the record of its training, scored on its data.

    options: others of `release`.
    """
    query, database = ((part.inputs, part.labels) for part in (data.query, data.database))
    return release(
        model,
        out,
        label_names=data.label_names or None,
        training=_training(run.state),
        evaluation=Evaluation.of(query, database),
        **options,
    )


def _servable(pipeline: Any, formats: Sequence[str]) -> Any:
    """The pipeline; None, with a warning, for an encoder in a release that nothing could run it in."""
    if isinstance(pipeline, TextEncoder | ImageEncoder) and "onnx" not in formats:
        warnings.warn(
            f"the release takes features alone: {pipeline.source} is run by HashEncoder, which needs the format onnx",
            stacklevel=3,
        )
        return None
    return pipeline


def _text_pipeline(path: Path) -> TextPipeline | TextEncoder | None:
    """What makes the run's text features of strings; None for features from files, Doc2Vec and functions."""
    if not sentences.is_saved(path):
        return None
    features = sentences.load(path)
    if isinstance(features, TextEncoder):
        return features
    return features.pipeline() if features.kind in ("bow", "tfidf") else None


def _image_pipeline(path: Path) -> ImagePipeline | ImageEncoder | None:
    """What makes the run's image features of pictures; None for features from files."""
    return stored_backbone(path).pipeline() if (path / IMAGE).is_file() else None


def _training(state: dict[str, Any]) -> dict[str, Any]:
    """What a manifest keeps of a run: the names of the labels stand there already, and curves are for figures."""
    metrics = {
        direction: {name: value for name, value in scores.items() if not isinstance(value, list)}
        for direction, scores in state["metrics"].items()
    }
    data = {name: value for name, value in state["data"].items() if name != "label_names"}
    return {"recipe": state["recipe"], "data": data, "metrics": metrics, "epochs": len(state["history"])}
