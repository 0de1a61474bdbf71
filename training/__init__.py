"""Files to trained model: data sets, the quickstart and the command line. Names are loaded on first use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scbch_keras.training.data.own import read_own, retrieval_data, split_own
    from scbch_keras.training.features.images import image_backbone
    from scbch_keras.training.features.text import TextFeatures

_HOMES = {
    "TextFeatures": "features.text",
    "image_backbone": "features.images",
    "read_own": "data.own",
    "retrieval_data": "data.own",
    "split_own": "data.own",
}

__all__ = ["TextFeatures", "image_backbone", "read_own", "retrieval_data", "split_own"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
