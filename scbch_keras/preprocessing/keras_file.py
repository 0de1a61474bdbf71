"""A `.keras` file, opened for serving. Keras is imported by `load_in_float32` alone."""

import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

_HALF = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16")
_WEIGHTS = "model.weights.h5"


def load_in_float32(path: Path) -> Any:
    """The model of a `.keras` file, not compiled, computing in float32 whatever policy it was trained with.

    Half precision is for training: ONNX has no bfloat16 products on most machines, and codes from float32 do
    not depend on the hardware.
    """
    import keras

    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"), object_hook=_full_precision)
        if config == json.loads(archive.read("config.json")):
            return keras.saving.load_model(path, compile=False, safe_mode=True)
        config.pop("compile_config", None)
        model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        with tempfile.TemporaryDirectory() as folder:
            model.load_weights(archive.extract(_WEIGHTS, folder))
    return model


def _full_precision(config: dict[str, Any]) -> dict[str, Any]:
    """One object of a model's config, with float32 in the place of a half precision policy."""
    if config.get("class_name") == "DTypePolicy" and config["config"]["name"] in _HALF:
        return {**config, "config": {"name": "float32"}}
    if config.get("dtype") in _HALF:
        return {**config, "dtype": "float32"}
    return config
