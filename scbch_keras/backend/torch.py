"""The gradient step on PyTorch, with a fused Adam update."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import keras
import torch

from scbch_keras.backend import torch_graph
from scbch_keras.backend import torch_processes as processes
from scbch_keras.backend.torch_products import QuickProducts
from scbch_keras.backend.undistributed import refuse_distribution

# torch.compile recompiles often and gains little on this step.
JIT = False
JIT_PREDICT = False
products = QuickProducts
full_precision = nullcontext
begin_epoch = torch_graph.forget
end_fit = torch_graph.end
_LAST_STEP = 1e9
"""From which on 1 - beta^t is 1."""


def train_step(model: Any, data: Any) -> dict[str, Any]:
    """One update from one batch; a non-finite loss or gradient changes nothing but the count of skips."""
    if torch_graph.records(model):
        return torch_graph.run(model, data, _step_without_waiting)
    return _step(model, data, waits=True)


def _step_without_waiting(model: Any, data: Any) -> dict[str, Any]:
    return _step(model, data, waits=False)


def _step(model: Any, data: Any, waits: bool) -> dict[str, Any]:
    """`train_step`, which waits for the device to learn if all is finite, or leaves that to it."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    optimizer = model.optimizer
    moving = model.moving_statistics()
    before = [variable.value.detach().clone() for variable in moving]
    together = processes.count() > 1
    y_pred = model(processes.part(x) if together else x, training=True)
    if together:
        y_pred = processes.whole(y_pred, len(y))
    model.zero_grad()
    loss = model.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True)
    optimizer.scale_loss(loss).backward()
    with torch.no_grad():
        loss = loss.detach()
        weights = model.trainable_weights
        gradients = [weight.value.grad for weight in weights]
        if together:
            processes.average(gradients)
        fits = _all_float32(gradients)
        if waits or not fits:
            finite = _all_finite([loss, *gradients])
            if finite and fits and _is_plain_adam(optimizer, weights):
                _fused_adam(optimizer, weights, gradients, model.l2)
            elif finite or model.optimizer_skips:
                for weight, gradient in zip(weights, gradients, strict=True):
                    if gradient is not None:
                        gradient.add_(weight.value, alpha=model.l2)
                optimizer.apply(gradients, weights)
            if not finite:
                for variable, value in zip(moving, before, strict=True):
                    variable.assign(value)
        else:
            finite = _all_finite_on_device([loss, *gradients])
            _fused_adam_on_device(optimizer, weights, gradients, model.l2, finite)
            for variable, value in zip(moving, before, strict=True):
                variable.assign(torch.where(finite, variable.value, value))
        model.track_step(loss, finite, x, y, sample_weight)
    return model.compute_metrics(x, y, y_pred, sample_weight)


def begin_fit(model: Any) -> None:
    """Record steps as CUDA graphs from now on, where `compile` allows it and a step need not wait for the device."""
    weights = model.trainable_weights
    if (
        model.may_lag
        and processes.count() == 1
        and weights
        and all(weight.value.is_cuda for weight in weights)
        and not model.optimizer_skips
        and _is_plain_adam(model.optimizer, weights)
    ):
        torch_graph.begin(model)


def _all_finite(tensors: list[Any]) -> bool:
    tensors = [values for values in tensors if values is not None]
    # A sum is finite only if all that it adds is, and is there long before a mask or a largest magnitude. It is read
    # once: a read waits for the device.
    if bool(torch.isfinite(torch.stack([values.sum() for values in tensors])).all()):
        return True
    # Finite values may add up to more than their type holds.
    return all(bool(torch.isfinite(values).all()) for values in tensors)


def _all_finite_on_device(tensors: list[Any]) -> Any:
    """The same as a tensor, which nobody waits for."""
    extremes = [extreme for values in tensors for extreme in torch.aminmax(values)]
    return torch.isfinite(torch.stack(extremes)).all()


def _is_plain_adam(optimizer: Any, weights: list[Any]) -> bool:
    """Whether the update is plain Adam, which PyTorch has in one kernel; `torch.compile` cannot trace that."""
    return (
        not torch.compiler.is_compiling()
        and type(optimizer).__name__ == "Adam"
        and isinstance(optimizer, keras.optimizers.Adam)
        and optimizer.built
        and not optimizer.amsgrad
        and not optimizer.use_ema
        and not (optimizer.clipnorm or optimizer.global_clipnorm or optimizer.clipvalue)
        and not (
            optimizer.weight_decay or optimizer.gradient_accumulation_steps or optimizer.loss_scale_factor
        )
        and all(weight.dtype == "float32" and weight.constraint is None for weight in weights)
    )


def _all_float32(gradients: list[Any]) -> bool:
    return all(gradient is not None and gradient.dtype == torch.float32 for gradient in gradients)


def _fused_adam(optimizer: Any, weights: list[Any], gradients: list[Any], l2: float) -> None:
    """Keras' Adam in PyTorch's fused kernel.

    PyTorch adds epsilon to sqrt(v) / sqrt(1 - beta_2^t), Keras to sqrt(v): dividing Keras' epsilon by
    sqrt(1 - beta_2^t) makes the two the same.
    """
    step = int(optimizer.iterations.value) + 1
    rate = _learning_rate(optimizer)
    steps = torch.tensor(float(step), device=gradients[0].device)
    _update(
        optimizer,
        weights,
        gradients,
        steps,
        lr=rate if torch.is_tensor(rate) else float(rate),
        eps=optimizer.epsilon / (1 - optimizer.beta_2**step) ** 0.5,
        weight_decay=l2,
    )
    optimizer.iterations.assign(step)


def _fused_adam_on_device(
    optimizer: Any, weights: list[Any], gradients: list[Any], l2: float, finite: Any
) -> None:
    """The same where only the device knows the number of the step, and whether this one counts.

    Keras' own form of it has the corrections of both means in the learning rate; to the kernel these are at an end.
    """
    iterations = optimizer.iterations.value
    step = (iterations + 1).double()
    rate = _learning_rate(optimizer) * torch.sqrt(1 - optimizer.beta_2**step) / (1 - optimizer.beta_1**step)
    _update(
        optimizer,
        weights,
        gradients,
        torch.full((), _LAST_STEP, device=iterations.device),
        lr=rate.float(),
        eps=optimizer.epsilon,
        weight_decay=l2,
        found_inf=(~finite).float(),
    )
    iterations.add_(finite.to(iterations.dtype))


def _learning_rate(optimizer: Any) -> Any:
    """As a tensor, if it is one: reading it would wait for the device."""
    rate = optimizer.learning_rate
    return rate.value if isinstance(rate, keras.Variable) else rate


def _update(optimizer: Any, weights: list[Any], gradients: list[Any], step: Any, **settings: Any) -> None:
    index = [optimizer._get_variable_index(weight) for weight in weights]
    values = [weight.value for weight in weights]
    first, second = (
        [_laid_out_as(moments[i].value, value) for i, value in zip(index, values, strict=True)]
        for moments in (optimizer._momentums, optimizer._velocities)
    )
    torch._fused_adam_(
        values,
        gradients,
        first,
        second,
        [],
        [step] * len(weights),
        amsgrad=False,
        beta1=optimizer.beta_1,
        beta2=optimizer.beta_2,
        maximize=False,
        **settings,
    )


def _laid_out_as(moment: Any, weight: Any) -> Any:
    """The moment, in memory in the order of its weight, in which the kernel walks both.

    An orthogonal weight, for one, comes from a QR decomposition by columns.
    """
    if moment.stride() != weight.stride():
        moment.data = torch.empty_like(weight).copy_(moment)
    return moment


def choose(first: Any, value: Any, other: Callable[[], Any]) -> Any:
    """`value` where `first` holds, else what `other` makes; tuples of tensors. On the device both are made."""
    if isinstance(first, bool):
        return value if first else other()
    return tuple(torch.where(first, *pair) for pair in zip(value, other(), strict=True))


def passing_over(logs: dict[str, Any]) -> Any:
    """A train function, as Keras' trainer calls it, that takes a batch and changes nothing; it gives these logs."""

    def pass_over(data: Any) -> Any:
        return logs

    return pass_over


def check_devices(model: Any) -> None:
    """Raise RuntimeError for a distribution, which Keras does not have on PyTorch; join the processes of torchrun."""
    refuse_distribution("PyTorch")
    processes.join()


def has_accelerator() -> bool:
    """Whether the backend computes on something else than the processor."""
    return bool(torch.cuda.is_available() or torch.backends.mps.is_available())


def free_memory() -> int:
    """Bytes free on the accelerator on which one process trains; 0 where there is none, or where that is not known."""
    if not torch.cuda.is_available() or processes.count() > 1:
        return 0
    return int(torch.cuda.mem_get_info()[0])
