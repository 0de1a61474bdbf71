"""Models that are trained many times: what a backend has traced and compiled of their step serves each training."""

import keras
import numpy as np


class Again:
    """A compiled model that has, each time it is asked for, the weights and the optimizer that it began with.

    shapes: {"image": (None, ...), "text": (None, ...)}, to build it.
    """

    def __init__(self, model, shapes):
        model.build(shapes)
        model.optimizer.build(model.trainable_variables)
        self._model = model
        variables = [*model.variables, *model.optimizer.variables]
        self._first = [(variable, np.array(keras.ops.convert_to_numpy(variable))) for variable in variables]

    def __call__(self):
        for variable, value in self._first:
            variable.assign(value)
        return self._model
