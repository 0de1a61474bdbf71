"""Paired training data with a sample index, and the checks of what users pass in."""

import itertools
import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from scbch_keras.arrays import as_array, as_network, check_features
from scbch_keras.checks import flag, whole
from scbch_keras.features import (
    Features,
    Shape,
    arrays_of,
    as_features,
    check_inputs,
    check_rows,
    check_shape,
    counted,
    each,
    first_array,
    rows_of,
    shape_of,
)
from scbch_keras.labels.matrix import check_labels
from scbch_keras.loader_batches import LoaderBatches, check_same_samples, each_batch, read_batch

# Rows read at once where a whole array is checked or encoded: bounds the memory for arrays on disk.
ROWS_AT_ONCE = 1024
PATIENCE = 60.0
"""Seconds after which the log says that a loader is still being read before training."""

_log = logging.getLogger(__name__)


class PairDataset(keras.utils.PyDataset):
    """Image-text pairs as batches of ({"image", "text", "index"}, labels[, sample_weight]) for `SCBCH.fit`.

    `index` tells each sample's row, by which the training step finds its confidence weight. The order of an
    epoch depends on `seed` and the epoch's number alone: it is the same on every backend and after a resume.

    Args:
        image: (N, ...), image features or pictures. Arrays are sliced, never copied or converted whole, so that a
            `numpy.memmap` trains from disk. Batches are float32, or bool or integers up to int32. For a branch with
            several inputs, a dict of arrays by their names.
        text: (N, ...), text features; the same.
        labels: (N, C), 0/1, possibly wrong.
        batch_size: int >= 1; the last batch of an epoch may be smaller.
        shuffle: whether each epoch has an order of its own.
        seed: int, or None for one drawn from Python's generator, which `keras.utils.set_random_seed` sets.
        sample_weight: (N,), finite and >= 0, or None.
        soft_labels: whether labels may be probabilities, for `SCBCH(labels="posterior")`.
        **kwargs: `workers`, `use_multiprocessing`, `max_queue_size` of `keras.utils.PyDataset`.

    Raises:
        ValueError: arrays of different length or none at all, or that `scbch_keras.arrays` refuses (sparse, masked,
            not real numbers); NaN, inf or beyond float32 (with the first row); labels that are not 0/1 or not (N, C).
    """

    def __init__(
        self,
        image: Any,
        text: Any,
        labels: Any,
        batch_size: int = 128,
        shuffle: bool = True,
        seed: int | None = None,
        sample_weight: Any = None,
        soft_labels: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batch_size = whole("batch_size", batch_size, 1)
        self.shuffle = flag("shuffle", shuffle)
        seed = whole("seed", seed, 0, optional=True)
        self.image, self.text = as_features("image", image), as_features("text", text)
        self.labels = as_array("labels", labels)
        self.sample_weight = None if sample_weight is None else as_array("sample_weight", sample_weight)
        check_pairs(self.image, self.text, self.labels, self.sample_weight, soft_labels=soft_labels)
        self.seed = random.randrange(2**32) if seed is None else seed  # noqa: S311
        self.set_epoch(0)

    order: np.ndarray
    """(N,), int: the rows in the epoch's order."""
    shared: Any = None
    """Codes of these samples for who reads them next; see `HashNetwork.codes_of`."""

    def set_epoch(self, epoch: int) -> None:
        """Take the order of an epoch. `SCBCH.fit` calls it; outside of it, every pass has the same order.

        Args:
            epoch: int >= 0; with the seed it fixes the order.
        """
        rows = np.arange(self.num_samples)
        self.order = np.random.default_rng([self.seed, epoch]).permutation(rows) if self.shuffle else rows

    @property
    def num_samples(self) -> int:
        """N."""
        return len(self.labels)

    @property
    def num_batches(self) -> int:
        """Batches an epoch, the last one counted if it is smaller."""
        return -(-self.num_samples // self.batch_size)

    def __getitem__(self, batch: int) -> tuple[Any, ...]:
        rows = self.order[batch * self.batch_size : (batch + 1) * self.batch_size]
        x = {
            "image": rows_of(self.image, rows),
            "text": rows_of(self.text, rows),
            "index": rows.astype("int32"),
        }
        y = self.labels[rows].astype("float32")
        return (x, y) if self.sample_weight is None else (x, y, self.sample_weight[rows].astype("float32"))

    def in_order(self) -> Iterator[tuple[np.ndarray, Any, Any]]:
        """Read the whole set once, in the order of its rows.

        Yields:
            (index, image, text) of a block of rows: int (b,), features (b, ...) each.
        """
        for start in range(0, self.num_samples, ROWS_AT_ONCE):
            rows = slice(start, min(start + ROWS_AT_ONCE, self.num_samples))
            yield np.arange(rows.start, rows.stop), rows_of(self.image, rows), rows_of(self.text, rows)


class FeatureBatches(keras.utils.PyDataset):
    """Features {"image" and/or "text": (n, ...)}, or the chosen rows of them, as batches in order, for `predict`.

    Keras copies whole arrays before it predicts from them (on TensorFlow); these are sliced, so that a memmap
    is encoded from disk.
    """

    def __init__(
        self, features: dict[str, Features], batch_size: int, chosen: np.ndarray | None = None
    ) -> None:
        super().__init__()
        self.features = features
        self.batch_size = batch_size
        self.chosen = chosen

    @property
    def num_batches(self) -> int:
        """Batches, the last one counted if it is smaller."""
        rows = first_array(next(iter(self.features.values()))) if self.chosen is None else self.chosen
        return -(-len(rows) // self.batch_size)

    def __getitem__(self, batch: int) -> tuple[Any, ...]:
        rows: Any = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
        if self.chosen is not None:
            rows = self.chosen[rows]
        return ({name: rows_of(values, rows) for name, values in self.features.items()},)


_NO_INDEX = (
    "The loader yields no 'index'. What the objective keeps of a sample belongs to its row: yield "
    '({"image": ..., "text": ..., "index": rows}, labels), rows being the samples\' positions '
    "0..N-1 in the training set; or pass arrays or a PairDataset; or, of SCBCH, turn the weights off "
    "with SCBCH(confidence_weighting=False)."
)


class LoaderPairs:
    """What a data loader yields in one pass, checked: the training set behind a tf.data, grain or torch loader.

    The loader is read once here, before training, for its labels and its index.

    Args:
        loader: an iterable of ({"image", "text", "index"}, labels[, sample_weight]). `index` (n,) is the sample's
            row in the training set: 0 to N - 1, each once a pass, in any order.
        needs_index: whether samples must be told apart: the loader is finite, with "index". If not, "index" is not
            looked at, and a pass may leave samples out or repeat them.
        soft_labels: whether labels may be probabilities.
        steps: int >= 1, batches an epoch, or None for all. Without `needs_index` no more are read here.
        check: raises ValueError for features by modality that the model does not take; has the first row's number.
        name: of the argument, for messages.
        steps_name: of the argument `steps`.

    Raises:
        ValueError: a batch of another structure, no index, an index out of range or seen twice, a loader that never
            ends, and whatever `PairDataset` refuses.
    """

    def __init__(
        self,
        loader: Any,
        needs_index: bool = True,
        soft_labels: bool = False,
        steps: int | None = None,
        check: Callable[[dict[str, Any], int], None] | None = None,
        name: str = "the loader",
        steps_name: str = "steps_per_epoch",
    ) -> None:
        self.loader = loader
        if steps is not None:
            whole(steps_name, steps, 1)
        steps = None if needs_index else steps
        _refuse_endless(loader, steps, f"drop its .repeat(){'' if needs_index else f', or set {steps_name}'}")
        self.name = name
        labels, index, seen, looked_at = [], [], 0, 0
        late: float | None = time.monotonic() + PATIENCE
        self.shapes: dict[str, Shape] = {}
        for number, batch in enumerate(itertools.islice(each_batch(loader), steps)):
            try:
                x, y, weight = read_batch(batch)
                if needs_index and "index" not in x:
                    raise ValueError(_NO_INDEX)
                check_pairs(x["image"], x["text"], y, weight, seen, soft_labels)
                if check is not None:
                    check(x, seen)
                shapes = {modality: shape_of(x[modality]) for modality in ("image", "text")}
                if seen and needs_index:
                    for modality, shape in self.shapes.items():
                        check_shape(modality, shapes[modality], shape, sizes=False)
            except ValueError as error:
                rows = f" (rows from {seen} on)" if seen else ""
                raise ValueError(f"{name}, batch {number}{rows}: {error}") from error
            labels.append(y)
            if needs_index:
                index.append(x["index"])
            self.shapes = shapes
            seen += len(y)
            if needs_index and seen >= 2 * looked_at + ROWS_AT_ONCE:
                looked_at = len(_rows_once(index))  # one without an end repeats itself
            if late is not None and time.monotonic() > late:
                late = None
                _log.warning(
                    "%s has yielded %d batches and goes on; fit reads a whole pass before the first step. If it has no "
                    "end: %s",
                    name,
                    number + 1,
                    "fit needs one that has" if needs_index else f"set {steps_name}",
                )
        if not seen:
            raise ValueError(f"{name} is empty: it yields no batch.")
        self.num_samples = seen
        self._num_batches = len(labels) if steps is None else None
        self.labels = np.concatenate(labels)
        if needs_index:
            ordered = np.empty_like(self.labels)
            ordered[self._check_index(_rows_once(index))] = self.labels
            self.labels = ordered
        self._known = np.asarray(self.labels, np.float32) if needs_index else None

    def _check_index(self, rows: np.ndarray) -> np.ndarray:
        outside = rows[(rows < 0) | (rows >= self.num_samples)]
        if outside.size:
            raise ValueError(
                f"index out of range: the loader yields {self.num_samples} samples, so their index must be in "
                f"0..{self.num_samples - 1}; got {outside[0]}. (Does the loader drop its last batch? Without "
                "confidence weights it may: confidence_weighting=False.)"
            )
        return rows

    def for_keras(self) -> LoaderBatches:
        """The loader, in a form that Keras' `fit` takes."""
        return LoaderBatches(self.loader, self._num_batches, self.name, self._known)

    shared: Any = None

    def set_epoch(self, epoch: int) -> None:
        """Nothing to do: the loader has its own order."""

    def in_order(self) -> Iterator[tuple[np.ndarray, Any, Any]]:
        """Blocks of (index, image, text) as the loader yields them, for one pass over the whole set."""
        missing = np.ones(self.num_samples, bool)
        for x, y, _ in map(read_batch, each_batch(self.loader)):
            if self._known is not None:
                check_same_samples(x, np.asarray(y, np.float32), self._known)
            missing[x["index"]] = False
            yield x["index"], each(as_network, x["image"]), each(as_network, x["text"])
        if missing.any():
            raise ValueError(
                f"{self.name} must yield each sample in each pass; {missing.sum()} are left out, the first of them "
                f"with index {missing.argmax()}."
            )


def _rows_once(index: list[np.ndarray]) -> np.ndarray:
    """The rows of batches, each there once. Raises ValueError."""
    for batch in index:
        if batch.ndim != 1 or not np.issubdtype(batch.dtype, np.integer):
            raise ValueError(
                f"index must be integers of shape (n,); got {batch.dtype} of shape {batch.shape}."
            )
    rows = np.concatenate([batch.astype(np.int64) for batch in index])
    values, counts = np.unique(rows, return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"index must name each sample once a pass; {values[counts.argmax()]} came twice. (Does the loader sample "
            "with replacement, or never end? Without confidence weights it may: confidence_weighting=False.)"
        )
    return rows


def for_keras(pairs: Any) -> Any:
    """What Keras' `fit` takes of a `PairDataset`, a `LoaderPairs` or None."""
    return pairs.for_keras() if isinstance(pairs, LoaderPairs) else pairs


def check_pairs(
    image: Any,
    text: Any,
    labels: Any,
    sample_weight: Any = None,
    first_row: int = 0,
    soft_labels: bool = False,
) -> None:
    """Refuse pairs that cannot be trained on.

    Args:
        image: (n, ...), real numbers without NaN or inf, or a dict of such arrays.
        text: (n, ...), the same.
        labels: (n, C), 0/1.
        sample_weight: (n,), finite and >= 0, or None.
        first_row: number of the first row, for the messages.
        soft_labels: whether labels may be probabilities.

    Raises:
        ValueError: names the argument, what was expected and what came.
    """
    arrays = {"image": image, "text": text, "labels": labels, "sample_weight": sample_weight}
    lengths = {
        shown: values.shape[:1]
        for name, features in arrays.items()
        if features is not None
        for shown, values in arrays_of(name, features)
    }
    check_rows(lengths)
    if len(set(lengths.values())) > 1:
        raise ValueError(f"image, text and labels must have the same number of rows; got {counted(lengths)}.")
    if not len(labels):
        raise ValueError("image, text and labels must have at least one row; got none, an empty set.")
    check_labels("labels", labels, soft=soft_labels)
    check_inputs("image", image, first_row)
    check_inputs("text", text, first_row)
    if sample_weight is not None:
        check_features("sample_weight", sample_weight, first_row, ndim=1, low=0)


def _refuse_endless(loader: Any, steps: int | None, remedy: str) -> None:
    if not isinstance(loader, keras.utils.PyDataset) and iter(loader) is loader:
        raise ValueError(
            "The loader is a generator, which can be read only once; fit reads it in each epoch. Wrap it so that each "
            "pass makes a new one: a torch IterableDataset, or tf.data.Dataset.from_generator."
        )
    cardinality = getattr(loader, "cardinality", None)  # tf.data's: -1 is infinite
    endless = callable(cardinality) and int(cardinality()) == -1
    if isinstance(loader, keras.utils.PyDataset):
        endless = loader.num_batches is None
    if endless and steps is None:
        raise ValueError(f"The loader never ends: {remedy}. fit reads it anew in each epoch.")
