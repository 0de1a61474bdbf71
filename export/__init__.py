"""Trained model to production: releases, and what opens them.

`release` writes a verified, versioned folder; `HashEncoder` opens one with numpy and onnxruntime alone;
`HammingIndex` searches the codes. Names are loaded on first use: importing this package, or using
`HashEncoder` and `HammingIndex`, imports neither keras nor tensorflow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scbch_keras.export.encoder import HashEncoder
    from scbch_keras.export.image import ImagePipeline
    from scbch_keras.export.index import HammingIndex
    from scbch_keras.export.publish import Release, release
    from scbch_keras.export.text import TextPipeline

_HOMES = {
    "HammingIndex": "index",
    "HashEncoder": "encoder",
    "ImagePipeline": "image",
    "Release": "publish",
    "TextPipeline": "text",
    "release": "publish",
}

__all__ = ["HammingIndex", "HashEncoder", "ImagePipeline", "Release", "TextPipeline", "release"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
