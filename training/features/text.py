"""Texts -> feature rows: bag of words, TF-IDF, Doc2Vec, or a function of one's own.

What a word is, is said once, in `normalize`. numpy only; gensim is imported by "doc2vec" alone.
"""

import hashlib
import json
import os
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from scbch_keras.export.files import replaced

Kind = Literal["bow", "tfidf", "doc2vec"]
KINDS = ("bow", "tfidf", "doc2vec")
_FORMAT = 1


def normalize(text: str) -> list[str]:
    """A text -> its words: Unicode NFKC, case folded, split at white space. Punctuation stays with its word."""
    return unicodedata.normalize("NFKC", text).casefold().split()


class TextFeatures:
    """Texts -> features float32 (n, dimensions), after `fit`.

    Args:
        kind: "bow": which words a text has, 0 or 1, or with `counts` how often.
            "tfidf": counts times idf = ln((1 + n) / (1 + df)) + 1 with n texts, df of them with the word; rows of
            Euclidean length 1.
            "doc2vec": gensim's Doc2Vec (PV-DM), inferred for every text, those of `fit` too.
            Or a function from a list of n texts to real numbers (n, d): nothing is fitted, nothing can be saved.
        counts: for "bow".
        max_words: keep only so many words, the most frequent, and of equally frequent ones the first in the
            order of code points; None: all.
        min_count: leave out words that `fit` sees fewer times than this.
        dimensions: for "doc2vec".
        epochs: for "doc2vec", in training and in inference.
        seed: for "doc2vec": the same texts and seed give the same features, in every process.

    The columns of "bow" and "tfidf" are `vocabulary`. A text without a known word becomes a row of zeros.
    Raises ValueError for an unknown kind, and for settings out of range.
    """

    def __init__(
        self,
        kind: Kind | Callable[[list[str]], NDArray[Any]],
        *,
        counts: bool = False,
        max_words: int | None = None,
        min_count: int = 1,
        dimensions: int = 300,
        epochs: int = 20,
        seed: int = 0,
    ) -> None:
        if not callable(kind) and kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)} or a function, got {kind!r}")
        if not isinstance(counts, bool) or (counts and kind != "bow"):
            raise ValueError(
                f'counts must be True or False, and is only for "bow", got {counts!r} for {kind!r}'
            )
        numbers = {"min_count": min_count, "dimensions": dimensions, "epochs": epochs, "seed": seed}
        if max_words is not None:
            numbers["max_words"] = max_words
        for name, value in numbers.items():
            low = 0 if name == "seed" else 1
            if type(value) is not int or not low <= value < 2**32:
                raise ValueError(f"{name} must be a whole number from {low} to {2**32 - 1}, got {value!r}")
        self.kind = kind
        self.vocabulary: tuple[str, ...] = ()
        """The words of the columns, most frequent first; of "doc2vec" those that it knows."""
        self._settings: dict[str, Any] = {"max_words": max_words, "min_count": min_count}
        if kind == "bow":
            self._settings["counts"] = counts
        if kind == "doc2vec":
            self._settings |= {"dimensions": dimensions, "epochs": epochs, "seed": seed}
        self._dimensions: int | None = None
        self._columns: dict[str, int] = {}
        self._arrays: dict[str, NDArray[Any]] = {}
        self._doc2vec: Any = None

    @property
    def dimensions(self) -> int:
        """Columns of the features. Raises ValueError before `fit`."""
        if self._dimensions is None:
            raise ValueError("these text features know no words yet: call fit(texts) first")
        return self._dimensions

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn the vocabulary, and what else the kind learns, from texts. A function is tried on the first one.

        Raises ValueError if there are no texts, if one is no string, or if no word is left.
        """
        texts = _checked(texts)
        if not texts:
            raise ValueError("texts must not be empty")
        if callable(self.kind):
            self._dimensions = self._called(texts[:1]).shape[1]
            return self
        tokens = [normalize(text) for text in texts]
        frequency = Counter(word for words in tokens for word in words)
        kept = [word for word, count in frequency.items() if count >= self._settings["min_count"]]
        kept.sort(key=lambda word: (-frequency[word], word))
        kept = kept[: self._settings["max_words"]]
        if not kept:
            raise ValueError(f"texts have no word that comes min_count={self._settings['min_count']} times")
        self._know(kept)
        if self.kind == "tfidf":
            holding = np.zeros(len(kept))
            for words in tokens:
                holding[[self._columns[word] for word in set(words) if word in self._columns]] += 1
            self._arrays = {"idf": np.log((1 + len(texts)) / (1 + holding)) + 1}
        elif self.kind == "doc2vec":
            from scbch_keras.training.features.doc2vec import Doc2Vec

            options = {key: self._settings[key] for key in ("dimensions", "epochs", "seed")}
            counts = [frequency[word] for word in kept]
            self._doc2vec = Doc2Vec.trained([self._known(words) for words in tokens], kept, counts, **options)
            self._arrays = self._doc2vec.arrays()
            self._dimensions = self._settings["dimensions"]
        return self

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Texts (n) -> float32 (n, dimensions). Raises ValueError before `fit`, and if a text is no string."""
        texts = _checked(texts)
        dimensions = self.dimensions
        if callable(self.kind):
            return self._called(texts) if texts else np.zeros((0, dimensions), np.float32)
        features = np.zeros((len(texts), dimensions))
        for row, text in enumerate(texts):
            words = self._known(normalize(text))
            if self.kind == "doc2vec":
                features[row] = self._doc2vec.infer(words)
                continue
            count = Counter(words)
            columns = [self._columns[word] for word in count]
            if self.kind == "bow" and not self._settings["counts"]:
                features[row, columns] = 1
            else:
                features[row, columns] = list(count.values())
        if self.kind == "tfidf":
            features *= self._arrays["idf"]
            length = np.linalg.norm(features, axis=1, keepdims=True)
            features /= np.where(length > 0, length, 1)
        return features.astype(np.float32)

    def config(self) -> dict[str, Any]:
        """What these features are, JSON-able: kind, settings, dimensions and the sha256 of all that was learned."""
        if callable(self.kind):
            name = f"{type(self.kind).__module__}.{type(self.kind).__qualname__}"
            if hasattr(self.kind, "__qualname__"):
                name = f"{self.kind.__module__}.{self.kind.__qualname__}"
            return {"kind": "function", "name": name, "dimensions": self.dimensions}
        digest = hashlib.sha256(json.dumps(self.vocabulary).encode())
        for key, value in sorted(self._arrays.items()):
            digest.update(f"{key} {value.dtype} {value.shape};".encode())
            digest.update(np.ascontiguousarray(value).data)
        return {
            "kind": self.kind,
            **self._settings,
            "dimensions": self.dimensions,
            "sha256": digest.hexdigest(),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all of it to one .npz file: arrays, with the settings and the vocabulary as JSON within, no pickle.

        Raises ValueError before `fit`, and for a function, which stays code.
        """
        if callable(self.kind):
            raise ValueError(f"features of a function cannot be saved: {self.config()['name']} stays code")
        stored = {"format": _FORMAT, **self.config(), "vocabulary": self.vocabulary}
        text = np.frombuffer(json.dumps(stored).encode(), np.uint8)
        with replaced(Path(path)) as file:
            np.savez(file, allow_pickle=False, json=text, **self._arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """What `save` wrote. Raises ValueError if the file is missing, damaged or something else."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
            stored = json.loads(arrays.pop("json").tobytes())
            if stored.pop("format") != _FORMAT:
                raise ValueError("it has another format")
            kind, dimensions, sha256 = stored.pop("kind"), stored.pop("dimensions"), stored.pop("sha256")
            words = stored.pop("vocabulary")
            features = cls(kind, **stored, **({"dimensions": dimensions} if kind == "doc2vec" else {}))
            features._know(words)
            features._arrays, features._dimensions = arrays, dimensions
            if features.config()["sha256"] != sha256:
                raise ValueError("its checksum is wrong")
        except FileNotFoundError as error:
            raise ValueError(f"{path}: there is no such file") from error
        except (
            OSError,
            EOFError,
            KeyError,
            TypeError,
            AttributeError,
            ValueError,
            zipfile.BadZipFile,
        ) as error:
            raise ValueError(f"{path}: expected a file of TextFeatures.save: {error}") from error
        if kind == "doc2vec":
            from scbch_keras.training.features.doc2vec import Doc2Vec

            features._doc2vec = Doc2Vec.restored(words, arrays, dimensions, stored["epochs"], stored["seed"])
        return features

    def _know(self, words: Sequence[str]) -> None:
        self.vocabulary = tuple(words)
        self._columns = {word: column for column, word in enumerate(words)}
        self._dimensions = len(words)

    def _known(self, words: list[str]) -> list[str]:
        return [word for word in words if word in self._columns]

    def _called(self, texts: list[str]) -> NDArray[np.float32]:
        assert callable(self.kind)  # noqa: S101
        features = np.asarray(self.kind(texts))
        width = "d" if self._dimensions is None else self._dimensions
        fits = features.ndim == 2 and len(features) == len(texts) and width in ("d", features.shape[1])
        if not fits or features.dtype.kind not in "fiub" or not np.isfinite(features).all():
            raise ValueError(
                f"kind: the function must give finite real numbers ({len(texts)}, {width}), "
                f"got {features.dtype} {features.shape}"
            )
        return features.astype(np.float32)


def _checked(texts: Any) -> list[str]:
    if isinstance(texts, str | bytes) or not hasattr(texts, "__iter__"):
        raise ValueError(f"texts must be a list of strings, got {type(texts).__name__}")
    texts = list(texts)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"texts must be strings, got {type(text).__name__} at {row}")
    return texts
