"""Trained model to production: releases, and what opens them.

`release` writes a verified, versioned folder; `validate` checks one again; `releases`, `promote`, `rollback` and
`prune` keep the versions of a model; `HashEncoder` opens one with numpy and onnxruntime alone;
`HammingIndex` searches the codes. Names are loaded on first use: importing this package, or using
`HashEncoder` and `HammingIndex`, imports neither keras nor tensorflow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scbch_keras.export.encoder import HashEncoder
    from scbch_keras.export.evaluation import Evaluation
    from scbch_keras.export.index import HammingIndex
    from scbch_keras.export.publish import Release, release
    from scbch_keras.export.store import promote, prune, releases, rollback
    from scbch_keras.export.text import TextPipeline
    from scbch_keras.export.validation import Validation, validate

_HOMES = {
    "Evaluation": "evaluation",
    "HammingIndex": "index",
    "HashEncoder": "encoder",
    "Release": "publish",
    "TextPipeline": "text",
    "Validation": "validation",
    "promote": "store",
    "prune": "store",
    "release": "publish",
    "releases": "store",
    "rollback": "store",
    "validate": "validation",
}

__all__ = [
    "Evaluation",
    "HammingIndex",
    "HashEncoder",
    "Release",
    "TextPipeline",
    "Validation",
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
