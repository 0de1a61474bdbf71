"""Pictures -> pixels of one size -> grey values, said once: training, serving and exported graphs use this.

numpy only; Pillow is imported when a picture is decoded or resized.
"""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from scbch_keras.files import opened

Size = tuple[int, int]
"""Height and width in pixels."""

PICTURE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What Pillow is let open: formats that it decodes itself. (For EPS it would start Ghostscript.)"""

PREPARATION = {
    "name": "pillow-bilinear",
    "rule": "8-bit RGB; turned as the EXIF orientation says; laid on white where it is transparent; resized to "
    "the size, whatever its proportions, by Pillow's Image.resize with BILINEAR, first the width, then the height",
    "resize": "output i of n from m is the sum of k(j) * pixel(j) + 2^21, shifted right by 22, cut to 0..255; "
    "k = floor(2^22 * w / sum(w) + 1/2), w = max(0, 1 - |(j - (i + 1/2) * s + 1/2) * (1 / max(s, 1))|), s = m / n, "
    "in double precision",
}
"""The rule of `read_picture`, for who follows it in another language."""

PRECISION = 22
"""Bits behind the point in the resize's coefficients."""

GREY = np.array([19595, 38470, 7471], np.uint32)
"""Weights of red, green and blue in a grey value, of 2^16: Pillow's, after ITU-R BT.601."""

LEVELS = np.arange(256, dtype=np.float32) / np.float32(255)
"""Grey value -> feature."""


def grey_features(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pictures uint8 (n, h, w, 3) -> float32 (n, h * w) in [0, 1]: grey values as Pillow's, over 255."""
    return LEVELS[(pictures @ GREY + 0x8000) >> 16].reshape(len(pictures), -1)


def read_picture(
    path_or_bytes: str | os.PathLike[str] | bytes, size: Size, max_pixels: int | None = None
) -> NDArray[np.uint8]:
    """A picture file, or its bytes -> uint8 (height, width, 3) of `size`, RGB. By `decoded`, then `resized`."""
    return resized(decoded(path_or_bytes, max_pixels), size)


def decoded(
    path_or_bytes: str | os.PathLike[str] | bytes, max_pixels: int | None = None
) -> NDArray[np.uint8]:
    """A picture file, or its bytes -> uint8 (h, w, 3), RGB, in its own size.

    Turned as its EXIF orientation says, laid on white where it is transparent. Of an animation, the first picture.
    Raises ValueError, with the file's name, if it is missing, truncated or no picture, if a channel has more than 8
    bits, or if its header tells of more than `max_pixels` (None: Pillow's own limit); ImportError without Pillow.
    """
    pillow = _pillow()
    with _opened(path_or_bytes) as (name, file):
        _check_size(name, file.size, max_pixels)
        mode = file.mode
        picture = pillow.ImageOps.exif_transpose(file)
    _check_mode(name, mode)
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        picture = pillow.Image.alpha_composite(pillow.Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(picture.convert("RGB"))


def thumbnail(
    path_or_bytes: str | os.PathLike[str] | bytes,
    side: int,
    quality: int,
    lossless_up_to: int = 0,
    max_pixels: int | None = None,
) -> tuple[bytes, str]:
    """A picture file made small, as `decoded` reads it: upright, transparent parts white.

    Args:
        path_or_bytes: of the picture.
        side: at most so many pixels wide and high.
        quality: of a JPEG, 1 to 95.
        lossless_up_to: up to so many pixels a side the small one is a PNG.
        max_pixels: as for `decoded`.

    Returns:
        (content of the file, its media type).

    Raises:
        ValueError, ImportError: as `decoded`.
    """
    picture = _pillow().Image.fromarray(decoded(path_or_bytes, max_pixels))
    picture.thumbnail((side, side))
    kind = "png" if max(picture.size) <= lossless_up_to else "jpeg"
    content = io.BytesIO()
    picture.save(content, kind, quality=quality)
    return content.getvalue(), f"image/{kind}"


def check_header(
    path_or_bytes: str | os.PathLike[str] | bytes, max_pixels: int | None = None
) -> tuple[int, int]:
    """Refuse, as `decoded` does, a picture file whose header tells that it cannot be read; no pixels are read.

    Returns the height and width that the header tells, before the EXIF orientation.
    """
    with _opened(path_or_bytes) as (name, file):
        _check_size(name, file.size, max_pixels)
        mode, (width, height) = file.mode, file.size
    _check_mode(name, mode)
    return height, width


@contextmanager
def _opened(path_or_bytes: str | os.PathLike[str] | bytes) -> Iterator[tuple[str, Any]]:
    """(the picture's name in messages, Pillow's picture); any failure to read it becomes a ValueError."""
    pillow = _pillow()
    source: BinaryIO
    if isinstance(path_or_bytes, bytes):
        name, source = f"the picture ({len(path_or_bytes)} bytes)", io.BytesIO(path_or_bytes)
    else:
        name = os.fspath(path_or_bytes)
        try:
            source = opened(Path(path_or_bytes))
        except FileNotFoundError as error:
            raise ValueError(f"{name}: there is no such file") from error
        except (OSError, ValueError) as error:
            raise ValueError(f"{name}: the picture cannot be opened: {error}") from error
    try:
        with source, pillow.Image.open(source, formats=PICTURE_FORMATS) as file:
            yield name, file
    except _TooLargeError:
        raise
    except pillow.UnidentifiedImageError as error:
        known = ", ".join(PICTURE_FORMATS)
        raise ValueError(f"{name}: expected a picture, got something that is none of {known}") from error
    except Exception as error:  # a broken file makes decoders raise almost anything
        raise ValueError(f"{name}: the picture is truncated or broken: {error}") from error


class _TooLargeError(ValueError):
    """A picture of more pixels than may be decoded."""


def _check_size(name: str, size: tuple[int, int], max_pixels: int | None) -> None:
    """`size`: width and height."""
    if max_pixels is not None and size[0] * size[1] > max_pixels:
        raise _TooLargeError(
            f"{name}: expected at most {max_pixels} pixels, got {size[0] * size[1]} ({size[0]} x {size[1]}); "
            "make the picture smaller, or the limit larger (max_pixels)"
        )


def _check_mode(name: str, mode: str) -> None:
    if mode.startswith(("I", "F")):
        raise ValueError(f"{name}: expected 8 bits a channel, got a picture of mode {mode}")


def resized(picture: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """A picture uint8 (h, w, 3) -> (height, width, 3), stretched to exactly `size`, smoothed where it shrinks.

    Bilinear, as PREPARATION says. Needs no Pillow for a picture that has the size.
    """
    if picture.shape[:2] == size:
        return picture
    image = _pillow().Image
    height, width = size
    # Given both sizes at once, Pillow rounds between them in an order that depends on its version and the shape.
    across = image.fromarray(picture).resize((width, len(picture)), image.Resampling.BILINEAR)
    return np.asarray(across.resize((width, height), image.Resampling.BILINEAR))


def are_pictures(images: Any) -> bool:
    """Whether pictures are meant, not features: a path, bytes, an array of three axes or more, a list of such or [].

    So is what holds a picture in another form, for `checked_pictures` to refuse: an image of Pillow, an open file.
    """
    if isinstance(images, list | tuple):
        return not images or are_pictures(next((image for image in images if image is not None), None))
    if isinstance(images, np.ndarray):
        return images.ndim > 2
    is_content = isinstance(images, str | os.PathLike | bytes | bytearray | memoryview) or hasattr(
        images, "read"
    )
    return is_content or _is_of_pillow(images)


def _is_of_pillow(image: Any) -> bool:
    return any(kind.__module__ == "PIL.Image" for kind in type(image).__mro__)


def _form(picture: Any) -> str:
    """What came instead of a picture, and how it becomes one."""
    if _is_of_pillow(picture):
        return "an image of Pillow (give its path, or numpy.asarray(image.convert('RGB')))"
    if isinstance(picture, bytearray | memoryview):
        return f"{type(picture).__name__} (give bytes of it)"
    return type(picture).__name__ + (" (give its path, or what it reads)" if hasattr(picture, "read") else "")


def checked_pictures(pictures: Any) -> NDArray[np.uint8] | Sequence[Any]:
    """Pictures as `blocks` takes them: an array uint8 (n, h, w, 3), or a list of arrays uint8 (h, w, 3), paths, bytes.

    Raises ValueError for anything else; the first such place is named.
    """
    if isinstance(pictures, np.ndarray):
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or not _has_pixels(pictures.shape[1:]):
            raise ValueError(
                f"pictures must be uint8 (n, height, width, 3), got {pictures.dtype} {pictures.shape}"
            )
        return pictures
    if not isinstance(pictures, list | tuple):
        raise ValueError(
            "pictures must be an array uint8 (n, height, width, 3) or a list of arrays, paths or bytes, "
            f"got {_form(pictures)}"
        )
    for place, picture in enumerate(pictures):
        if isinstance(picture, np.ndarray):
            if picture.dtype != np.uint8 or picture.ndim != 3 or not _has_pixels(picture.shape):
                raise ValueError(
                    f"pictures must be uint8 (height, width, 3), got {picture.dtype} {picture.shape} at {place}"
                )
        elif not isinstance(picture, str | os.PathLike | bytes):
            raise ValueError(f"pictures must be arrays, paths or bytes, got {_form(picture)} at {place}")
    return pictures


def blocks(
    pictures: NDArray[np.uint8] | Sequence[Any], size: Size, rows: int, max_pixels: int | None = None
) -> Iterator[NDArray[np.uint8]]:
    """Pictures, as `checked_pictures` gives them -> uint8 (b, height, width, 3), b <= `rows`, one after the other.

    A block has at most 2^20 pixels, or one picture: that bounds the memory of the network behind.
    Raises ValueError for a picture that cannot be read, or has more than `max_pixels`; its place is named.
    """
    rows = max(1, min(rows, 2**20 // (size[0] * size[1])))
    for start in range(0, len(pictures), rows):
        chosen = pictures[start : start + rows]
        block = np.empty((len(chosen), *size, 3), np.uint8)
        for place, picture in enumerate(chosen):
            if isinstance(picture, np.ndarray):
                block[place] = resized(picture, size)
                continue
            try:
                block[place] = read_picture(picture, size, max_pixels)
            except ValueError as error:
                raise ValueError(f"pictures: at {start + place}: {error}") from error
        yield block


def _has_pixels(shape: tuple[int, ...]) -> bool:
    return shape[2] == 3 and shape[0] > 0 and shape[1] > 0


def _pillow() -> Any:
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError as error:
        raise ImportError("pictures need Pillow: pip install 'scbch_keras[pictures]'") from error
    return PIL
