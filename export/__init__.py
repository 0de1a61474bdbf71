"""Trained model to production: releases, and what opens them.

`release` writes a verified, versioned folder; `HashEncoder` opens one with numpy and onnxruntime alone;
`encode_file` writes codes with the model that made them beside, and `HammingIndex` searches them. Names are
loaded on first use: importing this package, or using any of them but `release`, imports neither keras nor
tensorflow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scbch_keras.export.codes_file import CodesFile, encode_file, open_index
    from scbch_keras.export.encoder import HashEncoder
    from scbch_keras.export.index import HammingIndex
    from scbch_keras.export.publish import Release, release
    from scbch_keras.export.source import Source
    from scbch_keras.export.text import TextPipeline

_HOMES = {
    "CodesFile": "codes_file",
    "HammingIndex": "index",
    "HashEncoder": "encoder",
    "Release": "publish",
    "Source": "source",
    "TextPipeline": "text",
    "encode_file": "codes_file",
    "open_index": "codes_file",
    "release": "publish",
}

__all__ = [
    "CodesFile",
    "HammingIndex",
    "HashEncoder",
    "Release",
    "Source",
    "TextPipeline",
    "encode_file",
    "open_index",
    "release",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
