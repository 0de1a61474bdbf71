"""Paired training data with a sample index, and the checks of what comes in."""

import random
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from scbch_keras.labels import check_labels
from scbch_keras.layers import check_positive_int

# Rows read at once where a whole array is checked or encoded: bounds the memory for arrays on disk.
ROWS_AT_ONCE = 1024


class PairDataset(keras.utils.PyDataset):
    """Image-text pairs as batches of ({"image", "text", "index"}, labels[, sample_weight]) for `SCBCH.fit`.

    `index` tells each sample's row, by which the training step finds its confidence weight. The order of an
    epoch depends on `seed` and the epoch's number alone: it is the same on every backend and after a resume.

    Args:
        image: (N, ...), image features or pictures. Arrays are sliced, never copied whole, so that a
            `numpy.memmap` trains from disk.
        text: (N, ...), text features.
        labels: (N, C), 0/1, possibly wrong.
        batch_size: int >= 1; the last batch of an epoch may be smaller.
        shuffle: whether each epoch has an order of its own.
        seed: int, or None for one drawn from Python's generator, which `keras.utils.set_random_seed` sets.
        sample_weight: (N,), finite and >= 0, or None.
        soft_labels: whether labels may be probabilities, for `SCBCH(labels="posterior")`.
        **kwargs: `workers`, `use_multiprocessing`, `max_queue_size` of `keras.utils.PyDataset`.

    Raises:
        ValueError: arrays of different length or none at all, NaN or inf (with the first row), labels that are
            not 0/1 or not (N, C).
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
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive_int("batch_size", batch_size)
        self.image, self.text, self.labels = as_array(image), as_array(text), as_array(labels)
        self.sample_weight = None if sample_weight is None else as_array(sample_weight)
        check_pairs(self.image, self.text, self.labels, self.sample_weight, soft_labels=soft_labels)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = random.randrange(2**32) if seed is None else seed  # noqa: S311
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Take the order of this epoch. `SCBCH.fit` calls it; outside of it, every pass has the same order."""
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

    def __getitem__(self, batch: int):
        rows = self._order[batch * self.batch_size : (batch + 1) * self.batch_size]
        x = {"image": self.image[rows], "text": self.text[rows], "index": rows.astype("int32")}
        y = self.labels[rows].astype("float32")
        return (x, y) if self.sample_weight is None else (x, y, self.sample_weight[rows].astype("float32"))

    def in_order(self) -> Iterator[tuple[np.ndarray, Any, Any]]:
        """Blocks of (index, image, text) by row, for one pass over the whole set."""
        for start in range(0, self.num_samples, ROWS_AT_ONCE):
            rows = slice(start, min(start + ROWS_AT_ONCE, self.num_samples))
            yield np.arange(rows.start, rows.stop), self.image[rows], self.text[rows]


class FeatureBatches(keras.utils.PyDataset):
    """Features {"image" and/or "text": (n, ...)} as batches in order, for `predict`.

    Keras copies whole arrays before it predicts from them (on TensorFlow); these are sliced, so that a memmap
    is encoded from disk.
    """

    def __init__(self, features: dict[str, np.ndarray], batch_size: int):
        super().__init__()
        self.features = features
        self.batch_size = batch_size

    @property
    def num_batches(self) -> int:
        """Batches, the last one counted if it is smaller."""
        return -(-len(next(iter(self.features.values()))) // self.batch_size)

    def __getitem__(self, batch: int):
        rows = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
        return ({name: np.asarray(values[rows]) for name, values in self.features.items()},)


class LoaderPairs:
    """What a data loader yields in one pass, checked: the training set behind a tf.data, grain or torch loader.

    The loader is read once here, before training, for its labels and its index.

    Args:
        loader: a finite iterable of ({"image", "text", "index"}, labels[, sample_weight]). `index` (n,) is the
            sample's row in the training set: 0 to N - 1, each once a pass, in any order.
        needs_index: whether a loader without "index" is refused.
        soft_labels: whether labels may be probabilities.

    Raises:
        ValueError: a batch of another structure, no index, an index out of range or seen twice, and whatever
            `PairDataset` refuses.
    """

    def __init__(self, loader: Any, needs_index: bool = True, soft_labels: bool = False):
        self.loader = loader
        _refuse_endless(loader)
        labels, index, seen = [], [], 0
        for x, y, weight in self._batches():
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
            y = _as_numpy(y)
            check_pairs(_as_numpy(x["image"]), _as_numpy(x["text"]), y, weight, seen, soft_labels)
            labels.append(y)
            index.append(_as_numpy(x.get("index", np.arange(seen, seen + len(y)))))
            self.shapes = {name: (None, *x[name].shape[1:]) for name in ("image", "text")}
            seen += len(y)
        if not seen:
            raise ValueError("The loader is empty: it yields no batch.")
        self.num_samples = seen
        rows = self._check_index(index)
        self.labels = np.empty((seen, labels[0].shape[1]), labels[0].dtype)
        self.labels[rows] = np.concatenate(labels)

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
                f"0..{self.num_samples - 1}; got {outside[0]}. (Does the loader drop its last batch?)"
            )
        counts = np.bincount(rows, minlength=self.num_samples)
        if (counts > 1).any():
            raise ValueError(f"index must name each sample once a pass; {counts.argmax()} came twice.")
        return rows

    def _batches(self) -> Iterator[tuple[dict, Any, Any]]:
        for batch in self.loader:
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
            yield x, y, _as_numpy(weight[0]) if weight else None

    def set_epoch(self, epoch: int) -> None:
        """Nothing to do: the loader has its own order."""

    def in_order(self) -> Iterator[tuple[np.ndarray, Any, Any]]:
        """Blocks of (index, image, text) as the loader yields them, for one pass over the whole set."""
        for x, _, _ in self._batches():
            yield _as_numpy(x["index"]), _as_numpy(x["image"]), _as_numpy(x["text"])


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
    lengths = {"image": len(image), "text": len(text), "labels": len(labels)}
    if sample_weight is not None:
        lengths["sample_weight"] = len(sample_weight)
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"image, text and labels must have the same number of rows; got {told}.")
    if not len(labels):
        raise ValueError("The training set is empty: image, text and labels have no rows.")
    check_labels("labels", labels, soft=soft_labels)
    check_features("image", image, first_row)
    check_features("text", text, first_row)
    if sample_weight is not None:
        check_features("sample_weight", sample_weight, first_row, ndim=1)
        if (sample_weight < 0).any():
            raise ValueError(
                f"sample_weight must be >= 0; row {first_row + np.argmax(sample_weight < 0)} is not."
            )


def check_features(name: str, features: Any, first_row: int = 0, ndim: int | None = None) -> None:
    """Refuse features (n, ...) that are not real numbers, or hold NaN or inf: the message has the first row."""
    shape = tuple(features.shape)
    if len(shape) != ndim if ndim else len(shape) < 2:
        raise ValueError(
            f"{name} must have {ndim or 'at least 2'} dimensions, rows first; got shape {shape}."
        )
    if features.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers; got dtype {features.dtype}.")
    if features.dtype.kind != "f":
        return
    for start in range(0, len(features), ROWS_AT_ONCE):
        finite = np.isfinite(features[start : start + ROWS_AT_ONCE])
        if not finite.all():
            row = start + int(np.argmin(finite.reshape(len(finite), -1).all(axis=1)))
            raise ValueError(f"{name} must be finite; row {first_row + row} holds NaN or inf.")


def as_array(values: Any) -> np.ndarray:
    """The values as a NumPy array, without a copy where they are one (a memmap stays on disk)."""
    return values if isinstance(values, np.ndarray) else _as_numpy(values)


def _as_numpy(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def _refuse_endless(loader: Any) -> None:
    if iter(loader) is loader:
        raise ValueError(
            "The loader is a generator, which can be read only once; fit reads it in each epoch."
        )
    cardinality = getattr(loader, "cardinality", None)  # tf.data's: -1 is infinite
    if callable(cardinality) and int(cardinality()) == -1:
        raise ValueError("The loader never ends: drop its .repeat(). fit reads it anew in each epoch.")


def _describe(batch: Any) -> str:
    if isinstance(batch, (tuple, list)):
        return f"a {type(batch).__name__} of {[type(part).__name__ for part in batch]}"
    return type(batch).__name__
