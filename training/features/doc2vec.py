"""gensim's Doc2Vec that gives the same vectors in every process, and is stored as plain arrays. Needs gensim."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

try:
    from gensim.models import doc2vec as gensim
except ImportError as error:
    raise ImportError("Doc2Vec features need gensim: pip install gensim") from error


class Doc2Vec:
    """A trained PV-DM model. Words and texts come already split and known to it."""

    def __init__(self, dimensions: int, epochs: int, seed: int) -> None:
        self._seed = seed
        # sample=0: texts are short, no word of them is left to chance. One worker: threads change the result.
        self._model = gensim.Doc2Vec(
            vector_size=dimensions, epochs=epochs, seed=seed, sample=0, min_count=1, sorted_vocab=0, workers=1
        )

    @classmethod
    def trained(
        cls,
        texts: Sequence[list[str]],
        words: Sequence[str],
        counts: Sequence[int],
        dimensions: int,
        epochs: int,
        seed: int,
    ) -> Self:
        """Train on texts; words: all those in them, each once, with their counts."""
        self = cls(dimensions, epochs, seed)
        documents = [gensim.TaggedDocument(text, [row]) for row, text in enumerate(texts)]
        self._model.build_vocab(documents)
        # that was for the rows of the texts; this puts the words into the order of `words`
        self._know(words, counts)
        self._model.train(documents, total_examples=len(documents), epochs=epochs)
        return self

    @classmethod
    def restored(
        cls, words: Sequence[str], arrays: dict[str, NDArray[Any]], dimensions: int, epochs: int, seed: int
    ) -> Self:
        """The model whose `arrays` these are."""
        self = cls(dimensions, epochs, seed)
        self._know(words, arrays["counts"].tolist())
        self._model.wv.vectors = arrays["word_vectors"]
        self._model.syn1neg = arrays["output_vectors"]
        return self

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that inference needs: counts (words), word_vectors and output_vectors (words, dimensions)."""
        words = self._model.wv
        counts = np.array([words.get_vecattr(word, "count") for word in words.index_to_key], np.int64)
        return {"counts": counts, "word_vectors": words.vectors, "output_vectors": self._model.syn1neg}

    def infer(self, words: list[str]) -> NDArray[np.float32]:
        """The vector (dimensions,) of a text; zeros if it has no words.

        As gensim's `infer_vector`, which starts from Python's `hash` of the text, another one in every process,
        and goes on with the random numbers of the calls before it: here each text starts anew from the seed.
        """
        model = self._model
        size = model.vector_size
        if not words:
            return np.zeros(size, np.float32)
        model.random.seed(self._seed)
        vector = ((np.random.default_rng(self._seed).random((1, size)) - 0.5) / size).astype(np.float32)
        lock, work, hidden = np.ones(1, np.float32), np.zeros(size, np.float32), np.zeros(size, np.float32)
        for rate in np.linspace(model.alpha, model.min_alpha, model.epochs):
            gensim.train_document_dm(
                model,
                words,
                [0],
                rate,
                work,
                hidden,
                learn_words=False,
                learn_hidden=False,
                doctag_vectors=vector,
                doctags_lockf=lock,
            )
        return vector[0]

    def _know(self, words: Sequence[str], counts: Sequence[int]) -> None:
        self._model.build_vocab_from_freq(dict(zip(words, counts, strict=True)))
