"""What a user's data has of its rows whatever its files are: ids, labels, split, groups."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scbch_keras.training.data.own.groups import Groups
from scbch_keras.training.data.pairs import SourceFile


@dataclass(frozen=True, kw_only=True)
class LabelledRows:
    """n rows with their labels."""

    ids: NDArray[np.str_]
    """(n,), each once."""
    labels: NDArray[np.uint8]
    """0/1 (n, C), as the data gives them."""
    label_names: tuple[str, ...]
    clean_labels: NDArray[np.uint8] | None
    split: NDArray[np.str_] | None
    """(n,) of `SPLITS`, where the data has them."""
    source: SourceFile
    groups: Groups | None = None
    """Rows of one item: by `group` where the data has it, else by equal pictures (the same file, or the same bytes) or
    equal image features (those that are all 0 are like nothing)."""

    def __len__(self) -> int:
        return len(self.labels)
