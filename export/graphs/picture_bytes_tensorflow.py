"""JPEG and PNG bytes -> pixels as a TensorFlow graph, equal to `pictures.decoded`, or an error of the graph."""

from typing import Any

import tensorflow as tf

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_START_OF_SCAN, _APP1 = 0xDA, 0xE1
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
# Text chunks of a PNG that Pillow takes an orientation or a transparency from; these are not served,
_OTHER_TEXT = r"(?s)(?:exif|Raw profile type exif|transparency)\x00\C*"
# and these where they are not compressed.
_XMP_TEXT = r"(?s)(?:xmp|XML:com\.adobe\.xmp)\x00\C*"
_COMPRESSED = r"(?s)(?:xmp|XML:com\.adobe\.xmp)\x00\x01\C*"
_ORIENTED = r"(?s)\C*tiff:Orientation(?:=\"|>)[02-9]\C*"
_TO_THE_END = 2**31 - 1
_PADDING = bytes(32)
_UPRIGHT = 1


def decode(content: Any) -> Any:
    """The bytes of a JPEG or PNG picture, a string scalar -> uint8 (h, w, 3), RGB, turned and laid on white.

    InvalidArgumentError: another format, a broken file, 16-bit grey, a transparent colour of grey below 8 bits or
    of 16-bit RGB, an orientation that stands in XMP alone or in a form that EXIF does not have.
    """
    is_png = tf.strings.substr(content, 0, len(_PNG)) == _PNG
    is_jpeg = tf.strings.substr(content, 0, len(_JPEG)) == _JPEG
    _assert(is_png | is_jpeg, "image_bytes: expected a JPEG or PNG picture")
    return tf.cond(is_png, lambda: _png(content), lambda: _jpeg(content))


def _jpeg(content: Any) -> Any:
    data, size = _opened(content)
    _assert(tf.io.extract_jpeg_shape(content)[2] < 4, "image_bytes: the JPEG is CMYK, which is not served")

    def step(at: Any, exif: Any, xmp: Any, _: Any) -> tuple[Any, ...]:
        _assert(at + 4 <= size, "image_bytes: the JPEG ends before its picture")
        at = tf.minimum(at, size - 4)
        _assert(_uint(data, at, 1) == 0xFF, "image_bytes: the JPEG has no marker where one must stand")
        marker = _uint(data, at + 1, 1)
        # A marker may have any number of FF before it.
        fill = marker == 0xFF
        length = tf.where(fill, 0, _uint(data, at + 2, 2))
        _assert(fill | ((length >= 2) & (at + 2 + length <= size)), "image_bytes: the JPEG is cut off")
        is_segment = (marker >= 0xC0) & ((marker < 0xD0) | (marker > 0xD9))
        _assert(is_segment, "image_bytes: the JPEG has a marker that cannot stand before its picture")
        segment = tf.strings.substr(content, at + 4, tf.maximum(length - 2, 0))
        is_exif = (marker == _APP1) & (tf.strings.substr(segment, 0, len(_EXIF)) == _EXIF)
        is_xmp = (marker == _APP1) & (tf.strings.substr(segment, 0, len(_XMP)) == _XMP)
        return (
            tf.where(fill, at + 1, at + 2 + length),
            exif + tf.strings.substr(tf.where(is_exif, segment, _EXIF), len(_EXIF), _TO_THE_END),
            tf.where(is_xmp, segment, xmp),
            marker == _START_OF_SCAN,
        )

    start = (2, tf.constant(b""), tf.constant(b""), tf.constant(False))
    _, exif, xmp, _ = tf.while_loop(lambda *state: ~state[3], step, start)
    # After the errors of what was read so far, which say more than the decoder's.
    with tf.control_dependencies([exif]):
        pixels = tf.io.decode_jpeg(content, 3, dct_method="INTEGER_ACCURATE", fancy_upscaling=True)
    return _turned(pixels, exif, xmp)


def _png(content: Any) -> Any:
    data, size = _opened(content)
    padded = content + _PADDING
    depth, color = _uint(data, 24, 1), _uint(data, 25, 1)
    _assert((depth < 16) | (color != 0), "image_bytes: expected 8 bits a channel, got a PNG of 16-bit grey")

    def step(at: Any, exif: Any, xmp: Any, keyed: Any, _: Any) -> tuple[Any, ...]:
        _assert(at + 12 <= size, "image_bytes: the PNG has no end")
        at = tf.minimum(at, size)
        length = _uint(data, at, 4)
        _assert((length >= 0) & (length <= size - at - 12), "image_bytes: the PNG is cut off")
        kind = tf.strings.substr(padded, at + 4, 4)
        chunk = tf.strings.substr(padded, at + 8, tf.maximum(length, 0))
        is_text = (kind == b"tEXt") | (kind == b"zTXt") | (kind == b"iTXt")
        is_xmp = is_text & tf.strings.regex_full_match(chunk, _XMP_TEXT)
        compressed = (kind == b"zTXt") | ((kind == b"iTXt") & tf.strings.regex_full_match(chunk, _COMPRESSED))
        refused = is_text & tf.strings.regex_full_match(chunk, _OTHER_TEXT) | (is_xmp & compressed)
        _assert(~refused, "image_bytes: the PNG has EXIF, XMP or a transparency in a text chunk, not served")
        return (
            at + 12 + length,
            tf.where(kind == b"eXIf", chunk, exif),
            tf.where(is_xmp, chunk, xmp),
            keyed | (kind == b"tRNS"),
            kind == b"IEND",
        )

    start = (8, tf.constant(b""), tf.constant(b""), tf.constant(False), tf.constant(False))
    _, exif, xmp, keyed, _ = tf.while_loop(lambda *state: ~state[4], step, start)
    odd = keyed & (((color == 0) & (depth < 8)) | ((color == 2) & (depth == 16)))
    _assert(~odd, "image_bytes: the PNG has a transparent colour of another depth than 8 bits")
    with tf.control_dependencies([exif]):
        layers = tf.cast(tf.io.decode_png(content, 4), tf.int32)
    # TensorFlow's own alpha of a picture that has none is not 255 below 8 bits.
    alpha = tf.where(keyed | (color >= 4), layers[..., 3:], 255)
    blended = (layers[..., :3] * alpha + 255 * (255 - alpha)) * 2**7 + 2**14
    # Pillow's rounding: of a / 255, with 7 bits more.
    pixels = tf.bitwise.right_shift(tf.bitwise.right_shift(blended, 8) + blended, 15)
    return _turned(tf.cast(pixels, tf.uint8), exif, xmp)


def _turned(pixels: Any, exif: Any, xmp: Any) -> Any:
    """Pixels (h, w, 3) turned upright, by the orientation in the TIFF bytes `exif`."""
    orientation = tf.cond(exif == b"", lambda: 0, lambda: _orientation(exif))
    _assert(
        (orientation > 0) | ~tf.strings.regex_full_match(xmp, _ORIENTED),
        "image_bytes: the orientation of the picture stands in XMP alone, which is not served",
    )
    across = tf.transpose(pixels, (1, 0, 2))
    turns = [
        pixels,
        pixels[:, ::-1],
        pixels[::-1, ::-1],
        pixels[::-1],
        across,
        across[:, ::-1],
        across[::-1, ::-1],
        across[::-1],
    ]
    place = tf.where((orientation >= 1) & (orientation <= len(turns)), orientation, _UPRIGHT) - 1
    return tf.switch_case(place, [lambda turned=turned: turned for turned in turns])


def _orientation(exif: Any) -> Any:
    """The orientation in the first directory of TIFF bytes, 1 to 8 where it is valid, 0 where there is none."""
    data, size = _opened(exif)
    message = "image_bytes: the EXIF of the picture is broken"
    header = tf.strings.substr(exif, 0, 4)
    little = header == b"II*\0"
    _assert((little | (header == b"MM\0*")) & (size >= 8), message)

    def number(at: Any, width: int) -> Any:
        return tf.where(little, _uint(data, at, width, -1), _uint(data, at, width))

    directory = number(4, 4)
    _assert((directory >= 8) & (directory <= size - 2), message)
    directory = tf.clip_by_value(directory, 0, size)
    count = number(directory, 2)
    first = directory + 2
    _assert(first + 12 * count <= size, message)
    whole = tf.clip_by_value(size - first, 0, 12 * count) // 12 * 12
    entries = tf.cast(tf.reshape(data[first : first + whole], (-1, 12)), tf.int32)
    entries = tf.where(little, tf.gather(entries, [1, 0, 3, 2, 7, 6, 5, 4, 9, 8], axis=1), entries[:, :10])
    matches = tf.boolean_mask(entries, (entries[:, 0] == 0x01) & (entries[:, 1] == 0x12))
    # One number of type SHORT
    regular = tf.reduce_all(matches[:, 2:8] == [0, 3, 0, 0, 0, 1]) & (tf.shape(matches)[0] <= 1)
    _assert(regular, message + ": its orientation is not one SHORT")
    return tf.reduce_sum(matches[:, 8] * 256 + matches[:, 9])


def _opened(content: Any) -> tuple[Any, Any]:
    """A string scalar -> its bytes, with zeros behind, so that none is read outside, and their number."""
    return tf.io.decode_raw(content + _PADDING, tf.uint8), tf.strings.length(content)


def _uint(data: Any, at: Any, width: int, step: int = 1) -> Any:
    """The number in `width` bytes from `at`, big endian, or little for step -1; int32, so 4 bytes may be below 0."""
    parts = tf.unstack(tf.cast(data[at : at + width], tf.int32)[::step], width)
    total = parts[0]
    for part in parts[1:]:
        total = total * 256 + part
    return total


def _assert(condition: Any, message: str) -> None:
    tf.debugging.Assert(condition, [message], summarize=1)
