"""A `keras.distribution` on JAX: batches of any size in one process, and none in the way of several."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import keras
from jax.sharding import NamedSharding, PartitionSpec
from keras.distribution import TensorLayout


def check_distribution() -> None:
    """Refuse a distribution of which each of several processes has a part of the weights.

    Raises:
        RuntimeError: it is not `DataParallel`.
    """
    distribution = keras.distribution.distribution()
    if jax.process_count() > 1 and not isinstance(distribution, keras.distribution.DataParallel | None):
        raise RuntimeError(
            f"JAX runs in {jax.process_count()} processes, and the keras.distribution is "
            f"{type(distribution).__name__}: each process would have a part of the model, too little to encode with or "
            "to save. Leave it out, or use DataParallel."
        )


def divided(inputs: Any) -> Any:
    """Inputs of a step, each device keeping its rows; all of them where the devices cannot have equal parts."""
    distribution = keras.distribution.distribution()
    if distribution is None or distribution.batch_dim_name is None:
        return inputs
    mesh = distribution.device_mesh.backend_mesh
    parts = NamedSharding(mesh, PartitionSpec(distribution.batch_dim_name))
    devices = mesh.shape[distribution.batch_dim_name]

    def rows_of_device(values: Any) -> Any:
        if not isinstance(values, jax.Array) or values.ndim == 0 or values.shape[0] % devices:
            return values
        return jax.lax.with_sharding_constraint(values, parts)

    return keras.tree.map_structure(rows_of_device, inputs)


@contextmanager
def placed(model: Any) -> Iterator[None]:
    """Within it a model trains, encodes and is saved, whatever distribution is set.

    In one process Keras gives each device whole batches, of any size, of which `divided` leaves it its part: were Keras
    to divide them, they would have to be multiples of the devices. Each of several processes has the model on one
    device of its own, so that it may do what the others do not; `jax_processes` joins their steps.
    """
    check_distribution()
    distribution = keras.distribution.distribution()
    if jax.process_count() == 1:
        if distribution is None:
            yield
            return
        whole = copy.copy(distribution)
        whole.auto_shard_dataset = False  # as batches are whole, a PyDataset may yield them
        whole.get_data_layout = lambda shape: TensorLayout([None] * len(shape), distribution.device_mesh)
        with _set(whole):
            yield
    else:
        with _set(None):
            for variable in _variables(model):
                variable._layout = None
                if variable._value is not None and not variable._value.is_fully_addressable:
                    # Copied: a compiled step may overwrite what it is given, and other arrays may share it.
                    variable._value = jax.numpy.array(variable._value.addressable_data(0), copy=True)
            try:
                yield
            finally:
                for variable in _variables(model) if distribution else ():
                    variable._layout = distribution.get_variable_layout(variable)
                    if variable._value is not None:
                        variable._value = spread(variable._value, variable._layout.backend_layout)


def spread(values: Any, sharding: Any) -> Any:
    """An array over devices of several processes, of which each has all of it: each device takes its part.

    `jax.device_put` would compare what the processes have, and wait for all of them.
    """
    parts = [
        jax.device_put(values[place], device)
        for device, place in sharding.addressable_devices_indices_map(values.shape).items()
    ]
    return jax.make_array_from_single_device_arrays(values.shape, sharding, parts)


def _variables(model: Any) -> list[Any]:
    optimizer = getattr(model, "optimizer", None)
    found = [*model.variables, *model.metrics_variables, *(optimizer.variables if optimizer else ())]
    return list({id(variable): variable for variable in found}.values())


@contextmanager
def _set(distribution: Any) -> Iterator[None]:
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(distribution)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)
