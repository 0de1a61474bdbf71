"""Ids that are positions, which need no memory."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Positions:
    """Stands for `numpy.arange(size)`, int64, where it is only read."""

    dtype = np.dtype(np.int64)

    def __init__(self, size: int):
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, places: Any) -> NDArray[np.int64]:
        """The ids in a slice, or at these places."""
        if isinstance(places, slice):
            return np.arange(*places.indices(self._size))
        return np.asarray(places, np.int64)

    def rows(self, wanted: NDArray[Any]) -> NDArray[np.int64]:
        """The place of each id, -1 where there is none."""
        if wanted.dtype != self.dtype:
            return np.full(len(wanted), -1)
        return np.where((wanted >= 0) & (wanted < self._size), wanted, -1)
