"""Binary hash codes for image-text retrieval, learned from multi-labels that are partly wrong.

Names are loaded on first use, so that importing this package, or its serving classes in
`scbch_keras.export`, does not import keras. Keras knows the names of the package's classes all the same:
`keras.models.load_model` imports what a file needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scbch_keras import (
        callbacks,
        codes,
        confidence,
        data,
        export,
        hashing,
        labels,
        layers,
        losses,
        methods,
        metrics,
        preprocessing,
        training,
    )
    from scbch_keras.callbacks import ResumableBackup, RetrievalMetrics
    from scbch_keras.codes import hamming_distance, pack_codes, unpack_codes
    from scbch_keras.confidence import confidence_weights
    from scbch_keras.data import PairDataset
    from scbch_keras.feature_rows import FeatureRows
    from scbch_keras.hashing import CrossModalHashing
    from scbch_keras.labels import audit, noise, posterior
    from scbch_keras.labels.audit import LabelAudit, PosteriorAudit
    from scbch_keras.labels.posterior import LabelPosterior
    from scbch_keras.layers import ConceptClassifier, HashBranch, PackBits
    from scbch_keras.methods.scbch import SCBCH
    from scbch_keras.metrics import cross_modal_map, mean_average_precision
    from scbch_keras.metrics import graded as graded_metrics

from scbch_keras.registration import register

__version__ = "0.1.0"

_HOMES = {
    "SCBCH": "methods.scbch",
    "PairDataset": "data",
    "HashBranch": "layers",
    "FeatureRows": "feature_rows",
    "ConceptClassifier": "layers",
    "PackBits": "layers",
    "ResumableBackup": "callbacks",
    "RetrievalMetrics": "callbacks",
    "CrossModalHashing": "hashing",
    "LabelAudit": "labels.audit",
    "PosteriorAudit": "labels.audit",
    "LabelPosterior": "labels.posterior",
    "confidence_weights": "confidence",
    "pack_codes": "codes",
    "unpack_codes": "codes",
    "hamming_distance": "codes",
    "mean_average_precision": "metrics",
    "cross_modal_map": "metrics",
}
_MODULES = {
    "audit": "labels.audit",
    "callbacks": "callbacks",
    "codes": "codes",
    "confidence": "confidence",
    "data": "data",
    "export": "export",
    "graded_metrics": "metrics.graded",
    "hashing": "hashing",
    "labels": "labels",
    "layers": "layers",
    "losses": "losses",
    "methods": "methods",
    "metrics": "metrics",
    "noise": "labels.noise",
    "posterior": "labels.posterior",
    "preprocessing": "preprocessing",
    "training": "training",
}

__all__ = [
    "SCBCH",
    "ConceptClassifier",
    "CrossModalHashing",
    "FeatureRows",
    "HashBranch",
    "LabelAudit",
    "LabelPosterior",
    "PackBits",
    "PairDataset",
    "PosteriorAudit",
    "ResumableBackup",
    "RetrievalMetrics",
    "__version__",
    "audit",
    "callbacks",
    "codes",
    "confidence",
    "confidence_weights",
    "cross_modal_map",
    "data",
    "export",
    "graded_metrics",
    "hamming_distance",
    "hashing",
    "labels",
    "layers",
    "losses",
    "mean_average_precision",
    "methods",
    "metrics",
    "noise",
    "pack_codes",
    "posterior",
    "preprocessing",
    "training",
    "unpack_codes",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in _MODULES:
        return import_module(f"{__name__}.{_MODULES[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


register()
del register
