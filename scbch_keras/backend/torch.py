"""The gradient step on PyTorch, with a fused Adam update."""

from typing import Any

import keras
import torch

from scbch_keras.backend import torch_processes as processes
from scbch_keras.backend.torch_products import QuickProducts
from scbch_keras.backend.undistributed import refuse_distribution

# torch.compile recompiles often and gains little on this step.
JIT = False
JIT_PREDICT = False
products = QuickProducts


def train_step(model: Any, data: Any) -> dict[str, Any]:
    """One update from one batch; a non-finite loss or gradient changes nothing but the count of skips."""
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
        finite = _all_finite([loss, *gradients])
        if finite and _fuses(optimizer, weights, gradients):
            _fused_adam(optimizer, weights, gradients, model.l2)
        elif finite or model.optimizer_skips:
            for weight, gradient in zip(weights, gradients, strict=True):
                if gradient is not None:
                    gradient.add_(weight.value, alpha=model.l2)
            optimizer.apply(gradients, weights)
        if not finite:
            for variable, value in zip(moving, before, strict=True):
                variable.assign(value)
        model.track_step(loss, finite, x, y, sample_weight)
    return model.compute_metrics(x, y, y_pred, sample_weight)


def _all_finite(tensors: list[Any]) -> bool:
    tensors = [values for values in tensors if values is not None]
    # A sum is finite only if all that it adds is, and is there long before a mask or a largest magnitude. It is read
    # once: a read waits for the device.
    if bool(torch.isfinite(torch.stack([values.sum() for values in tensors])).all()):
        return True
    # Finite values may add up to more than their type holds.
    return all(bool(torch.isfinite(values).all()) for values in tensors)


def _fuses(optimizer: Any, weights: list[Any], gradients: list[Any]) -> bool:
    """Whether the update is plain Adam, which PyTorch has in one kernel."""
    return (
        type(optimizer).__name__ == "Adam"
        and isinstance(optimizer, keras.optimizers.Adam)
        and optimizer.built
        and not optimizer.amsgrad
        and not optimizer.use_ema
        and not (optimizer.clipnorm or optimizer.global_clipnorm or optimizer.clipvalue)
        and not (
            optimizer.weight_decay or optimizer.gradient_accumulation_steps or optimizer.loss_scale_factor
        )
        and all(gradient is not None and gradient.dtype == torch.float32 for gradient in gradients)
        and all(weight.dtype == "float32" and weight.constraint is None for weight in weights)
    )


def _fused_adam(optimizer: Any, weights: list[Any], gradients: list[Any], l2: float) -> None:
    """Keras' Adam in PyTorch's fused kernel.

    PyTorch adds epsilon to sqrt(v) / sqrt(1 - beta_2^t), Keras to sqrt(v): dividing Keras' epsilon by
    sqrt(1 - beta_2^t) makes the two the same.
    """
    step = int(optimizer.iterations.value) + 1
    index = [optimizer._get_variable_index(weight) for weight in weights]
    rate = optimizer.learning_rate
    rate = (
        rate.value if isinstance(rate, keras.Variable) else rate
    )  # on the device: reading it waits for that
    steps = [torch.tensor(float(step), device=gradients[0].device)] * len(weights)
    torch._fused_adam_(
        [weight.value for weight in weights],
        gradients,
        [optimizer._momentums[i].value for i in index],
        [optimizer._velocities[i].value for i in index],
        [],
        steps,
        amsgrad=False,
        lr=rate if torch.is_tensor(rate) else float(rate),
        beta1=optimizer.beta_1,
        beta2=optimizer.beta_2,
        weight_decay=l2,
        eps=optimizer.epsilon / (1 - optimizer.beta_2**step) ** 0.5,
        maximize=False,
    )
    optimizer.iterations.assign(step)


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
