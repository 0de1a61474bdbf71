"""Pictures -> feature rows: a backbone with its preprocessing.

Importing this needs numpy only; keras, keras-hub and onnxruntime are imported by the kinds that use
them. What a backbone computes is written down in `ImageFeatures.config`, from which `from_config` makes it again.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.preprocessing.image import ImagePipeline
from scbch_keras.preprocessing.image_encoder import ImageEncoder
from scbch_keras.preprocessing.pictures import Size


@dataclass(frozen=True)
class ImageFeatures:
    """Pictures uint8 (n, height, width, 3) -> features float32 (n, dimensions). Made by `image_backbone`."""

    size: Size
    """Height and width of the pictures that it takes; `read_picture` makes them so."""
    dimensions: int
    settings: Mapping[str, Any] = field(repr=False)
    compute: Callable[[NDArray[np.uint8]], NDArray[Any]] = field(repr=False)
    """uint8 (b, height, width, 3) with 1 <= b <= batch -> (b, dimensions)."""
    model: Any = field(default=None, repr=False)
    """The keras.Model from pixel values 0 to 255 to features, or an `ImageEncoder`; None for grey pixels."""
    batch: int = 32

    def config(self) -> dict[str, Any]:
        """What `from_config` needs, JSON-able: kind, where it came from, size, dimensions, sha256."""
        return {**self.settings, "size": list(self.size), "dimensions": self.dimensions}

    def pipeline(self) -> ImagePipeline | ImageEncoder:
        """The same features of pictures for `export.release(..., image=...)`."""
        return self.model if isinstance(self.model, ImageEncoder) else ImagePipeline(self.size, self.model)

    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Pictures uint8 (n, height, width, 3), RGB -> float32 (n, dimensions), a few pictures at a time.

        Raises ValueError for another shape or type, and if a feature is not a finite number.
        """
        if not isinstance(pictures, np.ndarray):
            raise ValueError(f"pictures must be an array, got {type(pictures).__name__}")
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[1:] != (*self.size, 3):
            expected = "{} x {}".format(*self.size)
            raise ValueError(
                f"pictures must be uint8 (n, height, width, 3) of {expected}, got {pictures.dtype} {pictures.shape}"
            )
        features = np.empty((len(pictures), self.dimensions), np.float32)
        for start in range(0, len(pictures), self.batch):
            rows = slice(start, start + self.batch)
            features[rows] = self.compute(pictures[rows])
        bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
        if bad.size:
            raise ValueError(f"the backbone gives features that are not finite, first for picture {bad[0]}")
        return features


def image_backbone(
    name_or_model: Any, weights: str | os.PathLike[str] | None = None, *, size: Size | None = None
) -> ImageFeatures:
    """A backbone with its preprocessing.

    Args:
        name_or_model: one of
            "pixels:32": grey pixels of 32 x 32 divided by 255, any side length; needs no weights.
            "vgg19": the 4096 values of layer fc2 of keras.applications.VGG19, as in the paper.
            a name in keras.applications, such as "EfficientNetB0": without its top, averaged over the picture
            ("VGG19" so written is this, with 512 values).
            "keras-hub:PRESET": an image backbone of keras-hub, averaged over places or patches.
            a keras.Model, or the path of a .keras file: float or uint8 pixel values 0 to 255
            (n, height, width, 3) -> (n, d), preprocessing within.
            the path of an .onnx file: the same as uint8 or float32, channels last or first; or the folder of one,
            whose encoder.json says what the file does not (`ImageEncoder.open`).
        weights: for a name: the path of a weights file; "random" for a check of shapes; None for the
            pre-trained ones, taken from the Keras cache or downloaded into it.
        size: height and width, where the backbone leaves them free; None: its usual size.

    Returns:
        Pictures -> features, with what a release needs to make the same ones.

    Raises:
        ValueError: an unknown kind, or a file that is missing, does not fit or cannot be read; the message for
            weights that can be neither found nor downloaded says where they belong.
        ImportError: a package that the kind needs is not installed.
    """
    if size is not None and not (
        isinstance(size, tuple) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)
    ):
        raise ValueError(
            f"size must be None or two whole numbers (height, width) of at least 1, got {size!r}"
        )
    if isinstance(weights, os.PathLike):
        weights = os.fspath(weights)
    if weights is not None and (not isinstance(weights, str) or not weights):
        raise ValueError(f'weights must be a path, "random" or None, got {weights!r}')
    if weights not in (None, "random") and not Path(weights).is_file():
        raise ValueError(f"weights: there is no file {weights}")
    if not isinstance(name_or_model, str | os.PathLike):
        return _without_weights("a model", weights, lambda: _keras_images().from_model(name_or_model, size))
    name = os.fspath(name_or_model)
    suffix = Path(name).suffix
    # A bare name that Keras has is that, whatever folders lie about.
    is_folder = Path(name).is_dir() and (os.sep in name or not _keras_images().is_application(name))
    if suffix in (".keras", ".onnx") or is_folder:
        if not is_folder and not Path(name).is_file():
            raise ValueError(f"name_or_model: there is no file {name}")
        build = _keras_images().from_file if suffix == ".keras" else _onnx_images().from_file
        return _without_weights(name, weights, lambda: build(Path(name).absolute(), size))
    if name.startswith("pixels:"):
        return _without_weights(name, weights, lambda: _pixels(name, size))
    if name.startswith("keras-hub:"):
        return _keras_images().keras_hub(name, weights, size)
    return _keras_images().application(name, weights, size)


def from_config(config: Mapping[str, Any]) -> ImageFeatures:
    """The backbone that `config`, from `ImageFeatures.config`, describes; files where they were.

    Raises ValueError if it cannot be had or is another one now: a changed file, other pre-trained weights. A
    model that was given as an object, and random weights, cannot be made again: save them as a .keras file.
    """
    try:
        kind, weights, path = config["kind"], config["weights"], config["path"]
        size = (int(config["size"][0]), int(config["size"][1]))
        expected = {key: config[key] for key in ("dimensions", "sha256")}
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"config is not one of ImageFeatures.config, got {ascii(config)[:200]}") from error
    texts = isinstance(kind, str) and all(
        value is None or isinstance(value, str) for value in (weights, path)
    )
    if not texts or (kind != "model" and weights in (None, "file") and path is None):
        raise ValueError(f"config is not one of ImageFeatures.config, got {ascii(config)[:200]}")
    if kind == "model" or weights == "random":
        what = "a model given as an object" if kind == "model" else "random weights"
        raise ValueError(
            f"config: {what} cannot be made again; save the model as a .keras file and name that"
        )
    features = image_backbone(
        path if weights is None else kind, path if weights == "file" else None, size=size
    )
    now = features.config()
    for key, value in expected.items():
        if now[key] != value:
            raise ValueError(f"config: {path or kind} is not what it was: {key} {now[key]}, expected {value}")
    return features


def _pixels(name: str, size: Size | None) -> ImageFeatures:
    match = re.fullmatch(r"pixels:([1-9]\d{0,3})", name)
    if not match:
        raise ValueError(f'name_or_model: expected "pixels:" and a side length from 1 to 9999, got {name!r}')
    side = int(match[1])
    check_size(name, size, (side, side))

    pipeline = ImagePipeline((side, side))
    return ImageFeatures(
        pipeline.size, pipeline.dimensions, settings(name, "none"), pipeline.compute, batch=256
    )


def settings(
    kind: str, weights: str | None, *, path: Path | str | None = None, sha256: str | None = None
) -> dict[str, Any]:
    """`ImageFeatures.settings`. weights: "none", "imagenet", "preset", "file", "random"; None: all is in `path`."""
    return {"kind": kind, "weights": weights, "path": None if path is None else str(path), "sha256": sha256}


def check_size(name: str, requested: Size | None, fixed: Size) -> None:
    """Raise a ValueError if another size is requested than the one that the backbone takes."""
    if requested not in (None, fixed):
        raise ValueError(f"size: {name} takes pictures of {fixed[0]} x {fixed[1]}, got {requested}")


def _without_weights(name: str, weights: str | None, build: Callable[[], ImageFeatures]) -> ImageFeatures:
    if weights is not None:
        raise ValueError(f"weights must be None for {name}, got {weights!r}")
    return build()


def _keras_images() -> Any:
    from scbch_keras.training.features import keras_backbones as keras_images

    return keras_images


def _onnx_images() -> Any:
    from scbch_keras.training.features import onnx_backbones as onnx_images

    return onnx_images
