"""Names under which Keras finds this package's classes in saved models, without an import of keras."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from scbch_keras.methods import class_modules
from scbch_keras.names import PACKAGE

REGISTERED = {
    **dict.fromkeys(("HashBranch", "ConceptClassifier", "PackBits"), "layers"),
    "FeatureRows": "feature_rows",
    **dict.fromkeys(("Classification", "Attraction", "Repulsion", "Quantization"), "losses"),
    "MaskedBranch": "methods.cpah",
    **class_modules(),
}
"""Every class that `register_keras_serializable` registers, and its module."""


class _LazyClass:
    """Stands for a registered class in Keras' table until its module is imported, which replaces it there."""

    def __init__(self, name: str):
        self.name = name

    def from_config(self, config: dict[str, Any], **kwargs: Any) -> Any:
        """What the class itself makes of the config."""
        module = import_module(f"{PACKAGE}.{REGISTERED[self.name]}")
        return getattr(module, self.name).from_config(config, **kwargs)


def register() -> None:
    """Make Keras find the classes: now if keras is imported, else as soon as it is."""
    if sys.modules.get("keras") is not None:
        _register(import_module("keras"))
    else:
        sys.meta_path.insert(0, _KerasFinder())


def _register(keras: ModuleType) -> None:
    names = keras.saving.get_custom_objects()
    for name in REGISTERED:
        names.setdefault(f"{PACKAGE}>{name}", _LazyClass(name))


class _KerasFinder:
    """Finds keras by the other finders, and registers the classes once it has run."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of keras; of anything else None."""
        if name != "keras":
            return None
        specs = (
            finder.find_spec(name, path, target)
            for finder in list(sys.meta_path)
            if finder is not self and hasattr(finder, "find_spec")
        )
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            self._register_after(spec.loader)
        return spec

    def _register_after(self, loader: Any) -> None:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module
            execute(module)
            if module.__name__ == "keras":
                _register(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)

        loader.exec_module = exec_module
