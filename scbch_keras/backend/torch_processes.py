"""Several processes that train one model on PyTorch: each computes its part of every batch.

Every process reads the same batches. It runs the branches on its part of the rows and gets the others' codes, so that
the objective compares all pairs of the batch, and gradients are averaged: an update is the one of a single process,
but for the order in which sums are made.
"""

import os
from typing import Any

import keras
import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

PARTS_RUN_ALONE = True
"""A branch runs on the rows of its process, and sees no others."""


def count() -> int:
    """Processes that train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of the process that asks, from 0."""
    return dist.get_rank() if count() > 1 else 0


def join() -> None:
    """Make the process group that torchrun has prepared, unless there is one.

    Raises:
        RuntimeError: the environment names several processes, and not how they meet.
    """
    processes = os.environ.get("WORLD_SIZE", "1")
    if count() > 1 or not processes.isdecimal() or int(processes) < 2:
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise RuntimeError(
            f"WORLD_SIZE names {processes} processes, and {', '.join(missing)} is not set, by which they would meet: "
            "start them with torchrun --nproc-per-node=N."
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def together(train_function: Any) -> Any:
    """A train function of Keras' trainer, as a step of all processes: `train_step` exchanges what it needs."""
    return train_function


def part(values: Any) -> Any:
    """Rows of a batch that the process computes; all of it where there are fewer rows than processes."""
    rows = len(keras.tree.flatten(values)[0])
    if rows < count():
        return values
    chosen = slice(*_bounds(rows, rank()))
    return keras.tree.map_structure(lambda value: value[chosen], values)


def whole(outputs: dict[str, Any], rows: int) -> dict[str, Any]:
    """The outputs (m, d) of all parts as those of the batch (rows, d); gradients flow back to this process' part."""
    if rows < count():
        return outputs
    return {name: _Whole.apply(values, rows) for name, values in outputs.items()}


def average(gradients: list[Any]) -> None:
    """Replace each gradient by its mean over the processes."""
    for gradient in gradients:
        if gradient is not None:
            dist.all_reduce(gradient)
            gradient.div_(count())


def share(variables: list[Any]) -> None:
    """Give every process the first one's values."""
    for variable in variables:
        dist.broadcast(variable.value.data, 0)


def total(values: NDArray[Any]) -> NDArray[Any]:
    """The sum over the processes, by place."""
    tensor = torch.as_tensor(values, device=_device())
    dist.all_reduce(tensor)
    return tensor.cpu().numpy()


def of_first(value: int) -> int:
    """What the first process has."""
    tensor = torch.tensor(value, dtype=torch.int64, device=_device())
    dist.broadcast(tensor, 0)
    return int(tensor)


def differ(digest: bytes) -> bool:
    """Whether a digest of 32 bytes is another in any process."""
    mine = np.frombuffer(digest, np.uint8)
    place = np.zeros((count(), len(mine)), np.int64)
    place[rank()] = mine
    return bool((total(place) != mine).any())


def _bounds(rows: int, process: int) -> tuple[int, int]:
    return rows * process // count(), rows * (process + 1) // count()


def _device() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"


class _Whole(torch.autograd.Function):
    """Rows of all processes, in their order."""

    @staticmethod
    def forward(context: Any, values: Any, rows: int) -> Any:
        context.rows = rows
        longest = -(-rows // count())
        padded = values.new_zeros((longest, *values.shape[1:]))
        padded[: len(values)] = values
        parts = [torch.empty_like(padded) for _ in range(count())]
        dist.all_gather(parts, padded)
        bounds = [_bounds(rows, process) for process in range(count())]
        return torch.cat([values[: end - start] for values, (start, end) in zip(parts, bounds, strict=True)])

    @staticmethod
    def backward(context: Any, gradient: Any) -> Any:
        # Every process has the gradient of the same loss; `average` divides by their number.
        return gradient[slice(*_bounds(context.rows, rank()))] * count(), None
