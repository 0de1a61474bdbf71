"""The pipelines that lie in a release, opened by its manifest."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scbch_keras.export.format import manifest as manifests
from scbch_keras.preprocessing.text import TextPipeline


@contextmanager
def describing(folder: Path, entry: str) -> Iterator[None]:
    """What is read of an entry of the manifest here is there, or the ValueError says that it is not."""
    try:
        yield
    except (KeyError, TypeError) as error:
        raise ValueError(f"the manifest of {folder} does not describe its {entry}") from error


def opened_pipeline(folder: Path, manifest: Mapping[str, Any]) -> tuple[TextPipeline, Path]:
    """The text pipeline of a release that takes strings, and its file.

    Raises ValueError for a damaged or foreign one.
    """
    with describing(folder, manifests.RAW_TEXT):
        relative = manifest["encoders"][manifests.RAW_TEXT]["pipeline"]["path"]
    content = manifests.read_verified(folder, manifest, relative)
    return TextPipeline.from_json(content, str(folder / relative)), folder / relative


def encoder_settings(
    folder: Path,
    manifest: Mapping[str, Any],
    entry: str,
    read: Callable[[bytes, str], dict[str, Any]],
    dimensions: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the manifest says of the pipeline of an entry, and its settings as `read` gives them.

    Raises ValueError for a damaged or foreign one, or one that does not make the features of `dimensions` columns.
    """
    with describing(folder, entry):
        described = manifest["encoders"][entry]["pipeline"]
        relative = described["path"]
    settings = read(manifests.read_verified(folder, manifest, relative), str(folder / relative))
    if settings["dimensions"] != dimensions:
        raise ValueError(
            f"{folder / relative} gives {settings['dimensions']} features; the encoder behind it takes {dimensions}"
        )
    return described, settings
