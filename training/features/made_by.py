"""What made the features of a file of `scbch features`: encoders by their folder, settings and checksums."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py

from scbch_keras.stored import CORRUPT, FileKind

_KEY = "made_by"
_STORED = FileKind("a record of `scbch features`", "schema", (1,))
_MODALITIES = ("image", "text")


def record(file: h5py.File, image: Mapping[str, Any], text: Mapping[str, Any]) -> None:
    """Keep the configs of both modalities' features in an open file that is being written."""
    file.attrs[_KEY] = json.dumps(_STORED.marked({"image": image, "text": text}))


def recorded(path: Path) -> dict[str, dict[str, Any]]:
    """Modality -> the config of what made its features, of those that a release can pack from their files.

    Those are ONNX encoders and grey pixels: a file of data never makes anything else be loaded, or downloaded.

    Raises:
        ValueError: the record is damaged.
    """
    if path.suffix not in (".h5", ".hdf5"):
        return {}
    try:
        with h5py.File(path, "r") as file:
            if _KEY not in file.attrs:
                return {}
            stored = _STORED.unmarked(json.loads(file.attrs[_KEY]))
        found = {modality: stored[modality] for modality in _MODALITIES if _is_packable(stored[modality])}
    except CORRUPT as error:
        raise ValueError(
            f"{path}: the record of what made its features is damaged: {error}; make the file again"
        ) from error
    return found


def _is_packable(config: Mapping[str, Any]) -> bool:
    kind = config["kind"]
    return kind in ("onnx", "text encoder") or str(kind).startswith("pixels:")
