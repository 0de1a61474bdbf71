"""Paired training data with a sample index, and the checks of what users pass in."""

import itertools
import random
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from scbch_keras.arrays import as_array, as_network, check_features
from scbch_keras.checks import flag, whole
from scbch_keras.labels.matrix import check_labels

# Rows read at once where a whole array is checked or encoded: bounds the memory for arrays on disk.
ROWS_AT_ONCE = 1024


class PairDataset(keras.utils.PyDataset):
    """Image-text pairs as batches of ({"image", "text", "index"}, labels[, sample_weight]) for `SCBCH.fit`.

    `index` tells each sample's row, by which the training step finds its confidence weight. The order of an
    epoch depends on `seed` and the epoch's number alone: it is the same on every backend and after a resume.

    Args:
        image: (N, ...), image features or pictures. Arrays are sliced, never copied or converted whole, so that a
            `numpy.memmap` trains from disk. Batches are float32, or bool or integers up to int32.
        text: (N, ...), text features.
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
        self.image, self.text = as_array("image", image), as_array("text", text)
        self.labels = as_array("labels", labels)
        self.sample_weight = None if sample_weight is None else as_array("sample_weight", sample_weight)
        check_pairs(self.image, self.text, self.labels, self.sample_weight, soft_labels=soft_labels)
        self.seed = random.randrange(2**32) if seed is None else seed  # noqa: S311
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Take the order of an epoch. `SCBCH.fit` calls it; outside of it, every pass has the same order.

        Args:
            epoch: int >= 0; with the seed it fixes the order.
        """
        rows = np.arange(self.num_samples)
        self._order = np.random.default_rng([self.seed, epoch]).permutation(rows) if self.shuffle else rows

    @property
    def num_samples(self) -> int:
        """N."""
        return len(self.labels)

    @property
    def num_batches(self) -> int:
        """Batches an epoch, the last one counted if it is smaller."""
        return -(-self.num_samples // self.batch_size)

    @property
    def batch_sizes(self) -> set[int]:
        """Sizes of the batches of an epoch."""
        whole, rest = divmod(self.num_samples, self.batch_size)
        return ({self.batch_size} if whole else set()) | ({rest} if rest else set())

    def __getitem__(self, batch: int) -> tuple[Any, ...]:
        rows = self._order[batch * self.batch_size : (batch + 1) * self.batch_size]
        x = {
            "image": as_network(self.image[rows]),
            "text": as_network(self.text[rows]),
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
            yield np.arange(rows.start, rows.stop), as_network(self.image[rows]), as_network(self.text[rows])


class FeatureBatches(keras.utils.PyDataset):
    """Features {"image" and/or "text": (n, ...)} as batches in order, for `predict`.

    Keras copies whole arrays before it predicts from them (on TensorFlow); these are sliced, so that a memmap
    is encoded from disk.
    """

    def __init__(self, features: dict[str, np.ndarray], batch_size: int) -> None:
        super().__init__()
        self.features = features
        self.batch_size = batch_size

    @property
    def num_batches(self) -> int:
        """Batches, the last one counted if it is smaller."""
        return -(-len(next(iter(self.features.values()))) // self.batch_size)

    def __getitem__(self, batch: int) -> tuple[Any, ...]:
        rows = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
        return ({name: as_network(values[rows]) for name, values in self.features.items()},)


_KERAS_TAKES = {
    ("keras", "PyDataset"),
    ("tensorflow", "DatasetV2"),
    ("torch", "DataLoader"),
    ("grain", "MapDataset"),
    ("grain", "IterDataset"),
    ("grain", "DataLoader"),
}
"""Loaders that Keras reads itself: package and name of the class or one of its bases."""


class _Reread(keras.utils.PyDataset):
    """A loader that can be read again, as what Keras takes: its batches in its own order, from 0 for each pass.

    Without a number of batches a pass has no end, and the loader is begun anew when it is through.
    """

    def __init__(self, loader: Any, num_batches: int | None) -> None:
        super().__init__()
        self.loader = loader
        self._batches = num_batches
        self._pass: Iterator[Any] = iter(())

    @property
    def num_batches(self) -> int | None:
        """Batches a pass, or None where it has no end."""
        return self._batches

    def __getitem__(self, batch: int) -> tuple[Any, ...]:
        if batch == 0:
            self._pass = iter(self.loader)
        for _ in range(2):
            for value in self._pass:
                return value
            if self._batches is not None:
                raise ValueError(
                    f"The loader yielded {batch} batches; before training there were {self._batches}."
                )
            self._pass = iter(self.loader)
        raise ValueError("The loader is empty: it yields no batch.")


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

    Raises:
        ValueError: a batch of another structure, no index, an index out of range or seen twice, a loader that never
            ends, and whatever `PairDataset` refuses.
    """

    def __init__(
        self, loader: Any, needs_index: bool = True, soft_labels: bool = False, steps: int | None = None
    ) -> None:
        self.loader = loader
        if steps is not None:
            whole("steps_per_epoch", steps, 1)
        steps = None if needs_index else steps
        _refuse_endless(loader, needs_index, steps)
        labels, index, seen = [], [], 0
        self.batch_sizes: set[int] = set()
        for x, y, weight in itertools.islice(self._batches(), steps):
            missing = {"image", "text"} - set(x)
            if missing:
                raise ValueError(
                    f"The loader's batches must be dicts with 'image' and 'text'; got {sorted(x)}."
                )
            if needs_index and "index" not in x:
                raise ValueError(
                    "The loader yields no 'index'. What the objective keeps of a sample belongs to its row: yield "
                    '({"image": ..., "text": ..., "index": rows}, labels), rows being the samples\' positions '
                    "0..N-1 in the training set; or pass arrays or a PairDataset; or, of SCBCH, turn the weights off "
                    "with SCBCH(confidence_weighting=False)."
                )
            image, text, y = as_array("image", x["image"]), as_array("text", x["text"]), as_array("labels", y)
            check_pairs(image, text, y, weight, seen, soft_labels)
            labels.append(y)
            if needs_index:
                index.append(as_array("index", x["index"]))
            self.shapes = {name: (None, *x[name].shape[1:]) for name in ("image", "text")}
            self.batch_sizes.add(len(y))
            seen += len(y)
        if not seen:
            raise ValueError("The loader is empty: it yields no batch.")
        self.num_samples = seen
        self._num_batches = len(labels) if steps is None else None
        self.labels = np.concatenate(labels)
        if needs_index:
            ordered = np.empty_like(self.labels)
            ordered[self._check_index(index)] = self.labels
            self.labels = ordered

    def _check_index(self, index: list[np.ndarray]) -> np.ndarray:
        for batch in index:
            if batch.ndim != 1 or not np.issubdtype(batch.dtype, np.integer):
                raise ValueError(
                    f"index must be integers of shape (n,); got {batch.dtype} of shape {batch.shape}."
                )
        rows = np.concatenate(index)
        outside = rows[(rows < 0) | (rows >= self.num_samples)]
        if outside.size:
            raise ValueError(
                f"index out of range: the loader yields {self.num_samples} samples, so their index must be in "
                f"0..{self.num_samples - 1}; got {outside[0]}. (Does the loader drop its last batch, or "
                "sample with replacement? Without confidence weights it may: confidence_weighting=False.)"
            )
        counts = np.bincount(rows, minlength=self.num_samples)
        if (counts > 1).any():
            raise ValueError(f"index must name each sample once a pass; {counts.argmax()} came twice.")
        return rows

    def _batches(self) -> Iterator[tuple[dict[str, Any], Any, Any]]:
        for batch in _each_batch(self.loader):
            if (
                not isinstance(batch, (tuple, list))
                or len(batch) not in (2, 3)
                or not isinstance(batch[0], dict)
            ):
                raise ValueError(
                    'The loader must yield ({"image": ..., "text": ..., "index": ...}, labels) or the same with '
                    f"sample weights; got {_describe(batch)}."
                )
            x, y, *weight = batch
            yield x, y, as_array("sample_weight", weight[0]) if weight else None

    def for_keras(self) -> Any:
        """The loader, in a form that Keras' `fit` takes."""
        kinds = {(kind.__module__.split(".")[0], kind.__name__) for kind in type(self.loader).__mro__}
        return self.loader if kinds & _KERAS_TAKES else _Reread(self.loader, self._num_batches)

    def set_epoch(self, epoch: int) -> None:
        """Nothing to do: the loader has its own order."""

    def in_order(self) -> Iterator[tuple[np.ndarray, Any, Any]]:
        """Blocks of (index, image, text) as the loader yields them, for one pass over the whole set."""
        for x, _, _ in self._batches():
            image, text = (as_network(as_array(name, x[name])) for name in ("image", "text"))
            yield as_array("index", x["index"]), image, text


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
        image: (n, ...), real numbers without NaN or inf.
        text: (n, ...), the same.
        labels: (n, C), 0/1.
        sample_weight: (n,), finite and >= 0, or None.
        first_row: number of the first row, for the messages.
        soft_labels: whether labels may be probabilities.

    Raises:
        ValueError: names the argument, what was expected and what came.
    """
    arrays = {"image": image, "text": text, "labels": labels, "sample_weight": sample_weight}
    lengths = {name: values.shape[:1] for name, values in arrays.items() if values is not None}
    for name, length in lengths.items():
        if not length:
            raise ValueError(f"{name} must have a row a sample; got a single number.")
    if len(set(lengths.values())) > 1:
        rows = ", ".join(f"{name} {length}" for name, (length,) in lengths.items())
        raise ValueError(f"image, text and labels must have the same number of rows; got {rows}.")
    if not len(labels):
        raise ValueError("The training set is empty: image, text and labels have no rows.")
    check_labels("labels", labels, soft=soft_labels)
    check_features("image", image, first_row)
    check_features("text", text, first_row)
    if sample_weight is not None:
        check_features("sample_weight", sample_weight, first_row, ndim=1, low=0)


def _each_batch(loader: Any) -> Iterator[Any]:
    if isinstance(loader, keras.utils.PyDataset):  # its items have no end of their own
        batches = loader.num_batches
        rows = itertools.count() if batches is None else range(batches)
        return (loader[batch] for batch in rows)
    return iter(loader)


def _refuse_endless(loader: Any, needs_index: bool, steps: int | None) -> None:
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
        remedy = "drop its .repeat()" if needs_index else "drop its .repeat(), or set steps_per_epoch"
        raise ValueError(f"The loader never ends: {remedy}. fit reads it anew in each epoch.")


def _describe(batch: Any) -> str:
    if isinstance(batch, (tuple, list)):
        return f"a {type(batch).__name__} of {[type(part).__name__ for part in batch]}"
    return type(batch).__name__
