"""A training set that lies in the accelerator's memory, where it fits: no batch is copied there again and again."""

import logging
from typing import Any

import keras
import numpy as np
from keras import ops

from scbch_keras import backend
from scbch_keras.arrays import as_network
from scbch_keras.data import PairDataset
from scbch_keras.features import arrays_of, each

SHARE = 8
"""One part in so many of the free memory is what a training set may take: the network needs the rest."""

_log = logging.getLogger(__name__)


def on_device(data: Any) -> Any:
    """The same batches from the accelerator's memory, if `data` is a `PairDataset` and fits there; else `data`."""
    if type(data) is not PairDataset or data.workers > 1 or data.use_multiprocessing:
        return data
    room = backend.free_memory() // SHARE
    arrays = [values for name in ("image", "text") for _, values in arrays_of(name, getattr(data, name))]
    # As float32, which no type that a network takes exceeds.
    needed = 4 * (sum(values.size for values in arrays) + data.labels.size)
    if needed > room:
        return data
    _log.info("The training set is kept on the accelerator: %.0f MiB", needed / 2**20)
    return PairsOnDevice(data)


class PairsOnDevice(keras.utils.PyDataset):
    """The batches of a `PairDataset`, of which the accelerator has the arrays.

    Args:
        pairs: has the order of an epoch.
    """

    def __init__(self, pairs: PairDataset) -> None:
        super().__init__()
        self.pairs = pairs
        self.x = {
            name: each(lambda values: ops.convert_to_tensor(as_network(values)), getattr(pairs, name))
            for name in ("image", "text")
        }
        self.labels = ops.convert_to_tensor(pairs.labels.astype("float32"))
        weight = pairs.sample_weight
        self.sample_weight = None if weight is None else ops.convert_to_tensor(weight.astype("float32"))
        self._epoch: tuple[Any, list[Any]] = (None, [])

    @property
    def num_batches(self) -> int:
        """Those of the pairs."""
        return self.pairs.num_batches

    def __getitem__(self, batch: int) -> tuple[Any, ...]:
        rows = self._rows()[batch]

        def chosen(values: Any) -> Any:
            return ops.take(values, rows, axis=0)

        x = {**{name: each(chosen, features) for name, features in self.x.items()}, "index": rows}
        y = chosen(self.labels)
        return (x, y) if self.sample_weight is None else (x, y, chosen(self.sample_weight))

    def _rows(self) -> list[Any]:
        """The rows of the epoch's batches on the accelerator; copied at its begin, since each copy waits for it."""
        order, size = self.pairs.order, self.pairs.batch_size
        if self._epoch[0] is not order:
            parts = (order[start : start + size].astype(np.int32) for start in range(0, len(order), size))
            self._epoch = order, [ops.convert_to_tensor(rows) for rows in parts]
        return self._epoch[1]
