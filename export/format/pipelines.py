"""The pipelines that lie in a release, opened by its manifest."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scbch_keras.export.format import manifest as manifests
from scbch_keras.preprocessing.text import TextPipeline


def opened_pipeline(folder: Path, manifest: Mapping[str, Any]) -> tuple[TextPipeline, Path]:
    """The text pipeline of a release that takes strings, and its file.

    Raises ValueError for a damaged or foreign one.
    """
    try:
        relative = manifest["encoders"][manifests.RAW_TEXT]["pipeline"]["path"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"the manifest of {folder} does not describe its raw text encoder") from error
    content = manifests.read_verified(folder, manifest, relative)
    return TextPipeline.from_json(content, str(folder / relative)), folder / relative


def encoder_settings(
    folder: Path,
    manifest: Mapping[str, Any],
    entry: str,
    read: Callable[[bytes, str], dict[str, Any]],
    dimensions: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the manifest says of an ONNX encoder, and its settings as `read` gives them.

    Raises ValueError for a damaged or foreign one, or one that does not make the features of `dimensions` columns.
    """
    try:
        described = manifest["encoders"][entry]["pipeline"]
        relative = described["path"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"the manifest of {folder} does not describe its {entry}") from error
    settings = read(manifests.read_verified(folder, manifest, relative), str(folder / relative))
    if settings["dimensions"] != dimensions:
        raise ValueError(
            f"{folder / relative} gives {settings['dimensions']} features; the encoder behind it takes {dimensions}"
        )
    return described, settings
