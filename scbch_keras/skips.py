"""Updates left out for a non-finite loss or gradient: how many, how many in a row, and by which samples."""

import warnings
from typing import Any

import keras
from keras import ops

from scbch_keras import backend
from scbch_keras.arrays import Tensor

NAMED = 8
"""Samples that are named; more are counted."""


class SkippedUpdates(keras.metrics.Metric):
    """Skipped updates an epoch; beside them those in a row, and the samples that hold NaN or inf.

    `reset_state`, which Keras calls before a validation too, leaves all but the first alone.
    """

    def __init__(self, name: str = "skipped") -> None:
        super().__init__(name=name)
        self.skipped = self.add_variable((), keras.initializers.Zeros(), name="skipped")
        self.in_a_row = self.add_variable((), keras.initializers.Zeros(), name="in_a_row")
        self.bad_samples = self.add_variable((), keras.initializers.Zeros(), dtype="int", name="bad_samples")
        # Index + 1 of the first of them; 0 is none.
        self.bad_index = self.add_variable(
            (NAMED,), keras.initializers.Zeros(), dtype="int", name="bad_index"
        )

    def update_state(
        self, finite: Tensor, x: dict[str, Tensor], y: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Count a step; its samples are looked at only if its loss or a gradient is not finite."""
        self.skipped.assign(self.skipped + (1.0 - ops.cast(finite, "float32")))
        self.in_a_row.assign(ops.where(finite, 0.0, self.in_a_row + 1.0))
        before = (ops.convert_to_tensor(self.bad_samples), ops.convert_to_tensor(self.bad_index))
        samples, index = backend.choose(
            finite, before, lambda: _with_bad_samples(*before, x, y, sample_weight)
        )
        self.bad_samples.assign(samples)
        self.bad_index.assign(index)

    def result(self) -> Tensor:
        """Skipped updates since `reset_state`."""
        return ops.convert_to_tensor(self.skipped)

    def reset_state(self) -> None:
        """Begin the epoch's count anew."""
        self.skipped.assign(0.0)

    def forget_samples(self) -> None:
        """Begin the epoch's samples anew."""
        self.bad_samples.assign(0)
        self.bad_index.assign(ops.zeros((NAMED,), self.bad_index.dtype))

    def forget_row(self) -> None:
        """Begin the count in a row anew."""
        self.in_a_row.assign(0.0)

    def describe_samples(self) -> str:
        """The samples that held NaN or inf, for a message; "" if there were none."""
        samples = int(ops.convert_to_numpy(self.bad_samples))
        index = [int(row) - 1 for row in ops.convert_to_numpy(self.bad_index) if row]
        return describe_samples(samples, index) if samples else ""


def describe_samples(samples: int, index: list[int]) -> str:
    """A number of samples and the index of the first of them, as "2 samples (index 7, 9)"."""
    counted = "1 sample" if samples == 1 else f"{samples} samples"
    if not index:
        return f"{counted} (the loader yields no integer 'index' to name them by)"
    more = ", ..." if samples > len(index) else ""
    return f"{counted} (index {', '.join(map(str, index))}{more})"


def _with_bad_samples(
    samples: Tensor, index: Tensor, x: dict[str, Tensor], y: Tensor, sample_weight: Tensor | None
) -> tuple[Tensor, Tensor]:
    bad = ops.logical_not(_finite_rows(y))
    for values in (*keras.tree.flatten([x["image"], x["text"]]), sample_weight):
        if values is not None:
            bad = ops.logical_or(bad, ops.logical_not(_finite_rows(values)))
    counts = ops.cast(bad, samples.dtype)
    if "index" in x and "int" in keras.backend.standardize_dtype(x["index"].dtype):
        place = samples + ops.cumsum(counts) - 1
        here = ops.logical_and(
            bad[:, None], place[:, None] == ops.arange(NAMED, dtype=samples.dtype)[None, :]
        )
        named = ops.cast(here, index.dtype) * (ops.cast(x["index"], index.dtype)[:, None] + 1)
        index = index + ops.cast(ops.sum(named, axis=0), index.dtype)
    return samples + ops.cast(ops.sum(counts), samples.dtype), index


def _finite_rows(values: Tensor) -> Tensor:
    values = ops.cast(values, "float32")
    return ops.all(ops.isfinite(ops.reshape(values, (ops.shape(values)[0], -1))), axis=1)


def update_finite(mean: Any, value: Tensor, batch: Tensor) -> None:
    """Count a batch into a mean unless the value is not finite: one bad batch must not blot out an epoch."""
    finite = ops.isfinite(value)
    size = ops.cast(ops.shape(batch)[0], "float32")
    mean.update_state(ops.where(finite, value, 0.0), sample_weight=ops.where(finite, size, 0.0))


class SkipWatch(keras.callbacks.Callback):
    """Names the samples that held NaN or inf, and stops a training that learns nothing. `fit` adds it itself.

    Args:
        max_skipped: int >= 1, skipped updates in a row that end the training.
    """

    def __init__(self, max_skipped: int) -> None:
        super().__init__()
        self.max_skipped = max_skipped

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin to count."""
        self.model._skipped.forget_row()
        self.updates_until_check = self.max_skipped

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begin the epoch's samples anew."""
        self.epoch, self.updates = epoch, 0
        self.model._skipped.forget_samples()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Stop after `max_skipped` skipped updates in a row.

        The count is read no sooner than it can have grown so far: a read waits for the device.
        """
        self.updates_until_check -= batch + 1 - self.updates
        self.updates = batch + 1
        if self.updates_until_check > 0:
            return
        skips = self.model._skipped
        in_a_row = int(ops.convert_to_numpy(skips.in_a_row))
        if in_a_row >= self.max_skipped:
            raise FloatingPointError(
                f"The last {in_a_row} updates up to batch {self.updates} of epoch {self.epoch + 1} had a "
                f"non-finite loss or gradient and were skipped (max_skipped={self.max_skipped}). "
                + self._reason(skips)
            )
        self.updates_until_check = self.max_skipped - in_a_row

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Warn of the samples that held NaN or inf; stop with an error where an epoch changed nothing."""
        skips = self.model._skipped
        skipped = (logs or {}).get("skipped", 0)
        if self.updates and skipped >= self.updates:
            raise FloatingPointError(
                f"Every update of epoch {epoch + 1} had a non-finite loss or gradient and was skipped: the weights "
                "did not change. " + self._reason(skips)
            )
        samples = skips.describe_samples()
        if samples:
            warnings.warn(
                f"Epoch {epoch + 1}: {samples} held NaN or inf; the updates of their batches were skipped.",
                stacklevel=2,
            )

    def _reason(self, skips: SkippedUpdates) -> str:
        samples = skips.describe_samples()
        if samples:
            return f"In this epoch {samples} held NaN or inf: mend what reads them."
        return "Lower the learning rate or look at the scale of the features."
