"""A run on several devices: on PyTorch a process for each, started here; on JAX one process that has them all."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from scbch_keras.training.runs.stopping import signals_to

_SECONDS_TO_END = 30.0
_SECONDS_TO_FAIL = 5.0
"""How long the others have to fail by themselves, for the same reason."""
_BAD_INPUT = 2
"""The exit status of a command whose input was bad."""


class Devices(NamedTuple):
    """What a run trains on."""

    processes: int
    """How many are to be started; 1: this one trains."""
    shown: str
    """In words."""


def devices_for(devices: str, backend: str) -> Devices:
    """What `--devices` asks for; on JAX this process is told to use so many devices.

    Raises:
        ValueError: neither "all" nor a number from 1 on, more than there are, or TensorFlow, which trains on one.
    """
    if devices != "all" and not (devices.isdecimal() and int(devices) >= 1):
        raise ValueError(f"devices: expected all, or a number from 1 on, got {devices!r}")
    if backend == "tensorflow" and devices != "1":
        raise ValueError(
            "devices: on TensorFlow there is one; --backend torch and --backend jax train on several"
        )
    number = None if devices == "all" else int(devices)
    if backend == "torch":
        return _on_torch(number)
    if backend == "jax":
        return Devices(1, f"JAX, in this process on {', '.join(_use_on_jax(number))}")
    return Devices(1, "TensorFlow, on one device")


def is_rank() -> bool:
    """Whether this process is one of several that were started to train together."""
    world = os.environ.get("WORLD_SIZE", "1")
    return world.isdecimal() and int(world) > 1


def is_first() -> bool:
    """Whether this process keeps the run: it is alone, or the first of several."""
    return not is_rank() or os.environ.get("RANK", "0") == "0"


def _on_torch(devices: int | None) -> Devices:
    """A process for each device: a GPU, or where there is none a share of the cores."""
    import torch

    there = torch.cuda.device_count()
    if there and devices is not None and devices > there:
        raise ValueError(f"devices: expected all, or 1 to {there}, the GPUs that there are; got {devices}")
    cores = os.cpu_count() or 1
    if not there and devices is not None and devices > cores:
        raise ValueError(f"devices: expected all, or 1 to {cores}, the processor's cores; got {devices}")
    processes = max(1, there) if devices is None else devices
    each = "a GPU each" if there else "each with its part of the processor's cores"
    if processes == 1:
        return Devices(1, f"PyTorch, on {'one GPU' if there else 'the processor'}")
    return Devices(processes, f"PyTorch, {processes} processes, {each}")


def _use_on_jax(devices: int | None) -> list[str]:
    """Train on so many devices of this process from now on; of a processor up to a device a core."""
    import jax

    if devices is not None and devices > 1:
        # Before the first device is looked for; it has no effect on others.
        jax.config.update("jax_num_cpu_devices", min(devices, os.cpu_count() or 1))
    import keras

    there = keras.distribution.list_devices()
    if devices is not None and devices > len(there):
        raise ValueError(
            f"devices: expected all, or 1 to {len(there)}, of those that there are ({', '.join(there)}); got {devices}"
        )
    used: list[str] = there[:devices]
    if len(used) > 1:
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=used))
    return used


def train_by_ranks(arguments: Sequence[str], processes: int, variables: Mapping[str, str]) -> int:
    """Run `scbch ARGUMENTS` in several processes that find each other; the exit status of the first that fails, or 0.

    The first one has this process' output. Signals are handed on; where one fails, the others are ended.

    Args:
        arguments: of the command line, the command first.
        processes: how many, from 2 on.
        variables: of their environment, beside this process' own.
    """
    command = [sys.executable, "-P", "-m", "scbch_keras.training.cli.main", *arguments]
    with ExitStack() as stack:
        errors = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(1, processes)]
        ranks: list[subprocess.Popen[bytes]] = []
        with _handed_on(ranks) as received:
            for rank, environment in enumerate(_environments(processes, variables)):
                quiet: dict[str, Any] = (
                    {"stdout": subprocess.DEVNULL, "stderr": errors[rank - 1]} if rank else {}
                )
                # In a session of their own: Ctrl-C reaches them through `_handed_on`, and once.
                ranks.append(
                    subprocess.Popen(command, env=environment, start_new_session=True, **quiet)  # noqa: S603
                )
            failed = _wait(ranks)
        if failed is None:
            return 0
        if received:  # what the others say of the first one's end is no fault of theirs
            failed = 0
        if all(rank.returncode == _BAD_INPUT for rank in ranks):
            failed = 0  # which has said so
        if failed:
            errors[failed - 1].seek(0)
            sys.stderr.write(errors[failed - 1].read().decode(errors="replace"))
        status = ranks[failed].returncode
        return status if status > 0 else 128 - status


def _environments(processes: int, variables: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """As torchrun sets it."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    for rank in range(processes):
        yield {
            "OMP_NUM_THREADS": threads,
            **os.environ,
            **variables,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }


def _wait(ranks: Sequence["subprocess.Popen[bytes]"]) -> int | None:
    """Wait until all have ended; the number of the first that failed. Once one has, the others are ended."""
    failed: int | None = None
    since, steps = 0.0, []
    while any(rank.poll() is None for rank in ranks):
        if failed is None:
            failed = next((number for number, rank in enumerate(ranks) if rank.poll()), None)
            if failed is not None:
                since = time.monotonic()
                bad_input = ranks[failed].returncode == _BAD_INPUT
                steps = [
                    (_SECONDS_TO_FAIL if bad_input else 0, signal.SIGTERM),
                    (_SECONDS_TO_END, signal.SIGKILL),
                ]
        elif steps and time.monotonic() - since >= steps[0][0]:
            _send(ranks, steps.pop(0)[1])
        time.sleep(0.05)
    return (
        next((number for number, rank in enumerate(ranks) if rank.returncode), None)
        if failed is None
        else failed
    )


def _send(ranks: Sequence["subprocess.Popen[bytes]"], number: int) -> None:
    for rank in ranks:
        if rank.poll() is None:
            rank.send_signal(number)


@contextmanager
def _handed_on(ranks: Sequence["subprocess.Popen[bytes]"]) -> Iterator[list[int]]:
    """Hand signals on to the processes; those that came."""
    received: list[int] = []

    def hand_on(number: int, frame: Any) -> None:
        received.append(number)
        _send(ranks, number)

    with signals_to(hand_on):
        yield received
