"""Pictures -> feature rows, as a release does it: a size and a backbone. Keras is imported only with a backbone."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from scbch_keras.files import loads, opened
from scbch_keras.preprocessing.pictures import PREPARATION, Size, blocks, checked_pictures, grey_features
from scbch_keras.stored import FileKind, write_json

PIPELINE_FILE = "image_pipeline.json"
BACKBONE_FILE = "image_backbone.keras"
_STORED = FileKind("a file of ImagePipeline.save", "schema", (1,))
_ROWS = 32


class ImagePipeline:
    """Pictures -> features float32 (n, dimensions).

    Args:
        size: height and width that pictures are resized to.
        backbone: a keras.Model from pixel values 0 to 255 (n, height, width, 3), of float32 or another type, to
            features (n, d), preprocessing within. None: grey pixels over 255, (n, height * width).

    Raises ValueError for a size that is none, and for a backbone of another size or form.
    """

    def __init__(self, size: Size, backbone: Any = None) -> None:
        if not (
            isinstance(size, tuple)
            and len(size) == 2
            and all(type(side) is int and side > 0 for side in size)
        ):
            raise ValueError(f"size must be two whole numbers (height, width) of at least 1, got {size!r}")
        self.size = size
        self.backbone = backbone
        self.dimensions: int = size[0] * size[1] if backbone is None else _dimensions(backbone, size)
        """Columns of the features."""

    def __call__(self, pictures: NDArray[np.uint8] | Sequence[Any]) -> NDArray[np.float32]:
        """Pictures -> float32 (n, dimensions).

        pictures: uint8 (n, h, w, 3), RGB, of any size; or a list of uint8 (h, w, 3), paths of picture files
            and their bytes. Read and resized as `pictures.PREPARATION` says.

        Raises ValueError for anything else, and for a picture that cannot be read: its place is named.
        """
        features = [self.compute(block) for block in blocks(checked_pictures(pictures), self.size, _ROWS)]
        return np.concatenate([np.empty((0, self.dimensions), np.float32), *features])

    def compute(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features of pictures that already have the pipeline's size.

        Args:
            pixels: (b, height, width, 3), uint8, b >= 1; they go through the backbone together.

        Returns:
            (b, dimensions), float32.
        """
        if self.backbone is None:
            return grey_features(pixels)
        return np.asarray(self.backbone.predict_on_batch(pixels.astype(self.backbone.inputs[0].dtype)))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write image_pipeline.json and, where there is a backbone, image_backbone.keras.

        Args:
            folder: an existing folder.
        """
        if self.backbone is not None:
            self.backbone.save(Path(folder, BACKBONE_FILE))
        stored = {
            "preparation": PREPARATION["name"],
            "size": self.size,
            "features": "grey" if self.backbone is None else "backbone",
            "dimensions": self.dimensions,
        }
        write_json(Path(folder, PIPELINE_FILE), _STORED.marked(stored))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote, or a release has; a backbone computes in float32 and may not bring code of its own.

        Args:
            folder: where the files are.

        Returns:
            The pipeline that was saved.

        Raises:
            ValueError: the files are something else, or damaged.
            FileNotFoundError: there is no such file.
        """
        path = Path(folder, PIPELINE_FILE)
        with opened(path) as file:
            stored = read_settings(file.read(), str(path))
        backbone = None
        if stored["features"] == "backbone":
            from scbch_keras.preprocessing.keras_file import load_in_float32

            backbone = load_in_float32(Path(folder, BACKBONE_FILE))
        pipeline = cls(tuple(stored["size"]), backbone)
        if pipeline.dimensions != stored["dimensions"]:
            raise ValueError(
                f"{path}: its backbone gives {pipeline.dimensions} features, not {stored['dimensions']}"
            )
        return pipeline


def read_settings(content: bytes, source: str) -> dict[str, Any]:
    """What `ImagePipeline.save` wrote to image_pipeline.json: "size", "features" and "dimensions".

    Raises ValueError if it is something else.
    """
    with _STORED.reading(source):
        stored = _STORED.unmarked(loads(content))
        if stored["preparation"] != PREPARATION["name"]:
            raise ValueError(f"its preparation is {stored['preparation']!r}")
        if stored["features"] not in ("grey", "backbone"):
            raise ValueError(f"its features are {stored['features']!r}")
        numbers = (*stored["size"], stored["dimensions"])
        if len(numbers) != 3 or any(type(number) is not int or number < 1 for number in numbers):
            raise ValueError(f"its size and dimensions are {numbers}")
        return stored


def _dimensions(backbone: Any, size: Size) -> int:
    """The columns that a backbone gives for pictures of `size`."""
    inputs, outputs = getattr(backbone, "inputs", None) or [], getattr(backbone, "outputs", None) or []
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            "backbone must be a built keras.Model with one input and one output, or None, got "
            f"{type(backbone).__name__} with {len(inputs)} and {len(outputs)}"
        )
    shape, output = inputs[0].shape, outputs[0].shape
    sizes = zip(shape[1:], (*size, 3), strict=False)
    if len(shape) != 4 or any(side not in (None, expected) for side, expected in sizes):
        raise ValueError(f"backbone must take (n, {size[0]}, {size[1]}, 3), got {shape}")
    if len(output) != 2 or output[1] is None:
        raise ValueError(f"backbone must give features (n, d), got {output}")
    return output[1]
