"""The gradient step on JAX: stateless, (state, data) -> (logs, state).

On an accelerator it has no branches: at each the processor waits for the device, and only then starts what follows.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import keras

from scbch_keras.arrays import Tensor
from scbch_keras.backend import jax_processes as processes
from scbch_keras.backend.jax_devices import check_distribution, divided, placed

__all__ = [
    "JIT",
    "JIT_PREDICT",
    "begin_fit",
    "check_devices",
    "choose",
    "divided",
    "end_fit",
    "free_memory",
    "full_precision",
    "has_accelerator",
    "passing_over",
    "placed",
    "processes",
    "train_step",
]

JIT = True
JIT_PREDICT = True
products = nullcontext


def full_precision() -> Any:
    """A context in which products of float32 are float32: on a card JAX takes fewer bits of them otherwise."""
    return jax.default_matmul_precision("float32")


def train_step(model: Any, state: Any, data: Any) -> tuple[dict[str, Any], Any]:
    """One update from one batch; a non-finite loss or gradient changes nothing but the count of skips."""
    weights, other_variables, optimizer_variables, metrics_variables = state
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(divided(data))
    objective = jax.value_and_grad(model.compute_loss_and_updates, has_aux=True)
    (_, (loss, y_pred, other_variables, metrics_variables)), gradients = objective(
        weights,
        other_variables,
        metrics_variables,
        x,
        y,
        sample_weight,
        training=True,
        optimizer_variables=optimizer_variables,
    )
    finite = _all_finite([loss, *gradients])
    # What the forward pass has moved, such as means and variances of normalization.
    other_variables = [
        value if value is before else jnp.where(finite, value, before)
        for value, before in zip(other_variables, state[1], strict=True)
    ]

    def update(optimizer_variables: list[Tensor], weights: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        decayed = [gradient + model.l2 * weight for gradient, weight in zip(gradients, weights, strict=True)]
        weights, optimizer_variables = model.optimizer.stateless_apply(optimizer_variables, decayed, weights)
        return optimizer_variables, weights

    state = optimizer_variables, weights
    if model.optimizer_skips:
        state = update(*state)
    elif has_accelerator():
        state = _selected(finite, update(*state), state)
    else:
        state = jax.lax.cond(finite, update, lambda *unchanged: unchanged, *state)
    optimizer_variables, weights = state

    with keras.StatelessScope(list(zip(model.metrics_variables, metrics_variables, strict=True))) as scope:
        model.track_step(loss, finite, x, y, sample_weight)
        logs = model.compute_metrics(x, y, y_pred, sample_weight)
    metrics_variables = [scope.get_current_value(variable) for variable in model.metrics_variables]
    state = weights, other_variables, optimizer_variables, metrics_variables
    return logs, processes.same_everywhere(state)


def _all_finite(arrays: list[Tensor]) -> Tensor:
    def each_value() -> Tensor:
        return jnp.stack([jnp.isfinite(values).all() for values in arrays]).all()

    if has_accelerator():
        return each_value()
    # Row sums are finite only if the rows are, and cost one read, a look at each value many times that. Rows that are
    # finite may add up to more than their type holds: only then each value is looked at.
    arrays = [jnp.atleast_1d(values) for values in arrays]
    sums = jnp.stack([jnp.isfinite(values.sum(axis=-1)).all() for values in arrays]).all()
    return jax.lax.cond(sums, lambda: jnp.array(True), each_value)


def _selected(first: Tensor, value: Any, other: Any) -> Any:
    return jax.tree.map(lambda *pair: jnp.where(first, *pair), value, other)


def choose(first: Tensor, value: Any, other: Callable[[], Any]) -> Any:
    """`value` where `first` holds, else what `other` makes; tuples of tensors."""
    if has_accelerator():
        return _selected(first, value, other())
    return keras.ops.cond(first, lambda: value, other)


def begin_fit(model: Any) -> None:
    """Hand out the logs of the batch before on an accelerator: to read its own ones, Python waits for each batch."""
    if not (has_accelerator() and model.may_lag and jax.process_count() == 1):
        return
    step, waiting = model.train_function, []

    def train_function(state: Any, iterator: Any) -> Any:
        logs, state = step(state, iterator)
        for value in logs.values():
            value.copy_to_host_async()
        waiting.append(logs)
        return waiting.pop(0) if len(waiting) > 1 else logs, state

    train_function.step = step  # type: ignore[attr-defined]
    model.train_function = train_function


def end_fit(model: Any) -> None:
    """Undo `begin_fit`."""
    model.train_function = getattr(model.train_function, "step", model.train_function)


def passing_over(logs: dict[str, Any]) -> Any:
    """A train function, as Keras' trainer calls it, that takes a batch and changes nothing; it gives these logs."""

    def pass_over(state: Any, iterator: Any) -> Any:
        next(iterator)
        return logs, state

    return pass_over


def check_devices(model: Any) -> None:
    """Raise RuntimeError for several processes that would each have a part of the model."""
    check_distribution()


def has_accelerator() -> bool:
    """Whether the backend computes on something else than the processor."""
    return jax.default_backend() != "cpu"


def free_memory() -> int:
    """Bytes free on the accelerator on which one process trains; 0 where there is none, or where that is not known."""
    if not has_accelerator() or jax.process_count() > 1 or keras.distribution.distribution() is not None:
        return 0
    stats = jax.devices()[0].memory_stats() or {}
    return int(stats.get("bytes_limit", 0) - stats.get("bytes_in_use", 0))
