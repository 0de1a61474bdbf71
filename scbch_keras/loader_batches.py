"""The batches of a loader as a network takes them: one gate for tf.data, torch, grain, Keras' and one's own."""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from scbch_keras.arrays import as_array, as_network, check_features
from scbch_keras.features import arrays_of, as_features, each
from scbch_keras.loader_order import PassDigest

_END = object()
Batch = tuple[dict[str, Any], Any, Any]
"""Features by "image" and "text", and "index" where it comes; labels; sample weights or None."""


def each_batch(loader: Any) -> Iterator[Any]:
    """What a loader yields in one pass."""
    if isinstance(loader, keras.utils.PyDataset):  # its items have no end of their own
        batches = loader.num_batches
        rows = itertools.count() if batches is None else range(batches)
        return (loader[batch] for batch in rows)
    return iter(loader)


def read_batch(batch: Any) -> Batch:
    """A batch as arrays, as far as they are told from their form: `scbch_keras.arrays.as_array` of each.

    Raises:
        ValueError: another structure, or something that is no array of real numbers.
    """
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3) or not isinstance(batch[0], Mapping):
        raise ValueError(
            'expected ({"image": ..., "text": ..., "index": ...}, labels) or the same with sample weights; '
            f"got {_describe(batch)}."
        )
    x, y, *weight = batch
    if {"image", "text"} - set(x):
        raise ValueError(f"expected a dict with 'image' and 'text'; got {sorted(x)}.")
    arrays: dict[str, Any] = {name: as_features(name, x[name]) for name in ("image", "text")}
    if "index" in x:
        arrays["index"] = as_array("index", x["index"])
    weights = weight[0] if weight else None
    return (
        arrays,
        as_array("labels", y),
        None if weights is None else as_array("sample_weight", weights),
    )


class LoaderBatches(keras.utils.PyDataset):
    """A loader that was checked, as what Keras trains on: each batch goes through the gate again.

    NaN, inf and floats beyond float32 pass here: a sample that turns bad while training costs its batch's update,
    which is counted, and not the training. Without a number of batches a pass has no end, and the loader is begun
    anew when it is through.

    Args:
        loader: can be read again; one of Keras' keeps its workers.
        num_batches: a pass, or None where it has no end.
        name: of the argument, for messages.
        labels: (N, C), float32, those of each index, where samples are told by it; else None.
    """

    def __init__(
        self,
        loader: Any,
        num_batches: int | None,
        name: str = "the loader",
        labels: NDArray[np.float32] | None = None,
    ) -> None:
        of_keras = isinstance(loader, keras.utils.PyDataset)
        settings = ("workers", "use_multiprocessing", "max_queue_size") if of_keras else ()
        super().__init__(**{setting: getattr(loader, setting) for setting in settings})
        self.loader, self.name, self._labels = loader, name, labels
        self._of_keras, self._batches = of_keras, num_batches
        self._pass: Iterator[Any] = iter(())
        self.passed: PassDigest | None = None
        """Counts in what was yielded, where a backup asks for it."""
        self.error: Exception | None = None

    @property
    def num_batches(self) -> int | None:
        """Batches a pass, or None where it has no end."""
        return self._batches

    def on_epoch_begin(self) -> None:
        """Hand it on to a dataset of Keras'."""
        if self._of_keras:
            self.loader.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """Hand it on to a dataset of Keras'."""
        if self._of_keras:
            self.loader.on_epoch_end()

    def __getitem__(self, batch: int) -> tuple[Any, ...]:
        try:
            raw = self._raw(batch)
        except Exception as error:
            self.error = error
            raise
        try:
            arrays = _for_network(*read_batch(raw))
            if self._labels is not None:
                check_same_samples(arrays[0], arrays[1], self._labels)
        except ValueError as error:
            self.error = ValueError(f"{self.name}, batch {batch}: {error}")
            raise self.error from error
        if self.passed is not None:
            self.passed.add(batch, arrays)
        return arrays

    def _raw(self, batch: int) -> Any:
        if self._of_keras:
            return self.loader[batch]
        if batch == 0:
            self._pass = iter(self.loader)
        for _ in range(2):
            for value in self._pass:
                if batch + 1 == self._batches and next(self._pass, _END) is not _END:
                    self._refuse_length("more")
                return value
            if self._batches is not None:
                self._refuse_length(str(batch))
            self._pass = iter(self.loader)
        raise ValueError(f"{self.name} is empty: it yields no batch.")

    def _refuse_length(self, batches: str) -> None:
        raise ValueError(
            f"{self.name} must yield the same number of batches in each pass; before training there were "
            f"{self._batches}, and now {batches}. Where training needs no index, steps_per_epoch sets how many make an "
            "epoch, whatever a pass has."
        )


def check_same_samples(x: Mapping[str, Any], y: NDArray[Any], labels: NDArray[np.float32]) -> None:
    """Refuse a batch whose index does not name the samples that it named in the pass before training.

    Args:
        x: the batch, with "index".
        y: its labels; what is not finite in them tells nothing.
        labels: (N, C), those of each index.

    Raises:
        ValueError: an index out of range, or with other labels.
    """
    rows = x["index"]
    outside = rows[(rows < 0) | (rows >= len(labels))]
    if outside.size:
        raise ValueError(f"index must be in 0..{len(labels) - 1}, as before training; got {outside[0]}.")
    differs = ((labels[rows] != y) & np.isfinite(y)).any(axis=1)
    if differs.any():
        raise ValueError(
            "index must name the same sample in each pass, its row in the training set; "
            f"{rows[differs.argmax()]} has other labels than before training. (Does it count the order of the pass?)"
        )


@contextmanager
def own_errors(*data: Any) -> Iterator[None]:
    """Raise an error of these loaders as it was: TensorFlow hands on one of its own, with a traceback as text."""
    try:
        yield
    except Exception as raised:
        for loader in data:
            error = loader.error if isinstance(loader, LoaderBatches) else None
            if error is not None and error is not raised:
                raise error from None
        raise


def _for_network(x: dict[str, Any], y: Any, sample_weight: Any) -> tuple[Any, ...]:
    for name in ("image", "text"):
        for shown, values in arrays_of(name, x[name]):
            if values.dtype.kind in "iu":  # a float that does not fit becomes inf, an integer another number
                check_features(shown, values)
    x = {name: each(as_network, values) for name, values in x.items()}
    y = np.asarray(y, np.float32)
    return (x, y) if sample_weight is None else (x, y, np.asarray(sample_weight, np.float32))


def _describe(batch: Any) -> str:
    if isinstance(batch, (tuple, list)):
        return f"a {type(batch).__name__} of {[type(part).__name__ for part in batch]}"
    return type(batch).__name__
