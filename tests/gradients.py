"""Values and gradients of functions of keras.ops, as NumPy, on the backend of the session."""

import keras
from keras import ops


def tensors(*arrays):
    return [ops.convert_to_tensor(array, dtype="float32") for array in arrays]


def number(value):
    return float(ops.convert_to_numpy(value))


def gradients_of(function, *arrays):
    inputs = tensors(*arrays)
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        gradients = jax.grad(function, argnums=tuple(range(len(inputs))))(*inputs)
    elif backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(inputs)
            value = function(*inputs)
        gradients = tape.gradient(value, inputs)
    else:
        import torch

        inputs = [x.clone().requires_grad_() for x in inputs]
        gradients = torch.autograd.grad(function(*inputs), inputs, allow_unused=True, materialize_grads=True)
    return [ops.convert_to_numpy(gradient) for gradient in gradients]
