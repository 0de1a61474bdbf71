"""Backbones from ONNX files, on the CPU."""

import hashlib
import json
from pathlib import Path

from scbch_keras.preprocessing.image_encoder import ImageEncoder
from scbch_keras.preprocessing.pictures import Size
from scbch_keras.training.features.images import ImageFeatures, settings


def from_file(path: Path, size: Size | None) -> ImageFeatures:
    """`image_backbone` of an .onnx file, or of the folder of one with encoder.json (`ImageEncoder.open`)."""
    encoder = ImageEncoder.open(path, size)
    ((_, digest),) = (encoder.made_of or {}).values()
    if path.is_dir():
        kept = {key: value for key, value in encoder.settings.items() if key not in ("inputs", "outputs")}
        digest = hashlib.sha256(f"{digest} {json.dumps(kept, sort_keys=True)}".encode()).hexdigest()
        described = {**settings("onnx", None, path=path, sha256=digest), **kept}
    else:
        described = settings("onnx", None, path=path, sha256=digest)
    return ImageFeatures(
        encoder.size, encoder.dimensions, described, encoder.compute, encoder, batch=encoder.batch
    )
