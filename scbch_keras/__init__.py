"""Binary hash codes for image-text retrieval, learned from multi-labels that are partly wrong.

Names are loaded on first use, so that importing this package, or its serving classes in
`scbch_keras.export`, does not import keras. Keras knows the names of the package's classes all the same:
`keras.models.load_model` imports what a file needs.
"""

from importlib import import_module
from typing import Any

from scbch_keras.registration import register

__version__ = "0.1.0"

_HOMES = {
    "SCBCH": "model",
    "PairDataset": "data",
    "HashBranch": "layers",
    "ConceptClassifier": "layers",
    "PackBits": "layers",
    "RetrievalMetrics": "callbacks",
    "CrossModalHashing": "hashing",
    "LabelAudit": "audit",
    "PosteriorAudit": "audit",
    "LabelPosterior": "posterior",
    "confidence_weights": "confidence",
    "pack_codes": "codes",
    "unpack_codes": "codes",
    "hamming_distance": "codes",
    "mean_average_precision": "metrics",
    "cross_modal_map": "metrics",
}
_ROOMS = (
    "audit",
    "baselines",
    "callbacks",
    "codes",
    "confidence",
    "data",
    "hashing",
    "labels",
    "layers",
    "losses",
    "metrics",
    "model",
    "noise",
    "posterior",
)

__all__ = ["__version__", *_HOMES, *_ROOMS, "export", "training"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in _ROOMS or name in ("export", "training"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


register()
del register
