"""A training step as a CUDA graph: recorded once, and then started by one call in the place of hundreds.

Python needs several times as long to start the kernels of a step as the card to run them. What is recorded must not
wait for the card, nor copy from the processor's memory; the batch is copied to where the graph reads it.
"""

import logging
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np
import torch
from torch.overrides import TorchFunctionMode

_EAGER_STEPS = 2
"""Steps of a batch's shape before one is recorded: the first of them make what later ones only use."""
_SHAPES = 4
"""Shapes of batches that are recorded; a graph keeps the memory of its step."""

_log = logging.getLogger(__name__)
_plans: "WeakKeyDictionary[Any, _Plan]" = WeakKeyDictionary()


class _Plan:
    """What is recorded of a model in an epoch."""

    def __init__(self) -> None:
        self.eager_steps: dict[Any, int] = {}
        self.refused = False
        self.graphs: dict[Any, _Graph] = {}
        self.forget()

    def forget(self) -> None:
        if self.graphs:
            torch.cuda.synchronize()
        self.graphs = {}
        self.variables: list[Any] = []
        self.memory = torch.cuda.graph_pool_handle()

    def state_of(self, model: Any) -> tuple[Any, ...]:
        """What a graph has in it: settings as they are, and where the variables lie."""
        if not self.variables:
            self.variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
        settings = (
            (name, value)
            for owner in (model, model.optimizer)
            for name, value in vars(owner).items()
            if isinstance(value, bool | int | float | str)
        )
        return (*settings, *(variable.value.data_ptr() for variable in self.variables))


def begin(model: Any) -> None:
    """Record steps of this model from now on: `fit` begins."""
    _plans[model] = _Plan()


def end(model: Any) -> None:
    """Record no more, and let go of the memory."""
    forget(model)
    _plans.pop(model, None)


def records(model: Any) -> bool:
    """Whether steps of this model are recorded."""
    return model in _plans


def run(model: Any, data: Any, step: Callable[[Any, Any], dict[str, Any]]) -> dict[str, Any]:
    """A step of a model: the first ones as they are, later ones by a graph.

    Args:
        model: its variables are those of the step.
        data: the batch.
        step: takes model and batch, reads nothing from the card, and gives the logs as scalars on it.

    Returns:
        The logs. Those of a graph are those of the batch before, as floats: to read this one's, Python would wait for
        the card. At the end of an epoch Keras reads the metrics themselves.
    """
    plan = _plans[model]
    leaves = [leaf for leaf in keras.tree.flatten(data) if leaf is not None]
    key = tuple((tuple(leaf.shape), leaf.dtype) for leaf in leaves), plan.state_of(model)
    graph = plan.graphs.get(key)
    if graph is None:
        shape = key[0]
        if plan.refused or plan.eager_steps.get(shape, 0) < _EAGER_STEPS or len(plan.graphs) >= _SHAPES:
            plan.eager_steps[shape] = plan.eager_steps.get(shape, 0) + 1
            return step(model, data)
        try:
            graph = plan.graphs[key] = _Graph(model, data, step, plan.memory)
        except (RuntimeError, NotImplementedError) as error:
            # Layers that draw random numbers by a seed of the processor's, for instance.
            plan.refused = True
            _log.info(
                "%s: its step cannot be recorded as a CUDA graph, and runs without (%s)", model.name, error
            )
            torch.cuda.synchronize()
            return step(model, data)
    return graph(leaves)


def forget(model: Any) -> None:
    """Let go of what was recorded: an epoch may begin with other settings."""
    if records(model):
        _plans[model].forget()


class _Graph:
    """A recorded step and the memory that it reads and writes."""

    def __init__(
        self, model: Any, data: Any, step: Callable[[Any, Any], dict[str, Any]], memory: Any
    ) -> None:
        batch = keras.tree.map_structure(lambda leaf: None if leaf is None else leaf.clone(), data)
        self.inputs = [leaf for leaf in keras.tree.flatten(batch) if leaf is not None]
        self.graph = torch.cuda.CUDAGraph()
        for variable in model.trainable_weights:
            variable.value.grad = None
        # `torch.cuda.graph` would empty the cache of memory too, once an epoch.
        torch.cuda.synchronize()
        with torch.cuda.stream(torch.cuda.Stream()):
            # Threads of others, such as those of a data loader, may go on meanwhile.
            self.graph.capture_begin(memory, capture_error_mode="thread_local")
            try:
                with _NumbersOnDevice():
                    logs = step(model, batch)
                    self.names = list(logs)
                    self.logs = torch.stack([value.detach().float() for value in logs.values()])
            finally:
                self.graph.capture_end()
        # Two: while the card writes one, the other is read.
        self.copies = [torch.empty(len(self.names), pin_memory=True) for _ in range(2)]
        self.written = [torch.cuda.Event() for _ in range(2)]
        self.runs = 0

    def __call__(self, leaves: list[Any]) -> dict[str, float]:
        for place, leaf in zip(self.inputs, leaves, strict=True):
            place.copy_(leaf, non_blocking=True)
        self.graph.replay()
        now = self.runs % 2
        self.copies[now].copy_(self.logs, non_blocking=True)
        self.written[now].record()
        before = now if self.runs == 0 else 1 - now
        self.runs += 1
        self.written[before].synchronize()
        return dict(zip(self.names, self.copies[before].tolist(), strict=True))


class _NumbersOnDevice(TorchFunctionMode):
    """In this context a number becomes a tensor by a kernel that writes it, not by a copy."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Take over `torch.as_tensor` of single numbers; everything else is PyTorch's."""
        kwargs = kwargs or {}
        if func is torch.as_tensor and not kwargs.keys() - {"dtype", "device"} and len(args) == 1:
            value = args[0]
            if isinstance(value, np.ndarray | np.generic) and value.ndim == 0:
                value = value.item()
            if isinstance(value, bool | int | float):
                return torch.full((), value, **kwargs)
        return func(*args, **kwargs)
