"""Pictures to codes in production: image_raw.onnx of a release, opened when the first picture comes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.export.format import manifest as manifests
from scbch_keras.export.format.pipelines import describing, encoder_settings
from scbch_keras.export.serving.session import Session, StartSession
from scbch_keras.preprocessing import image, image_encoder
from scbch_keras.preprocessing.image_encoder import ImageEncoder
from scbch_keras.preprocessing.pictures import blocks, checked_pictures


class PictureEncoder:
    """The picture front end of a release. Safe to call from many threads.

    image_raw.onnx holds the image branch a second time, and a backbone: it is read, checked and kept with the
    first picture, and who encodes features alone never pays for it.

    Raises ValueError if the manifest or the pipeline's file is not as released, or does not go with features of
    `width` columns. A file of more than `max_pixels` is refused before it is decoded.
    """

    def __init__(
        self,
        start: StartSession,
        folder: Path,
        manifest: dict[str, Any],
        width: int,
        max_pixels: int | None = None,
    ):
        self._max_pixels = max_pixels
        self.bits: int = manifest["bits"]
        entry = manifests.RAW_IMAGE
        _, settings = encoder_settings(folder, manifest, entry, image.read_settings, width)
        with describing(folder, entry):
            relative = manifest["encoders"][entry]["onnx"]["path"]
        self.size = (settings["size"][0], settings["size"][1])
        signature = manifests.signature("pictures", [None, None, None, 3], self.bits, "uint8")
        self._session = Session(start, folder, manifest, relative, signature)

    def encode(self, pictures: Any, batch_size: int, packed: bool) -> NDArray[Any]:
        """Pictures, as `pictures.checked_pictures` says -> codes."""
        pictures = checked_pictures(pictures)
        output = "packed_codes" if packed else "codes"
        width = -(-self.bits // 8) if packed else self.bits
        codes = [np.empty((0, width), np.uint8 if packed else np.float32)]
        for block in blocks(pictures, self.size, batch_size, self._max_pixels):
            codes += self._session.run([output], {"pictures": block})
        return np.concatenate(codes)


class EncodedPictures:
    """Pictures to codes by the ONNX encoder of a release, opened with the first picture, and the encoder of features.

    encode: image features, batch size, packed -> codes.

    Raises ValueError as `PictureEncoder`.
    """

    def __init__(
        self,
        start: StartSession,
        folder: Path,
        manifest: dict[str, Any],
        width: int,
        encode: Callable[[NDArray[np.float32], int, bool], NDArray[Any]],
        max_pixels: int | None = None,
    ):
        entry = manifests.IMAGE_ENCODER
        described, settings = encoder_settings(folder, manifest, entry, image_encoder.read_settings, width)
        with describing(folder, entry):
            relative = described["onnx"]
        self._max_pixels, self._encode, self._width = max_pixels, encode, width
        session = Session(start, folder, manifest, relative, settings)
        self._features = ImageEncoder(settings, session.run, str(folder / relative))
        self.size = self._features.size

    def encode(self, pictures: Any, batch_size: int, packed: bool) -> NDArray[Any]:
        """Pictures, as `pictures.checked_pictures` says -> codes."""
        pictures = checked_pictures(pictures)
        rows = min(batch_size, self._features.batch)
        codes = [self._encode(np.empty((0, self._width), np.float32), batch_size, packed)]
        for block in blocks(pictures, self.size, rows, self._max_pixels):
            codes.append(self._encode(self._features.compute(block), batch_size, packed))
        return np.concatenate(codes)
