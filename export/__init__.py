"""Trained model to production: releases, and what opens them.

`release` writes a verified, versioned folder; `validate` checks one again; `releases`, `promote`, `rollback` and
`prune` keep the versions of a model; `HashEncoder` opens one with numpy and onnxruntime alone; `encode_file` writes
codes with the model that made them beside, and `HammingIndex` searches them. Names are loaded on first use: importing
this package, or using any of them but `release`, imports neither keras nor tensorflow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scbch_keras.export.codes_file import CodesFile, encode_file, open_index
    from scbch_keras.export.encoder import HashEncoder
    from scbch_keras.export.evaluation import Evaluation
    from scbch_keras.export.index import HammingIndex
    from scbch_keras.export.publish import Release, release
    from scbch_keras.export.source import Source
    from scbch_keras.export.store import promote, prune, releases, rollback
    from scbch_keras.export.text import TextPipeline
    from scbch_keras.export.validation import Validation, validate

_HOMES = {
    "CodesFile": "codes_file",
    "Evaluation": "evaluation",
    "HammingIndex": "index",
    "HashEncoder": "encoder",
    "Release": "publish",
    "Source": "source",
    "TextPipeline": "text",
    "Validation": "validation",
    "encode_file": "codes_file",
    "open_index": "codes_file",
    "promote": "store",
    "prune": "store",
    "release": "publish",
    "releases": "store",
    "rollback": "store",
    "validate": "validation",
}

__all__ = [
    "CodesFile",
    "Evaluation",
    "HammingIndex",
    "HashEncoder",
    "Release",
    "Source",
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
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
