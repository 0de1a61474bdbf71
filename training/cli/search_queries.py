"""Queries as a person types them: which are pictures, which words the model knows. No keras, no tensorflow."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.checks import shown
from scbch_keras.export import HashEncoder
from scbch_keras.export.serving.codes_file import Block
from scbch_keras.training.data.own.folders import is_named_as_picture

_SHOWN = 5


def modalities_of(queries: Sequence[str], modality: str | None) -> tuple[list[str], list[str]]:
    """Queries (n) -> "image" or "text" for each, and notes on those that could be meant in two ways.

    modality: of all of them; None: image for paths of picture files, text for the rest.
    Raises ValueError for what is named like a picture and is no file, which is probably misspelt.
    """
    if modality is not None:
        return [modality] * len(queries), []
    modalities, notes = [], []
    for query in queries:
        is_file, exists = _looked_up(query)
        is_named = is_named_as_picture(Path(query))
        if is_named and not exists and len(query.split()) == 1:
            raise ValueError(
                f"query {shown(query)} is named like a picture, and there is no such file; --modality text "
                "searches for its words"
            )
        modalities.append("image" if is_file and is_named else "text")
        if is_file and is_named:
            notes.append(f"{query} is searched for as a picture; --modality text searches for its words")
        elif exists:
            what = "a file, but named like no picture" if is_file else "a folder"
            notes.append(
                f"{query} is also {what}: searched for as text; --modality image takes it as a picture"
            )
    return modalities, notes


def _looked_up(query: str) -> tuple[bool, bool]:
    """Whether the query is a file's path, and whether there is anything of that path."""
    try:
        path = Path(query)
        return path.is_file(), bool(query.strip()) and path.exists()
    except (OSError, ValueError):  # too long, or no path at all
        return False, False


def unknown_words(
    encoder: HashEncoder, queries: Sequence[str], modalities: Sequence[str], force: bool
) -> list[str]:
    """Warnings of unknown words among the texts of the queries.

    Raises ValueError where no word of a text is known, unless `force` says that such are wanted.
    """
    texts = [query for query, modality in zip(queries, modalities, strict=True) if modality == "text"]
    if not texts:
        return []
    unknown = encoder.unknown_words(texts)
    lost = [text for text, known in zip(texts, encoder.known_words(texts), strict=True) if not known]
    if lost and not force:
        raise ValueError(
            f"query: the model knows no word of {_listed(lost)}, so that nothing found would be near it; "
            "--force searches all the same"
        )
    named = list(dict.fromkeys(word for words in unknown for word in words))
    return [f"Warning: the model does not know, and leaves out: {_listed(named)}"] if named else []


def encode_queries(
    encoder: HashEncoder, queries: Sequence[str], modalities: Sequence[str]
) -> NDArray[np.uint8]:
    """Queries (n) of these modalities -> packed codes, uint8 (n, ceil(bits / 8))."""
    packed = np.zeros((len(queries), -(-encoder.bits // 8)), np.uint8)
    kinds = np.array(modalities)
    for modality in sorted(set(modalities)):
        rows = np.flatnonzero(kinds == modality)
        packed[rows] = getattr(encoder, modality)([queries[row] for row in rows.tolist()])
    return packed


class KnownWords:
    """Counts, while blocks of inputs pass, the texts of which the model knows no word."""

    def __init__(self, encoder: HashEncoder):
        self._encoder = encoder
        self._texts = self._lost = 0
        self._first: list[str] = []

    def counted(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """The same blocks."""
        for inputs, ids in blocks:
            if self._encoder.takes_strings and _are_texts(inputs):
                self._count([str(text) for text in inputs])
            yield inputs, ids

    def _count(self, texts: list[str]) -> None:
        lost = np.flatnonzero(self._encoder.known_words(texts) == 0)
        self._first += [str(self._texts + row) for row in lost[: _SHOWN - len(self._first)]]
        self._texts += len(texts)
        self._lost += len(lost)

    def warning(self) -> str | None:
        """The warning for the texts without a known word, once all blocks have passed; None if there were none."""
        if not self._lost:
            return None
        more = ", ..." if self._lost > len(self._first) else ""
        return (
            f"the model knows no word of {self._lost:,} of {self._texts:,} texts, whose codes say nothing of them; "
            f"rows from 0: {', '.join(self._first)}{more}"
        )


def _are_texts(inputs: Any) -> bool:
    return len(inputs) > 0 and isinstance(inputs[0], str)


def _listed(words: Sequence[str]) -> str:
    more = f" and {len(words) - _SHOWN:,} more" if len(words) > _SHOWN else ""
    return ", ".join(shown(word) for word in words[:_SHOWN]) + more
