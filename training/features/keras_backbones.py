"""Backbones that are keras models: keras.applications, keras-hub, a model of one's own. Imports keras."""

import difflib
import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Callable
from inspect import isfunction
from pathlib import Path
from typing import Any

import keras
import numpy as np

from scbch_keras.files import sha256_of
from scbch_keras.preprocessing.image import ImagePipeline
from scbch_keras.preprocessing.pictures import Size
from scbch_keras.training.features.images import ImageFeatures, check_size, settings

# Sides of the pictures that the pre-trained weights were trained on, where it is not 224
_SIDES = {
    "Xception": 299,
    "InceptionV3": 299,
    "InceptionResNetV2": 299,
    "NASNetLarge": 331,
    "EfficientNetB1": 240,
    "EfficientNetB2": 260,
    "EfficientNetB3": 300,
    "EfficientNetB4": 380,
    "EfficientNetB5": 456,
    "EfficientNetB6": 528,
    "EfficientNetB7": 600,
    "EfficientNetV2B1": 240,
    "EfficientNetV2B2": 260,
    "EfficientNetV2B3": 300,
    "EfficientNetV2S": 384,
    "EfficientNetV2M": 480,
    "EfficientNetV2L": 480,
}


def application(name: str, weights: str | None, size: Size | None) -> ImageFeatures:
    """`image_backbone` of a name in keras.applications, or "vgg19" for the paper's fc2."""
    builder = _builder("VGG19" if name == "vgg19" else name)
    if keras.config.image_data_format() != "channels_last":
        raise ValueError('keras.config.image_data_format() must be "channels_last" for pictures (n, h, w, 3)')
    side = _SIDES.get(name, 224)
    size = size or (side, side)
    loaded = "imagenet" if weights is None else None if weights == "random" else weights
    if name == "vgg19":
        check_size(name, size, (224, 224))
        net = _build(name, weights, lambda: builder(weights=loaded))
        net = keras.Model(net.inputs, net.get_layer("fc2").output, name="vgg19_fc2")
    else:
        options = {"include_top": False, "pooling": "avg", "input_shape": (*size, 3)}
        net = _build(name, weights, lambda: builder(weights=loaded, **options))
    preprocess = sys.modules[builder.__module__].preprocess_input
    pixels = keras.Input((*size, 3), name="pixels")
    return _described(
        name, keras.Model(pixels, net(preprocess(pixels)), name=f"{name}_features"), weights, "imagenet"
    )


def keras_hub(name: str, weights: str | None, size: Size | None) -> ImageFeatures:
    """`image_backbone` of "keras-hub:PRESET": the preset's rescaling, its backbone, a mean over places."""
    try:
        import keras_hub as hub
    except ImportError as error:
        raise ImportError(f"{name} needs keras-hub: pip install keras-hub") from error
    preset = name.removeprefix("keras-hub:")
    try:
        backbone = hub.models.Backbone.from_preset(preset, load_weights=weights is None)
        converter = hub.layers.ImageConverter.from_preset(preset)
    except Exception as error:  # from keras-hub, and from each of the sites that it downloads from
        raise ValueError(
            f"name_or_model: keras-hub cannot load the preset {preset!r}: {error}. Without a connection, download "
            "the preset elsewhere and give its folder: keras-hub:FOLDER"
        ) from error
    if weights not in (None, "random"):
        _build(name, weights, lambda: backbone.load_weights(weights))
    if isinstance(backbone.input, dict | list) or isinstance(backbone.output, dict | list):
        raise ValueError(
            f"name_or_model: {name} has more than one input or output, expected pictures -> features"
        )
    shape = backbone.input.shape
    if len(shape) != 4 or shape[-1] != 3:
        raise ValueError(f"name_or_model: {name} takes {shape}, expected pictures (n, height, width, 3)")
    if None not in shape[1:3]:
        check_size(name, size, shape[1:3])
    size = size or (shape[1:3] if None not in shape[1:3] else converter.image_size)
    if size is None:
        raise ValueError(f"size: {name} takes pictures of any size; say which with size=(height, width)")
    pixels = keras.Input((*size, 3), name="pixels")
    scale = 1.0 if converter.scale is None else converter.scale
    features = backbone(keras.layers.Rescaling(scale, converter.offset or 0.0)(pixels))
    if len(features.shape) == 4:
        features = keras.layers.GlobalAveragePooling2D()(features)
    elif len(features.shape) == 3:
        features = keras.layers.GlobalAveragePooling1D()(features)
    return _described(name, keras.Model(pixels, features), weights, "preset")


def from_file(path: Path, size: Size | None) -> ImageFeatures:
    """`image_backbone` of a .keras file, which may not bring code of its own."""
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise ValueError(f"keras cannot load {path}: {error}") from error
    return _wrapped(str(path), model, size, settings("keras", None, path=path, sha256=sha256_of(path)))


def from_model(model: Any, size: Size | None) -> ImageFeatures:
    """`image_backbone` of a keras.Model."""
    if not isinstance(model, keras.Model):
        raise ValueError(f"name_or_model must be a name, a path or a keras.Model, got {type(model).__name__}")
    digest = _weights_sha256(model, hashlib.sha256(model.to_json().encode()))
    return _wrapped("the model", model, size, settings("model", None, sha256=digest))


def _wrapped(name: str, model: Any, size: Size | None, described: dict[str, Any]) -> ImageFeatures:
    inputs, outputs = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            f"name_or_model: {name} must be a built model with one input and one output, "
            f"got {len(inputs)} and {len(outputs)}"
        )
    shape, output = inputs[0].shape, outputs[0].shape
    if len(shape) != 4 or shape[3] != 3 or len(output) != 2 or output[1] is None:
        raise ValueError(
            f"name_or_model: {name} must take (n, height, width, 3) and give (n, d), got {shape} and {output}"
        )
    if None not in shape[1:3]:
        check_size(name, size, shape[1:3])
        size = shape[1:3]
    if size is None:
        raise ValueError(f"size: {name} takes pictures of any size; say which with size=(height, width)")
    return ImageFeatures(size, output[1], described, ImagePipeline(size, model).compute, model)


def _described(name: str, model: Any, weights: str | None, pretrained: str) -> ImageFeatures:
    """Features of a backbone with a name: what they are is the name and the sha256 of all weights."""
    source, path = (weights or pretrained), None
    if weights not in (None, "random"):
        source, path = "file", Path(str(weights)).absolute()
    described = settings(name, source, path=path, sha256=_weights_sha256(model, hashlib.sha256()))
    size = (model.inputs[0].shape[1], model.inputs[0].shape[2])
    return ImageFeatures(size, model.output_shape[1], described, ImagePipeline(size, model).compute, model)


def _weights_sha256(model: Any, digest: Any) -> str:
    for variable in model.weights:
        value = keras.ops.convert_to_numpy(variable.value)
        digest.update(f"{value.dtype} {value.shape};".encode())
        digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8))
    return digest.hexdigest()


def is_application(name: str) -> bool:
    """Whether `application` knows the name."""
    return name == "vgg19" or isfunction(getattr(keras.applications, name, None))


def _builder(name: str) -> Any:
    known = {key: value for key, value in vars(keras.applications).items() if isfunction(value)}
    if name in known:
        return known[name]
    names = (*known, "vgg19")
    near = difflib.get_close_matches(name.lower(), [key.lower() for key in names], 1)
    hint = "; is it " + " or ".join(repr(key) for key in names if key.lower() in near) + "?" if near else ""
    raise ValueError(
        'name_or_model must be "pixels:SIDE", "vgg19", "keras-hub:PRESET", a .keras or .onnx file or a name in '
        f"keras.applications, got {name!r}{hint}"
    )


def _build(name: str, weights: str | None, build: Callable[[], Any]) -> Any:
    """What `build` gives, with the errors of missing and wrong weights made clear."""
    try:
        return build()
    except Exception as error:
        if weights == "random":
            raise
        if weights is not None:
            raise ValueError(f"weights: {weights} does not fit {name}: {error}") from error
        url = re.search(r"URL fetch failure on (\S+):", str(error))
        if url is None and not isinstance(error, OSError) and "corrupted file" not in str(error):
            raise
        what = f"download {url[1]} elsewhere, then put it as {_cached_name(url[1])}" if url else "put them"
        raise ValueError(
            f"the weights of {name} could not be downloaded ({error}): {what} into {_cache_folder()}, or give "
            "the path of a weights file with weights="
        ) from error


def _cached_name(url: str) -> str:
    file = url.rsplit("/", 1)[1]
    # the only ones that Keras keeps under another name than it downloads them by
    return file.lower().replace("-", "_") if file.startswith("NASNet") else file


def _cache_folder() -> Path:
    """Where keras.utils.get_file looks: elsewhere than usual if it may not write there."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    if not os.access(home, os.W_OK):
        home = Path("/tmp" if Path("/tmp").is_dir() else tempfile.gettempdir(), ".keras")  # noqa: S108
    return home / "models"
