"""The gradient step, a module a backend; the only place that names one.

Each module has `train_step(model, *args)`, which has the signature of the Keras trainer's method of that backend;
`JIT` and `JIT_PREDICT`, whether compiling the step and the encoders pays there; `check_devices(model)`, which raises
RuntimeError where several devices or processes would train something else than the model; `has_accelerator()`;
`free_memory()`, bytes that a training set may be kept in; `passing_over(logs)`, a train function that takes a batch and
changes nothing; `choose(first, value, other)`, one of two values by what a step found; `products()`, a context in which
the branches compute, and `full_precision()`, one in which the objective does. Where several processes can train one
model there is `processes`, the module in which they meet; where a process can have several devices,
`divided(inputs)` and `placed(model)`; and where steps run ahead of Python on an accelerator, `begin_fit(model)`,
`begin_epoch(model)` and `end_fit(model)`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import keras

_MODULES = ("tensorflow", "jax", "torch")

if keras.backend.backend() not in _MODULES:
    raise ImportError(
        f"scbch_keras trains on the Keras backends {_MODULES}; KERAS_BACKEND is {keras.backend.backend()!r}."
    )


def _nothing(model: Any) -> None:
    pass


_module = import_module(f"{__name__}.{keras.backend.backend()}")
JIT: bool = _module.JIT
JIT_PREDICT: bool = _module.JIT_PREDICT
train_step = _module.train_step
products: Any = _module.products
full_precision: Any = _module.full_precision
check_devices = _module.check_devices
has_accelerator = _module.has_accelerator
free_memory = _module.free_memory
begin_fit = getattr(_module, "begin_fit", _nothing)
begin_epoch = getattr(_module, "begin_epoch", _nothing)
end_fit = getattr(_module, "end_fit", _nothing)
passing_over = _module.passing_over
choose = _module.choose
processes: Any = getattr(_module, "processes", None)


def several_processes() -> bool:
    """Whether this is one of several processes that train one model."""
    return processes is not None and processes.count() > 1


@contextmanager
def _anywhere(model: Any = None) -> Iterator[None]:
    """Nothing to do: there is one device."""
    yield


def _as_it_is(inputs: Any) -> Any:
    """Nothing to do: there is one device."""
    return inputs


divided = getattr(_module, "divided", _as_it_is)
placed = getattr(_module, "placed", _anywhere)
