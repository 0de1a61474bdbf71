"""Texts -> words -> feature rows, said once: training, serving and exported graphs use this. numpy only."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scbch_keras.checks import one_of
from scbch_keras.files import loads, read_bytes
from scbch_keras.preprocessing.normalization import CURRENT, check_rule, is_token, words
from scbch_keras.stored import FileKind, write_json

Weighting = Literal["presence", "counts", "tfidf"]
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_STORED = FileKind("a file of TextPipeline.save", "schema", (1,))
_FRACTION = 2.0**16


def checked(texts: Any) -> list[str]:
    """Texts as a list of strings.

    Raises:
        ValueError: no list or one-dimensional array, or an element that is no string, or one with a lone
            surrogate, which no UTF-8 can hold. The first such row is named.
    """
    # A set has no order, of a dict the values would be lost.
    if isinstance(texts, str | bytes | set | frozenset | Mapping) or not hasattr(texts, "__iter__"):
        raise ValueError(f"texts must be a list of strings, got {type(texts).__name__}")
    if isinstance(texts, np.ndarray) and texts.ndim != 1:
        raise ValueError(f"texts must be a list of strings, got an array of shape {texts.shape}")
    texts = list(texts)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"texts must be strings, got {type(text).__name__} at {row}")
        if not text.isascii() and (match := _SURROGATE.search(text)):
            raise ValueError(
                f"texts must be valid Unicode, got the lone surrogate U+{ord(match[0]):04X} at {row}"
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
        normalization: the name of the rule by which texts are parted into words, of
            `scbch_keras.preprocessing.normalization.NORMALIZATIONS`; or into n-grams of characters, for languages
            without spaces: `scbch_keras.preprocessing.normalization.rule_of("characters:2-3")`.

    A text without a known word becomes a row of zeros; `unknown` names the words that do not count.
    Raises ValueError for a vocabulary that no text can give, and for settings out of range.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        weighting: Weighting = "presence",
        idf: ArrayLike | None = None,
        normalization: str = CURRENT,
    ) -> None:
        one_of("weighting", weighting, get_args(Weighting))
        self.vocabulary = tuple(checked(vocabulary))
        self.weighting: Weighting = weighting
        self.normalization = check_rule(normalization)
        self._columns = {word: column for column, word in enumerate(self.vocabulary)}
        if not self.vocabulary:
            raise ValueError("vocabulary must have a word at least")
        for column, word in enumerate(self.vocabulary):
            if not is_token(word, self.normalization):
                raise ValueError(
                    f"vocabulary must hold words in normal form, got {word!r} at {column}, "
                    f"which texts give as {self.words(word)}"
                )
            if self._columns[word] != column:
                raise ValueError(f"vocabulary must hold each word once, got {word!r} at {column} again")
        if (idf is None) != (weighting != "tfidf"):
            raise ValueError(f'idf is for "tfidf" and needed there, got {idf!r} for {weighting!r}')
        self.idf: NDArray[np.float64] | None = None
        if idf is not None:
            weights = np.asarray(idf, np.float64)
            if weights.shape != (self.dimensions,) or not ((weights >= 0) & (weights <= 1024)).all():
                raise ValueError(
                    f"idf must be numbers from 0 to 1024, one for each of the {self.dimensions} words, "
                    f"got shape {weights.shape}: {weights!r}"
                )
            self.idf = np.round(weights * _FRACTION) / _FRACTION

    @property
    def dimensions(self) -> int:
        """Columns of the features."""
        return len(self.vocabulary)

    def words(self, text: str) -> list[str]:
        """The words of one text by the pipeline's rule, in their order.

        Args:
            text: without lone surrogates; see `checked`.

        Returns:
            Words, each as often as it stands in the text.
        """
        return words(text, self.normalization)

    def unknown(self, texts: Sequence[str]) -> list[list[str]]:
        """The words of each text that the vocabulary lacks.

        Args:
            texts: n strings.

        Returns:
            n lists, each word once, in the order of the text.

        Raises:
            ValueError: as `checked`.
        """
        distinct = [dict.fromkeys(self.words(text)) for text in checked(texts)]
        return [[word for word in row if word not in self._columns] for row in distinct]

    def known(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """How many different words of the vocabulary each text has.

        The code of a text that has none says nothing of it.

        Args:
            texts: n strings.

        Returns:
            (n,), int64.

        Raises:
            ValueError: as `checked`.
        """
        distinct = [set(self.words(text)) for text in checked(texts)]
        return np.array([len(row & self._columns.keys()) for row in distinct], np.int64)

    def normalize(self, texts: Sequence[str]) -> NDArray[np.object_]:
        """Texts as `text_raw.onnx` takes them: their words joined by one space.

        Args:
            texts: n strings.

        Returns:
            (n,), an array of str objects.

        Raises:
            ValueError: as `checked`.
        """
        normal = np.empty(len(texts := checked(texts)), object)
        normal[:] = [" ".join(self.words(text)) for text in texts]
        return normal

    def counted(self, text: str) -> tuple[dict[int, int], list[str]]:
        """What one text holds, of which `weighted` makes its features.

        Args:
            text: without lone surrogates; see `checked`.

        Returns:
            How often it has the word of each column, columns of words that it lacks left out; and the words that the
            vocabulary lacks, each once, in their order.
        """
        counts: dict[int, int] = {}
        unknown: dict[str, None] = {}
        for word in self.words(text):
            column = self._columns.get(word)
            if column is None:
                unknown[word] = None
            else:
                counts[column] = counts.get(column, 0) + 1
        return counts, list(unknown)

    def weighted(self, counts: Iterable[Mapping[int, int]], rows: int) -> NDArray[np.float32]:
        """Counts of words -> features.

        Args:
            counts: of `rows` texts, as `counted` gives them.
            rows: how many there are, n.

        Returns:
            (n, dimensions), float32.
        """
        features = np.zeros((rows, self.dimensions), np.float32 if self.idf is None else np.float64)
        for row, count in enumerate(counts):
            features[row, list(count)] = list(count.values())
        if self.weighting == "presence":
            np.minimum(features, 1, out=features)
        elif self.idf is not None:
            features *= self.idf
            length = np.sqrt(np.square(features).sum(axis=1, keepdims=True))
            features /= np.where(length > 0, length, 1)
        return features.astype(np.float32, copy=False)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Texts (n) -> float32 (n, dimensions). Raises ValueError as `checked` does."""
        texts = checked(texts)
        columns = (map(self._columns.get, self.words(text)) for text in texts)
        return self.weighted(
            (Counter(column for column in row if column is not None) for row in columns), len(texts)
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the pipeline as JSON, from which `load` makes the same again.

        Args:
            path: of the file; an existing one is replaced as a whole.
        """
        stored = {
            "normalization": self.normalization,
            "weighting": self.weighting,
            "vocabulary": self.vocabulary,
            "idf": None if self.idf is None else self.idf.tolist(),
        }
        write_json(Path(path), _STORED.marked(stored))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Args:
            path: of the file.

        Returns:
            The pipeline that was saved.

        Raises:
            ValueError: the file is something else, or damaged.
            FileNotFoundError: there is no such file.
        """
        return cls.from_json(read_bytes(Path(path)), str(path))

    @classmethod
    def from_json(cls, content: bytes, source: str) -> Self:
        """Read the content of a file that `save` wrote.

        Args:
            content: its bytes.
            source: the name of the file, for messages.

        Returns:
            The pipeline that was saved.

        Raises:
            ValueError: the content is something else, or damaged.
        """
        with _STORED.reading(source):
            stored = _STORED.unmarked(loads(content))
            if not isinstance(stored["vocabulary"], list):
                raise ValueError(f"its vocabulary is a {type(stored['vocabulary']).__name__}")
            return cls(*(stored[key] for key in ("vocabulary", "weighting", "idf", "normalization")))
