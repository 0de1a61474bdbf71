"""Texts -> feature rows: bag of words, TF-IDF, Doc2Vec, or a function of one's own.

What a word is, is said in `scbch_keras.preprocessing.normalization`, and how words are counted in
`scbch_keras.preprocessing.text`; serving uses both. numpy only; gensim is imported by "doc2vec" alone.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from scbch_keras.files import loads, replaced
from scbch_keras.npz import load_npz
from scbch_keras.preprocessing.normalization import CURRENT, WITH_PUNCTUATION, check_rule, words
from scbch_keras.preprocessing.text import TextPipeline, Weighting, checked
from scbch_keras.stored import FileKind, json_array
from scbch_keras.training.features.kinds import KINDS

_STORED = FileKind("a file of TextFeatures.save", "format", (2,), "save the features again")


class TextFeatures:
    """Texts -> features float32 (n, dimensions), after `fit`.

    Args:
        kind: "bow": which words a text has, 0 or 1, or with `counts` how often.
            "tfidf": counts times idf = ln((1 + n) / (1 + df)) + 1 with n texts, df of them with the word, to
            the nearest multiple of 2**-16 (`TextPipeline`); rows of Euclidean length 1.
            "doc2vec": gensim's Doc2Vec (PV-DM), inferred for every text, those of `fit` too.
            Or a function from a list of n texts to real numbers (n, d): nothing is fitted, nothing can be saved.
        counts: for "bow".
        max_words: keep only so many words, the most frequent, and of equally frequent ones the first in the
            order of code points; None: all.
        min_count: leave out words that `fit` sees fewer times than this.
        dimensions: for "doc2vec".
        epochs: for "doc2vec", in training and in inference.
        normalization: the rule that parts texts into words (`NORMALIZATIONS`).
        seed: for "doc2vec": the same texts and seed give the same features, in every process.

    The columns of "bow" and "tfidf" are `vocabulary`. A text without a known word becomes a row of zeros.
    Raises ValueError for an unknown kind, and for settings out of range.
    """

    def __init__(
        self,
        kind: str | Callable[[list[str]], NDArray[Any]],
        *,
        counts: bool = False,
        max_words: int | None = None,
        min_count: int = 1,
        dimensions: int = 300,
        epochs: int = 20,
        seed: int = 0,
        normalization: str = CURRENT,
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
        self.normalization = check_rule(normalization)
        self.vocabulary: tuple[str, ...] = ()
        """The words of the columns, most frequent first; of "doc2vec" those that it knows."""
        self._settings: dict[str, Any] = {"max_words": max_words, "min_count": min_count}
        if kind == "bow":
            self._settings["counts"] = counts
        if kind == "doc2vec":
            self._settings |= {"dimensions": dimensions, "epochs": epochs, "seed": seed}
        self._dimensions: int | None = None
        self._pipeline: TextPipeline | None = None
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

        Args:
            texts: at least one string.

        Returns:
            These features.

        Raises:
            ValueError: no text; one that is no string or holds a lone surrogate; or no word is left.
        """
        valid_texts: list[str] = checked(texts)
        if not valid_texts:
            raise ValueError("texts must not be empty")
        if callable(self.kind):
            self._dimensions = self._called(valid_texts[:1]).shape[1]
            return self
        tokens = [words(text, self.normalization) for text in valid_texts]
        frequency = Counter(word for row in tokens for word in row)
        kept = [word for word, count in frequency.items() if count >= self._settings["min_count"]]
        kept.sort(key=lambda word: (-frequency[word], word))
        kept = kept[: self._settings["max_words"]]
        if not kept:
            raise ValueError(f"texts have no word that comes min_count={self._settings['min_count']} times")
        if self.kind == "doc2vec":
            from scbch_keras.training.features.doc2vec import Doc2Vec

            self.vocabulary, known = tuple(kept), set(kept)
            options = {key: self._settings[key] for key in ("dimensions", "epochs", "seed")}
            counts = [frequency[word] for word in kept]
            rows = [[word for word in row if word in known] for row in tokens]
            self._doc2vec = Doc2Vec.trained(rows, kept, counts, **options)
            self._arrays = self._doc2vec.arrays()
            self._dimensions = self._settings["dimensions"]
            return self
        idf = None
        if self.kind == "tfidf":
            holding = Counter(word for row in tokens for word in set(row))
            idf = np.log((1 + len(valid_texts)) / (1 + np.array([holding[word] for word in kept]))) + 1
        self._count(kept, idf)
        return self

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Texts (n) -> float32 (n, dimensions).

        Raises ValueError before `fit`, and if a text is no string or holds a lone surrogate.
        """
        valid_texts: list[str] = checked(texts)
        dimensions = self.dimensions
        if callable(self.kind):
            return self._called(valid_texts) if valid_texts else np.zeros((0, dimensions), np.float32)
        if self._pipeline is not None:
            return self._pipeline(valid_texts)
        features, known = np.zeros((len(valid_texts), dimensions)), set(self.vocabulary)
        for row, text in enumerate(valid_texts):
            tokens = words(text, self.normalization)
            features[row] = self._doc2vec.infer([word for word in tokens if word in known])
        return features.astype(np.float32)

    def pipeline(self) -> TextPipeline:
        """The same features for a release: `scbch_keras.export.release(model, folder, text=...)`.

        Returns:
            The pipeline of the vocabulary that was learned.

        Raises:
            ValueError: before `fit`; or the kind is no count of words: "doc2vec" and functions.
        """
        if self._pipeline is not None:
            return self._pipeline
        if self.kind in ("bow", "tfidf"):
            raise ValueError("these text features know no words yet: call fit(texts) first")
        kind = "a function" if callable(self.kind) else f'"{self.kind}"'
        raise ValueError(f'a release takes the text features "bow" and "tfidf", got {kind}')

    def config(self) -> dict[str, Any]:
        """What these features are: kind, settings, rule, dimensions, and the sha256 of all that was learned.

        The former rule is not named: what was recorded while it was the only one stays valid.

        Returns:
            Values that JSON can hold.
        """
        if callable(self.kind):
            name = f"{type(self.kind).__module__}.{type(self.kind).__qualname__}"
            if hasattr(self.kind, "__qualname__"):
                name = f"{self.kind.__module__}.{self.kind.__qualname__}"
            return {"kind": "function", "name": name, "dimensions": self.dimensions}
        digest = hashlib.sha256(json.dumps(self.vocabulary).encode())
        for key, value in sorted(self._arrays.items()):
            digest.update(f"{key} {value.dtype} {value.shape};".encode())
            digest.update(np.ascontiguousarray(value).data)
        rule = {} if self.normalization == WITH_PUNCTUATION else {"normalization": self.normalization}
        return {
            "kind": self.kind,
            **self._settings,
            **rule,
            "dimensions": self.dimensions,
            "sha256": digest.hexdigest(),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all of it to one .npz file: arrays, with the settings and the vocabulary as JSON within, no pickle.

        Args:
            path: of the file; an existing one is replaced as a whole.

        Raises:
            ValueError: before `fit`, and for a function, which stays code.
        """
        if callable(self.kind):
            raise ValueError(f"features of a function cannot be saved: {self.config()['name']} stays code")
        stored = _STORED.marked({**self.config(), "vocabulary": self.vocabulary})
        with replaced(Path(path)) as file:
            np.savez(file, allow_pickle=False, json=json_array(stored), **self._arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Args:
            path: of the file.

        Returns:
            The features that were saved.

        Raises:
            ValueError: the file is missing, damaged or something else.
        """
        with _STORED.reading(path):
            arrays = load_npz(path)
            stored = _STORED.unmarked(loads(arrays.pop("json").tobytes()))
            stored.setdefault("normalization", WITH_PUNCTUATION)
            kind, dimensions, sha256 = stored.pop("kind"), stored.pop("dimensions"), stored.pop("sha256")
            vocabulary = stored.pop("vocabulary")
            features = cls(kind, **stored, **({"dimensions": dimensions} if kind == "doc2vec" else {}))
            if kind == "doc2vec":
                features.vocabulary, features._arrays = tuple(vocabulary), arrays
                features._dimensions = dimensions
            else:
                features._count(vocabulary, arrays.get("idf"))
            if features.config()["sha256"] != sha256:
                raise ValueError("its checksum is wrong")
            if kind == "doc2vec":
                from scbch_keras.training.features.doc2vec import Doc2Vec

                settings = stored["epochs"], stored["seed"]
                features._doc2vec = Doc2Vec.restored(vocabulary, arrays, dimensions, *settings)
        return features

    def _count(self, vocabulary: Sequence[str], idf: NDArray[np.float64] | None) -> None:
        weighting: Weighting = "presence"
        if idf is not None:
            weighting = "tfidf"
        elif self._settings.get("counts"):
            weighting = "counts"
        self._pipeline = TextPipeline(vocabulary, weighting, idf, self.normalization)
        self.vocabulary = self._pipeline.vocabulary
        self._dimensions = self._pipeline.dimensions
        self._arrays = {} if self._pipeline.idf is None else {"idf": self._pipeline.idf}

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
