"""Inputs of requests -> what the encoder takes, checked row by row: numbers, strings, picture files."""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.checks import shown
from scbch_keras.export.service.limits import InputError, Limits
from scbch_keras.export.service.scanner import NUMBER_CHARACTERS, Scanner
from scbch_keras.preprocessing.pictures import check_header
from scbch_keras.preprocessing.token_inputs import Tokens

Shape = Sequence[int | None]
"""Of a row; None for any size."""


@dataclass(frozen=True)
class CountedText:
    """A text parted into words. counts: of those that the model knows, as its pipeline's. unknown: the others, once."""

    counts: dict[int, int] | Tokens
    unknown: list[str]


class PictureFile(bytes):
    """A picture file whose header was read."""

    pixels: int


def feature_rows(scanner: Scanner, name: str, shape: Shape, limits: Limits) -> NDArray[np.float32]:
    """A list of rows in JSON -> float32 (n, *shape)."""
    sizes = [size for size in shape if size is not None]
    # Indented JSON has space before a bracket too.
    limit = 2 * NUMBER_CHARACTERS * (prod(sizes) + 16) if len(sizes) == len(shape) else limits.max_body
    rows: list[NDArray[np.float32]] = []
    for place in scanner.elements(name, limits.max_rows):
        row_name = f"{name}.{place}"
        if scanner.peek() != "[":
            raise InputError(f"{row_name}: expected {_described(shape)}, got {scanner.here()}")
        rows.append(as_row(row_name, scanner.value(row_name, limit, _described(shape)), shape))
        if rows[-1].shape != rows[0].shape:
            raise InputError(
                f"{row_name}: expected rows of one shape, got {rows[-1].shape} after {rows[0].shape}"
            )
    return np.stack(rows)


def as_row(name: str, row: Any, shape: Shape) -> NDArray[np.float32]:
    """A list, or lists of lists, of finite numbers -> float32 of `shape`."""
    _check_numbers(name, row, shape)
    return finite(name, np.array(row, np.float64))


def finite(name: str, values: NDArray[Any]) -> NDArray[np.float32]:
    """Numbers -> float32; refused if float32 cannot hold one."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    if not np.isfinite(rounded).all():
        place = np.unravel_index(int(np.argmin(np.isfinite(rounded))), rounded.shape)
        where = ".".join([name, *map(str, place)])
        raise InputError(f"{where}: numbers must be finite in float32, got {values[place]}")
    return rounded


def _check_numbers(name: str, row: Any, shape: Shape) -> None:
    expected = _described(shape)
    if not isinstance(row, list):
        raise InputError(f"{name}: expected {expected}, got {shown(row)}")
    if shape[0] is not None and len(row) != shape[0]:
        raise InputError(f"{name}: expected {expected}, got a list of {len(row)}")
    if len(shape) == 1:
        check_plain(name, row)
        return
    lengths = set()
    for place, part in enumerate(row):
        _check_numbers(f"{name}.{place}", part, shape[1:])
        lengths.add(len(part))
    if len(lengths) > 1:
        raise InputError(f"{name}: expected lists of equal length, got lengths {sorted(lengths)}")


def _described(shape: Shape) -> str:
    sizes = " x ".join("any" if size is None else str(size) for size in shape)
    return f"{sizes} numbers in {'a list' if len(shape) == 1 else f'lists, {len(shape)} deep'}"


def check_plain(name: str, values: list[Any]) -> None:
    """Refuse a list that holds anything but numbers."""
    if not {float, int}.issuperset(map(type, values)):
        place, value = next((i, v) for i, v in enumerate(values) if type(v) not in (float, int))
        raise InputError(f"{name}.{place}: values must be numbers, got {shown(value)}")


def text_rows(scanner: Scanner, name: str, limits: Limits) -> list[str]:
    """A list of strings in JSON -> texts."""
    return [
        as_text(f"{name}.{place}", scanner.string(f"{name}.{place}"), limits)
        for place in scanner.elements(name, limits.max_rows)
    ]


def as_text(name: str, text: str, limits: Limits) -> str:
    """A text that is not too long and valid Unicode."""
    if len(text) > limits.max_text:
        raise InputError(f"{name}: expected at most {limits.max_text} characters, got {len(text)}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{name}: expected valid Unicode, got a lone surrogate at {error.start}") from error
    return text


def picture_rows(scanner: Scanner, name: str, limits: Limits) -> list[PictureFile]:
    """A list of strings in JSON, picture files in base64 -> files, whose headers were checked."""
    budget = PixelBudget(limits)
    return [
        budget.checked(
            f"{name}.{place}",
            from_base64(f"{name}.{place}", scanner.string(f"{name}.{place}")),
        )
        for place in scanner.elements(name, limits.max_rows)
    ]


def from_base64(name: str, text: str) -> bytes:
    """The bytes that a string in base64 says."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{name}: expected a picture file in base64: {error}") from error


class PixelBudget:
    """Counts the pixels of one request's pictures."""

    def __init__(self, limits: Limits):
        self._limits, self._pixels = limits, 0

    def checked(self, name: str, content: bytes) -> PictureFile:
        """A picture file whose header tells what may be decoded."""
        file = PictureFile(content)
        try:
            height, width = check_header(content, self._limits.max_pixels)
        except ValueError as error:
            raise InputError(f"{name}: {error}") from error
        file.pixels = height * width
        self._pixels += file.pixels
        if self._pixels > self._limits.max_request_pixels:
            raise InputError(
                f"{name}: expected pictures of at most {self._limits.max_request_pixels} pixels in a request, "
                f"got {self._pixels} up to here"
            )
        return file


PICTURE_COST = 2**16
"""Pixels of a picture that count as a row."""


def picture_cost(file: PictureFile) -> int:
    """Rows that a picture counts as."""
    return 1 + file.pixels // PICTURE_COST


def row_cost(row: Any) -> int:
    """Rows that a row of features, or of counts of words, counts as."""
    return 1


COSTS: dict[str, Callable[[Any], int]] = {
    "texts": row_cost,
    "pictures": picture_cost,
    "text_features": row_cost,
    "image_features": row_cost,
}


READERS: dict[str, Callable[[Scanner, str, Shape, Limits], Any]] = {
    "texts": lambda scanner, name, shape, limits: text_rows(scanner, name, limits),
    "pictures": lambda scanner, name, shape, limits: picture_rows(scanner, name, limits),
    "text_features": feature_rows,
    "image_features": feature_rows,
}
MODALITIES = {"texts": "text", "pictures": "image", "text_features": "text", "image_features": "image"}
"""What a request may hold -> the encoder's method that takes it."""


@dataclass(frozen=True)
class Inputs:
    """What a request holds. kind: one of READERS. k: results of a query, of a search alone."""

    kind: str
    rows: Any
    k: int = 10


def words(inputs: Inputs) -> dict[str, Any]:
    """Of texts: how many words of each the model knows, and which it does not; else nothing."""
    if inputs.kind != "texts":
        return {}
    texts: list[CountedText] = inputs.rows
    return {
        "known_words": [len(text.counts) for text in texts],
        "unknown_words": [text.unknown for text in texts],
    }


def read_inputs(body: bytes, shapes: Mapping[str, Shape], limits: Limits, is_search: bool) -> Inputs:
    """The body of a request in JSON: one list of inputs, and `k` of a search.

    shapes: of a row of features, by modality.

    Raises InputError, which names the field.
    """
    scanner = Scanner(body)
    inputs: dict[str, Any] = {}
    k = 10
    for key in scanner.keys("body"):
        if key == "k" and is_search:
            k = scanner.value("k")
            if type(k) is not int or not 1 <= k <= limits.max_results:
                raise InputError(f"k: expected an int from 1 to {limits.max_results}, got {shown(k)}")
        elif key not in READERS:
            raise InputError(f"{key}: unknown; expected one of {', '.join(READERS)}")
        elif scanner.peek() == "n":
            if scanner.value(key) is not None:
                raise InputError(f"{key}: expected a list")
        elif inputs:
            raise InputError(f"body: expected one of {', '.join(READERS)}, got {', '.join([*inputs, key])}")
        else:
            inputs[key] = READERS[key](scanner, key, shapes[MODALITIES[key]], limits)
    scanner.end("body")
    if not inputs:
        raise InputError(f"body: expected one of {', '.join(READERS)}, got none")
    [(kind, rows)] = inputs.items()
    return Inputs(kind, rows, k)
