"""What a recipe may name: data sets with their settings, and precisions. Light: the command line's help lists them."""

from typing import Any

from scbch_keras.methods.paper import BENCHMARKS

# The authors' settings by benchmark, and those of the small sets beside them.
_NARROW = {"image_units": (1024, 1024), "text_units": (1024,)}
_ICONS = {"image_units": (256, 256), "text_units": (256,), "learning_rate": 3e-4}
SETTINGS: dict[str, dict[str, Any]] = {
    **{
        name: {
            "image_units": (8192, 8192),
            "text_units": (8192,),
            **{key: value for key, value in settings.items() if key != "num_classes"},
        }
        for name, settings in BENCHMARKS.items()
    },
    "mirflickr-subset": _NARROW,
    "mirflickr-tags": _NARROW,
    "icons": {**_NARROW, "learning_rate": 3e-4, "epochs": 12},
    "icons-regular": _ICONS,
    "icons-encoded": _ICONS,
}

PRECISIONS = {"float32": "float32", "bf16": "mixed_bfloat16"}
"""Keras' dtype policies by the names that are shorter."""
