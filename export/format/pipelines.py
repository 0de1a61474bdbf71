"""The pipelines that lie in a release, opened by its manifest."""

from collections.abc import Mapping
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
