"""The gradient step on TensorFlow."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import keras
import tensorflow as tf

from scbch_keras.arrays import Tensor
from scbch_keras.backend.undistributed import refuse_distribution

JIT = True
# XLA compiles anew for every number of rows, which takes seconds; the step has two such numbers at most.
JIT_PREDICT = False
products = nullcontext
full_precision = nullcontext


def train_step(model: Any, data: Any) -> dict[str, Any]:
    """One update from one batch; a non-finite loss or gradient changes nothing but the count of skips."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    optimizer = model.optimizer
    moving = model.moving_statistics()
    before = [tf.identity(variable.value) for variable in moving]
    with tf.GradientTape() as tape:
        y_pred = model(x, training=True)
        loss = model.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True)
        scaled_loss = optimizer.scale_loss(loss)
    weights = model.trainable_weights
    gradients = [
        None if gradient is None else tf.convert_to_tensor(gradient)
        for gradient in tape.gradient(scaled_loss, weights)
    ]
    finite = _all_finite([loss, *(gradient for gradient in gradients if gradient is not None)])
    if not optimizer.built:
        with tf.init_scope():
            optimizer.build(weights)

    def update() -> Tensor:
        decayed = [
            gradient if gradient is None else gradient + model.l2 * tf.cast(weight.value, gradient.dtype)
            for gradient, weight in zip(gradients, weights, strict=True)
        ]
        optimizer.apply(decayed, weights)
        return finite

    if model.optimizer_skips:
        update()
    else:
        tf.cond(finite, update, lambda: finite)
    for variable, value in zip(moving, before, strict=True):
        variable.assign(tf.where(finite, variable.value, value))
    model.track_step(loss, finite, x, y, sample_weight)
    return model.compute_metrics(x, y, y_pred, sample_weight)


def _all_finite(tensors: list[Tensor]) -> Tensor:
    # Row sums are finite only if the rows are, and cost one read; a mask would be as large as the weights. Rows that
    # are finite may add up to more than their type holds: only then each value is looked at.
    sums = [tf.reduce_sum(values, axis=-1) if values.shape.rank else values for values in tensors]
    return tf.cond(
        tf.reduce_all([tf.reduce_all(tf.math.is_finite(values)) for values in sums]),
        lambda: True,
        lambda: tf.reduce_all([tf.reduce_all(tf.math.is_finite(values)) for values in tensors]),
    )


def choose(first: Tensor, value: Any, other: Callable[[], Any]) -> Any:
    """`value` where `first` holds, else what `other` makes; tuples of tensors."""
    return keras.ops.cond(first, lambda: value, other)


def passing_over(logs: dict[str, Any]) -> Any:
    """A train function, as Keras' trainer calls it, that takes a batch and changes nothing; it gives these logs."""

    def pass_over(iterator: Any) -> Any:
        next(iterator)
        return logs

    return pass_over


def check_devices(model: Any) -> None:
    """Raise RuntimeError for a tf.distribute strategy or a distribution, which Keras does not have here."""
    strategy = model._distribute_strategy
    if strategy is None and tf.distribute.has_strategy():
        strategy = tf.distribute.get_strategy()
    if strategy is not None:
        raise RuntimeError(
            f"{type(strategy).__name__} is not supported: each replica would compare only the pairs of its own part of "
            "a batch, and the skipping of updates does not run inside it. Make and fit the model outside of the "
            "strategy's scope, on one device. On several, JAX trains by keras.distribution in one process, and PyTorch "
            "by torchrun --nproc-per-node=N."
        )
    refuse_distribution("TensorFlow")


def has_accelerator() -> bool:
    """Whether the backend computes on something else than the processor."""
    return bool(tf.config.list_physical_devices("GPU"))


def free_memory() -> int:
    """0: batches reach TensorFlow's step through a `tf.data.Dataset`, from the processor's memory."""
    return 0
