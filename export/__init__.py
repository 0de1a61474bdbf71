"""Trained model to production: releases, and what opens them.

`release` writes a verified, versioned folder; `validate` checks one again; `releases`, `promote`, `rollback` and
`prune` keep the versions of a model; `HashEncoder` opens one with numpy and onnxruntime alone; `encode_file` writes
codes with the model that made them beside, and `HammingIndex` searches them. Names are loaded on first use: importing
this package, or using any of them but `release`, imports neither keras nor tensorflow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scbch_keras.export.format.source import Source
    from scbch_keras.export.releasing.release import Release, release
    from scbch_keras.export.releasing.store import promote, prune, releases, rollback
    from scbch_keras.export.serving.codes_file import CodesFile, encode_file, open_index
    from scbch_keras.export.serving.encoder import HashEncoder
    from scbch_keras.export.serving.index import HammingIndex
    from scbch_keras.export.validation.evaluation import Evaluation
    from scbch_keras.export.validation.validate import Validation, validate
    from scbch_keras.preprocessing.image import ImagePipeline
    from scbch_keras.preprocessing.image_encoder import ImageEncoder
    from scbch_keras.preprocessing.text import TextPipeline
    from scbch_keras.preprocessing.text_encoder import TextEncoder

_HOMES = {
    "CodesFile": "export.serving.codes_file",
    "Evaluation": "export.validation.evaluation",
    "HammingIndex": "export.serving.index",
    "HashEncoder": "export.serving.encoder",
    "ImageEncoder": "preprocessing.image_encoder",
    "ImagePipeline": "preprocessing.image",
    "Release": "export.releasing.release",
    "Source": "export.format.source",
    "TextEncoder": "preprocessing.text_encoder",
    "TextPipeline": "preprocessing.text",
    "Validation": "export.validation.validate",
    "encode_file": "export.serving.codes_file",
    "open_index": "export.serving.codes_file",
    "promote": "export.releasing.store",
    "prune": "export.releasing.store",
    "release": "export.releasing.release",
    "releases": "export.releasing.store",
    "rollback": "export.releasing.store",
    "validate": "export.validation.validate",
}

__all__ = [
    "CodesFile",
    "Evaluation",
    "HammingIndex",
    "HashEncoder",
    "ImageEncoder",
    "ImagePipeline",
    "Release",
    "Source",
    "TextEncoder",
    "TextPipeline",
    "Validation",
    "encode_file",
    "open_index",
    "promote",
    "prune",
    "release",
    "releases",
    "rollback",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"scbch_keras.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
