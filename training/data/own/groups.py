"""Rows that show one item, such as the captions of a picture: kept on one side of a split."""

from collections.abc import Hashable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Groups(NamedTuple):
    """Items of rows. At least two rows share one."""

    numbers: NDArray[np.int64]
    """(n,): rows with the same number show one item; numbered by their first rows."""
    origin: str
    """What made them so, as notes say it."""

    @property
    def items(self) -> int:
        """How many items there are."""
        return int(self.numbers.max()) + 1


def group_rows(keys: Iterable[Hashable], origin: str) -> Groups | None:
    """Rows with equal keys are a group; None is like nothing. Returns None if all rows are different."""
    known: dict[Hashable, int] = {}
    numbers = [
        known.setdefault(("row", row) if key is None else ("key", key), len(known))
        for row, key in enumerate(keys)
    ]
    return Groups(np.array(numbers, np.int64), origin) if len(known) < len(numbers) else None


def draw_rows(groups: Groups | None, rows: int, count: int, seed: int) -> NDArray[np.int64]:
    """Rows drawn with `default_rng(seed)`, ascending: `count` of them, or nearly, as whole groups only.

    Never more than `count`, unless the smallest group is larger: then that one. Never all rows.
    """
    order = np.random.default_rng(seed).permutation(rows)
    if groups is None:
        return np.sort(order[:count])
    sizes = np.bincount(groups.numbers)
    drawn, total = [], 0
    items = dict.fromkeys(groups.numbers[order].tolist())
    for item in items:
        if total + sizes[item] <= count:
            drawn.append(item)
            total += sizes[item]
    if not drawn:
        drawn = [min(items, key=lambda item: sizes[item])]
    return np.flatnonzero(np.isin(groups.numbers, drawn))


def shared_items(groups: Groups | None, part: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """How many items have rows in both parts."""
    return 0 if groups is None else len(np.intersect1d(groups.numbers[part], groups.numbers[other]))


def agreeing(numbers: NDArray[np.int64] | None, labels: NDArray[np.integer]) -> NDArray[np.int64] | None:
    """The items of rows (n,), or None where rows of an item have different labels (n, C)."""
    if numbers is None:
        return None
    _, first, item = np.unique(numbers, return_index=True, return_inverse=True)
    return numbers if (labels == labels[first][item]).all() else None


def agree(groups: Groups, labels: NDArray[np.uint8]) -> bool:
    """Whether the rows of each group have the same labels."""
    return agreeing(groups.numbers, labels) is not None
