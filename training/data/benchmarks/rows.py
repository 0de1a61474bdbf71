"""Rows of a benchmark's arrays, and the words that notes and messages share."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scbch_keras.training.data.pairs import Pairs


@dataclass(frozen=True)
class Rows:
    """Pairs with clean labels, and their row numbers."""

    image: NDArray[np.float32]
    text: NDArray[np.float32]
    labels: NDArray[np.uint8]
    numbers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> "Rows":
        return Rows(self.image[rows], self.text[rows], self.labels[rows], self.numbers[rows])

    def pairs(self, labels: NDArray[np.uint8] | None = None) -> Pairs:
        given = self.labels if labels is None else labels
        return Pairs(self.image, self.text, given, self.numbers.astype(str), clean_labels=self.labels)


def generated(noise: float, seed: int) -> str:
    """What notes say of noise that was drawn."""
    return f"generated: mixed symmetric at rate {float(noise)} from seed {seed}"


def numbered_labels(classes: int) -> tuple[str, ...]:
    """Names of labels that have none of their own."""
    return tuple(f"label {number}" for number in range(classes))


def listing(folder: Path) -> str:
    """What is in a folder, for messages."""
    if not folder.is_dir():
        return "nothing, there is no such folder"
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "") or "nothing"
