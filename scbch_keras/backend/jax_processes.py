"""Several processes that train one model on JAX, which `jax.distributed` has joined.

Each has the whole model, and reads the same batches. For a step alone their devices hold one state and one batch, each
device its rows: what XLA compiles is the step of the whole batch, so the objective compares all pairs, and an update is
the one of a single process, but for the order in which sums are made.
"""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from scbch_keras.backend.jax_devices import spread

PARTS_RUN_ALONE = False
"""A branch runs on the whole batch, wherever its rows are."""


def count() -> int:
    """Processes that train together."""
    return jax.process_count()


def rank() -> int:
    """Number of the process that asks, from 0."""
    return jax.process_index()


def together(train_function: Callable[..., Any]) -> Callable[..., Any]:
    """A train function of Keras' trainer, as a step of all processes."""

    def train(state: Any, iterator: Any) -> Any:
        return train_function(jax.tree.map(_everywhere, state), map(_divided, iterator))

    return train


def same_everywhere(values: Any) -> Any:
    """What a step results in, on each device as a whole."""
    if count() == 1:
        return values
    return jax.tree.map(lambda value: jax.lax.with_sharding_constraint(value, _sharding()), values)


def own(values: Iterable[Any]) -> list[Any]:
    """Arrays of all processes as this one has them."""
    return [value if value.is_fully_addressable else value.addressable_data(0) for value in values]


def share(variables: list[Any]) -> None:
    """Give every process the first one's values."""
    mine = [np.asarray(variable.value) for variable in variables]
    of_first = multihost_utils.broadcast_one_to_all([_as_bytes(values) for values in mine])
    for variable, values, others in zip(variables, mine, of_first, strict=True):
        shared = np.frombuffer(np.asarray(others).tobytes(), values.dtype).reshape(values.shape)
        variable.assign(shared)


def total(values: NDArray[Any]) -> NDArray[Any]:
    """The sum over the processes, by place."""
    return _gathered(values).sum(axis=0, dtype=values.dtype)


def of_first(value: int) -> int:
    """What the first process has."""
    return int(_gathered(np.array(value, np.int64))[0])


def differ(digest: bytes) -> bool:
    """Whether a digest is another in any process."""
    mine = np.frombuffer(digest, np.uint8)
    return bool((_gathered(mine) != mine).any())


def _sharding(*axes: str) -> NamedSharding:
    return NamedSharding(Mesh(np.array(jax.devices()), ("batch",)), PartitionSpec(*axes))


def _everywhere(values: Any) -> Any:
    return spread(values, _sharding()) if values.is_fully_addressable else values


def _divided(batch: Any) -> Any:
    """A batch of which each device has its rows; all of them where the devices cannot have equal parts."""

    def rows_of_device(values: Any) -> Any:
        even = values.ndim and values.shape[0] % jax.device_count() == 0
        return spread(values, _sharding("batch") if even else _sharding())

    return jax.tree.map(rows_of_device, batch)


def _gathered(values: NDArray[Any]) -> NDArray[Any]:
    """The values of all processes, by rank; as bytes, since JAX would make 32 bits of 64."""
    gathered = np.asarray(multihost_utils.process_allgather(_as_bytes(values)))
    return np.frombuffer(gathered.tobytes(), values.dtype).reshape(count(), *values.shape)


def _as_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
