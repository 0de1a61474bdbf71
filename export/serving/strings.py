"""Strings to features in production by the ONNX encoder of a release, opened with the first string."""

from pathlib import Path
from typing import Any

from scbch_keras.export.format import manifest as manifests
from scbch_keras.export.format.pipelines import describing, encoder_settings
from scbch_keras.export.serving.session import Session, StartSession
from scbch_keras.preprocessing.text_encoder import TextEncoder, read_settings


def text_encoder(start: StartSession, folder: Path, manifest: dict[str, Any], width: int) -> TextEncoder:
    """The text encoder of a release. Safe to call from many threads, and in forked children.

    Raises ValueError if the manifest or a file is not as released, or does not go with features of `width` columns.
    """
    described, settings = encoder_settings(folder, manifest, manifests.TEXT_ENCODER, read_settings, width)
    with describing(folder, manifests.TEXT_ENCODER):
        tokenizer, onnx = described["tokenizer"], described["onnx"]
    content = manifests.read_verified(folder, manifest, tokenizer)
    session = Session(start, folder, manifest, onnx, settings)
    return TextEncoder(settings, content, session.run, str(folder / onnx))
