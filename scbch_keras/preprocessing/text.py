"""Texts -> words -> feature rows, said once: training, serving and exported graphs use this. numpy only."""

import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scbch_keras.checks import one_of
from scbch_keras.files import loads, opened, replaced

Weighting = Literal["presence", "counts", "tfidf"]
Ranges = tuple[tuple[int, int], ...]

NORMALIZATION = {
    "name": "nfkc-casefold-14",
    "unicode": "14.0.0",
    "rule": "code points that this Unicode version does not assign stay as they are; each stretch between them "
    "becomes NFKC_Casefold(NFKC(stretch)), Default_Ignorable_Code_Points removed with it",
    "words": "what stands between white space (White_Space) and control characters (Cc)",
    "normalised": "the words, joined by one space",
}
"""The rule of `words`, for who follows it in another language."""

SEPARATORS: Ranges = (
    (0x00, 0x20),
    (0x7F, 0xA0),
    (0x1680, 0x1680),
    (0x2000, 0x200A),
    (0x2028, 0x2029),
    (0x202F, 0x202F),
    (0x205F, 0x205F),
    (0x3000, 0x3000),
)
"""White_Space and Cc. With NUL among them no word holds one, at which C strings end."""

_IGNORABLE: Ranges = (
    (0xAD, 0xAD),
    (0x34F, 0x34F),
    (0x61C, 0x61C),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x2064),
    (0x2066, 0x206F),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0001, 0xE0001),
    (0xE0020, 0xE007F),
    (0xE0100, 0xE01EF),
)


def _read_ranges(name: str) -> Ranges:
    lines = resources.files(__package__).joinpath(name).read_text(encoding="ascii").splitlines()
    pairs = (line.split() for line in lines if not line.startswith("#"))
    return tuple((int(first, 16), int(last, 16)) for first, last in pairs)


def _class_of(ranges: Iterable[tuple[int, int]]) -> str:
    return "".join(rf"\U{first:08x}-\U{last:08x}" for first, last in ranges)


UNASSIGNED = _read_ranges("unassigned_14.txt")
"""What Unicode 14.0.0, that of Python 3.11, does not assign. Later versions treat only these otherwise: the
normal forms and case foldings of assigned code points are stable."""

_ASTRAL = 0x10000
# Python tries ranges beyond U+FFFF one by one; looking ahead spares that for all other characters.
_UNASSIGNED = re.compile(
    rf"((?:[{_class_of(r for r in UNASSIGNED if r[0] < _ASTRAL)}]"
    rf"|(?=[{_class_of([(_ASTRAL, 0x10FFFF)])}])[{_class_of(r for r in UNASSIGNED if r[0] >= _ASTRAL)}])+)"
)
_WORD = re.compile(rf"[^{_class_of(SEPARATORS)}]+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_REMOVED = {code: None for first, last in _IGNORABLE for code in range(first, last + 1)}
_SCHEMA = 1
_FRACTION = 2.0**16


def words(text: str) -> list[str]:
    """A text -> its words, by NORMALIZATION. Punctuation stays with its word. No lone surrogates (`checked`)."""
    if text.isascii():
        return _WORD.findall(text.lower())
    stretches = _UNASSIGNED.split(text)
    stretches[::2] = map(_folded, stretches[::2])
    return _WORD.findall("".join(stretches))


def _folded(text: str) -> str:
    """NFKC_Casefold(NFKC(text)), which Python has in parts only."""
    folded = unicodedata.normalize("NFKC", text).casefold().translate(_REMOVED)
    return unicodedata.normalize("NFKC", folded)


def checked(texts: Any) -> list[str]:
    """Texts as a list of strings.

    Raises:
        ValueError: no list or one-dimensional array, or an element that is no string, or one with a lone
            surrogate, which no UTF-8 can hold. The first such row is named.
    """
    if isinstance(texts, str | bytes) or not hasattr(texts, "__iter__"):
        raise ValueError(f"texts must be a list of strings, got {type(texts).__name__}")
    if isinstance(texts, np.ndarray) and texts.ndim != 1:
        raise ValueError(f"texts must be a list of strings, got an array of shape {texts.shape}")
    texts = list(texts)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"texts must be strings, got {type(text).__name__} at {row}")
        if not text.isascii() and (found := _SURROGATE.search(text)):
            raise ValueError(
                f"texts must be valid Unicode, got the lone surrogate U+{ord(found[0]):04X} at {row}"
            )
    return texts


class TextPipeline:
    """Texts -> features float32 (n, dimensions) by a given vocabulary.

    Args:
        vocabulary: the word of each column, as `words` gives it, each once.
        weighting: "presence": which words a text has, 0 or 1; "counts": how often; "tfidf": counts times `idf`,
            rows of Euclidean length 1.
        idf: for "tfidf", one number from 0 to 1024 for each word. Kept in multiples of 2**-16: squares of
            counts times idf then add up without rounding (to 2**21), in any order, and so to the same bits in
            numpy, TensorFlow and onnxruntime.

    A text without a known word becomes a row of zeros.
    Raises ValueError for a vocabulary that no text can give, and for settings out of range.
    """

    def __init__(
        self, vocabulary: Sequence[str], weighting: Weighting = "presence", idf: ArrayLike | None = None
    ) -> None:
        one_of("weighting", weighting, get_args(Weighting))
        self.vocabulary = tuple(checked(vocabulary))
        self.weighting: Weighting = weighting
        self._columns = {word: column for column, word in enumerate(self.vocabulary)}
        if not self.vocabulary:
            raise ValueError("vocabulary must have a word at least")
        for column, word in enumerate(self.vocabulary):
            if words(word) != [word]:
                raise ValueError(
                    f"vocabulary must hold words in normal form, got {word!r} at {column}, "
                    f"which texts give as {words(word)}"
                )
            if self._columns[word] != column:
                raise ValueError(f"vocabulary must hold each word once, got {word!r} at {column} again")
        if (idf is None) != (weighting != "tfidf"):
            raise ValueError(f'idf is for "tfidf" and needed there, got {idf!r} for {weighting!r}')
        self.idf: NDArray[np.float64] | None = None
        if idf is not None:
            given = np.asarray(idf, np.float64)
            if given.shape != (self.dimensions,) or not ((given >= 0) & (given <= 1024)).all():
                raise ValueError(
                    f"idf must be numbers from 0 to 1024, one for each of the {self.dimensions} words, "
                    f"got shape {given.shape}: {given!r}"
                )
            self.idf = np.round(given * _FRACTION) / _FRACTION

    @property
    def dimensions(self) -> int:
        """Columns of the features."""
        return len(self.vocabulary)

    def normalize(self, texts: Sequence[str]) -> NDArray[np.object_]:
        """Texts (n) -> what `text_raw.onnx` takes: their words joined by one space, as an array of str objects.

        Raises ValueError as `checked` does.
        """
        normal = np.empty(len(texts := checked(texts)), object)
        normal[:] = [" ".join(words(text)) for text in texts]
        return normal

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Texts (n) -> float32 (n, dimensions). Raises ValueError as `checked` does."""
        texts = checked(texts)
        features = np.zeros((len(texts), self.dimensions), np.float32 if self.idf is None else np.float64)
        for row, text in enumerate(texts):
            count = Counter(word for word in words(text) if word in self._columns)
            features[row, [self._columns[word] for word in count]] = list(count.values())
        if self.weighting == "presence":
            np.minimum(features, 1, out=features)
        elif self.idf is not None:
            features *= self.idf
            length = np.sqrt(np.square(features).sum(axis=1, keepdims=True))
            features /= np.where(length > 0, length, 1)
        return features.astype(np.float32, copy=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON, from which `load` makes the same again."""
        stored = {
            "schema": _SCHEMA,
            "normalization": NORMALIZATION["name"],
            "weighting": self.weighting,
            "vocabulary": self.vocabulary,
            "idf": None if self.idf is None else self.idf.tolist(),
        }
        with replaced(Path(path)) as file:
            file.write(json.dumps(stored).encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """What `save` wrote. Raises ValueError if it is something else, FileNotFoundError if there is nothing."""
        with opened(Path(path)) as file:
            return cls.from_json(file.read(), str(path))

    @classmethod
    def from_json(cls, content: bytes, source: str) -> Self:
        """What `save` wrote to the file `source`, from its bytes. Raises ValueError if it is something else."""
        try:
            stored = loads(content)
            form = (stored["schema"], stored["normalization"])
            if form != (_SCHEMA, NORMALIZATION["name"]):
                raise ValueError(f"its schema and normalization are {form}")
            if not isinstance(stored["vocabulary"], list):
                raise ValueError(f"its vocabulary is a {type(stored['vocabulary']).__name__}")
            return cls(stored["vocabulary"], stored["weighting"], stored["idf"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{source}: expected a file of TextPipeline.save: {error}") from error
