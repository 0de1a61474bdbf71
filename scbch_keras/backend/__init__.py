"""The gradient step, a module a backend; the only place that names one.

Each module has `train_step(model, *args)`, which has the signature of the Keras trainer's method of that
backend, and `JIT` and `JIT_PREDICT`, whether compiling the step and the encoders pays there.
"""

from importlib import import_module

import keras

_MODULES = ("tensorflow", "jax", "torch")

if keras.backend.backend() not in _MODULES:
    raise ImportError(
        f"scbch_keras trains on the Keras backends {_MODULES}; KERAS_BACKEND is {keras.backend.backend()!r}."
    )

_module = import_module(f"{__name__}.{keras.backend.backend()}")
JIT: bool = _module.JIT
JIT_PREDICT: bool = _module.JIT_PREDICT
train_step = _module.train_step
