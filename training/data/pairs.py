"""What every source of data gives: image-text pairs, split into training set, queries and database."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pairs:
    """Image-text pairs, a row each.

    Features are real numbers (n, ...): arrays, or memory-mapped files, of which only the rows that are asked for
    are read. `labels` are 0/1 (n, C) as the source gives them; `clean_labels` the true ones where they are known.
    """

    image: NDArray[Any]
    text: NDArray[Any]
    labels: NDArray[np.uint8]
    ids: NDArray[np.str_]
    """(n,), each once: what the source calls its rows."""
    clean_labels: NDArray[np.uint8] | None = None
    pictures: tuple[Path, ...] | None = None
    """A picture a row, where the source has them."""
    texts: tuple[str, ...] | None = None
    """The text of each row as it was written, where the source has it."""
    groups: NDArray[np.int64] | None = None
    """(n,): rows with the same one show one item and share its labels. None: each row is an item."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def inputs(self) -> dict[str, NDArray[Any]]:
        """The features as `SCBCH.fit` takes them."""
        return {"image": self.image, "text": self.text}


@dataclass(frozen=True)
class SourceFile:
    """A file that was read, and what was found in it: it is stored with every result."""

    name: str
    sha256: str
    bytes: int
    arrays: dict[str, str]
    """Shape and dtype by key, for instance {"XAll": "(20015, 4096) float32"}."""


@dataclass(frozen=True)
class RetrievalData:
    """A data set ready for training and evaluation.

    `database` may contain the training rows, as the paper's benchmarks do. Queries and database carry clean labels.
    """

    name: str
    title: str
    train: Pairs
    query: Pairs
    database: Pairs
    label_names: tuple[str, ...]
    sources: tuple[SourceFile, ...]
    stand_in: bool = False
    """Whether features were made up: results on them are never shown as the benchmark's."""
    notes: dict[str, str] = field(default_factory=dict)
