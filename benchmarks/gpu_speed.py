"""A training step, codes and confidence weights on a GPU over the card's own rates: `python -m benchmarks.gpu_speed`.

Each installed backend that finds a GPU runs in a process of its own: steps of `model.fit` at the paper's sizes, with
`jit_compile` "auto" and False where that makes a difference, `encode_image` of the paper's image branch, and
`confidence_weights`. The floor of a step is the time of its products alone, by the backend's own matrix product at
their shapes, and that of Adam's 28 bytes a weight at the rate of a large copy on the card; that of the codes their
products; that of the confidence weights the product of the codes. Printed: wall seconds, least and median over turns.
Ends with 2 if no backend finds a GPU.
"""

import argparse
import functools
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measure import add_save, show
from benchmarks.train_step import BATCH, BITS, CLASSES, FULL, inputs_of, pairs

BACKENDS = {"torch": "PyTorch", "jax": "JAX", "tensorflow": "TensorFlow"}
ADAM_BYTES = 28
"""A weight: parameter, gradient and two moments are read, all but the gradient written."""
ENCODED, ENCODED_AT_ONCE = 16_384, 1024
COMPARED = (10_000, 100_000)


class Device:
    """The backend's arrays, its products and when they are there."""

    def __init__(self) -> None:
        import keras

        self.name = keras.backend.backend()

    def array(self, rows: int, columns: int) -> Any:
        """Random float32 on the card."""
        from keras import random

        return random.normal((rows, columns), seed=0)

    def seconds(self, call: Callable[..., Any], *arrays: Any, turns: int = 10) -> float:
        """The least time of a call, compiled where the backend compiles."""
        if self.name == "jax":
            import jax

            call = jax.jit(call)
        elif self.name == "tensorflow":
            import tensorflow as tf

            call = tf.function(call)
        times = []
        for _ in range(turns + 2):
            self.wait(arrays)
            start = time.perf_counter()
            self.wait(call(*arrays))
            times.append(time.perf_counter() - start)
        return min(times[2:])

    def wait(self, values: Any) -> None:
        """Until the card has done its work."""
        if self.name == "torch":
            import torch

            torch.cuda.synchronize()
        elif self.name == "jax":
            import jax

            jax.block_until_ready(values)
        else:
            import tensorflow as tf

            tf.test.experimental.sync_devices()

    def product_seconds(self, shapes: list[tuple[int, int, int]]) -> float:
        """Of matrix products (m, k) (k, n), one after the other without a wait between them."""
        from keras import ops

        together = [(self.array(m, k), self.array(k, n)) for m, k, n in shapes]

        def multiply(*arrays: Any) -> list[Any]:
            return [ops.matmul(a, b) for a, b in zip(arrays[::2], arrays[1::2], strict=True)]

        return self.seconds(multiply, *(array for pair in together for array in pair))

    def bytes_a_second(self) -> float:
        """Read and written by a large copy."""
        rows = self.array(2**14, 2**14)
        return 2 * 4 * 2**28 / self.seconds(lambda values: values + 1.0, rows)


def layers_of(width: int) -> dict[str, list[tuple[int, int]]]:
    """Inputs and units of each layer of the paper's branches, by modality."""
    image, text = inputs_of(width)
    return {"image": [(image, width), (width, width), (width, BITS)], "text": [(text, width), (width, BITS)]}


def step_floor(device: Device, width: int) -> tuple[float, float]:
    """Seconds of the products of a step, and of the update."""
    shapes, weights = [], 0
    for layers in layers_of(width).values():
        for place, (inputs, units) in enumerate(layers):
            shapes += [(BATCH, inputs, units), (inputs, BATCH, units)]
            if place:
                shapes.append((BATCH, units, inputs))
            weights += (inputs + 1) * units
    return device.product_seconds(shapes), ADAM_BYTES * weights / device.bytes_a_second()


def model_of(width: int, jit_compile: Any) -> Any:
    """The paper's two branches, not yet built."""
    import keras

    import scbch_keras as sk

    branches = sk.HashBranch(BITS, (width, width)), sk.HashBranch(BITS, (width,))
    model = sk.SCBCH(BITS, CLASSES, *branches, warmup_epochs=1000)
    model.compile(keras.optimizers.Adam(1e-4), jit_compile=jit_compile)
    return model


def step_times(width: int, steps: int, epochs: int, jit_compile: Any = "auto") -> tuple[Any, list[float]]:
    """A trained model, and seconds a step of each epoch but the first, which compiles."""
    import keras

    model, ends = model_of(width, jit_compile), []
    callback = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda *_: ends.append(time.perf_counter()),
        on_epoch_end=lambda *_: ends.append(time.perf_counter()),
    )
    image, text, labels = pairs(steps, width)
    x = {"image": image, "text": text}
    model.fit(x, labels, batch_size=BATCH, epochs=epochs + 1, verbose=0, callbacks=[callback])
    return model, [(end - start) / steps for start, end in zip(ends[2::2], ends[3::2], strict=True)]


def turns_of(call: Callable[[], Any], turns: int) -> list[float]:
    """Seconds of each call but the first."""
    times = []
    for _ in range(turns + 1):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times[1:]


def measure(width: int, steps: int, epochs: int) -> list[dict[str, Any]]:
    """Rows of the backend of this process: work, seconds of each turn, floor, what the floor is."""
    import scbch_keras as sk

    device = Device()
    products, update = step_floor(device, width)
    model, times = step_times(width, steps, epochs)
    note = f"products {1e3 * products:.2f} ms, update {1e3 * update:.2f} ms"
    results = [{"work": "step", "times": times, "floor": products + update, "note": note}]
    if device.name == "torch":
        _, times = step_times(width, steps, epochs, jit_compile=False)
        results.append(
            {"work": "step, jit_compile=False", "times": times, "floor": products + update, "note": note}
        )

    rng = np.random.default_rng(0)
    image = rng.standard_normal((ENCODED, inputs_of(width)[0]), np.float32)
    encode = functools.partial(model.encode_image, image, batch_size=ENCODED_AT_ONCE, verbose=0)
    shapes = [(ENCODED_AT_ONCE, inputs, units) for inputs, units in layers_of(width)["image"]]
    floor = device.product_seconds(shapes) * ENCODED / ENCODED_AT_ONCE
    work = f"codes of {ENCODED:,} images"
    results.append({"work": work, "times": turns_of(encode, 3), "floor": floor, "note": "their products"})

    for size in COMPARED:
        codes = [np.tanh(rng.standard_normal((size, BITS), np.float32)) for _ in range(2)]
        labels = (rng.random((size, CLASSES)) < 0.08).astype("float32")
        weigh = functools.partial(sk.confidence_weights, *codes, labels)
        block = (1024, 2 * BITS, size)
        floor = device.product_seconds([block]) * size / block[0]
        work = f"confidence weights, {size:,} samples"
        results.append(
            {"work": work, "times": turns_of(weigh, 3), "floor": floor, "note": "product of the codes"}
        )
    return results


def child(backend: str, *arguments: str) -> Any:
    """What this command prints last in a process of a backend."""
    env = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "benchmarks.gpu_speed", *arguments]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument(
        "--width", type=int, default=FULL, help="of the hidden layers; inputs are in proportion"
    )
    parser.add_argument(
        "--steps", type=int, default=141, help="steps an epoch; those of MIRFlickr's 18,015 pairs"
    )
    parser.add_argument("--epochs", type=int, default=4, help="beside the first, which compiles")
    parser.add_argument("--task", choices=("look", "measure"), help=argparse.SUPPRESS)
    add_save(parser)
    args = parser.parse_args()
    if args.task == "look":
        from scbch_keras import backend

        print(json.dumps(backend.has_accelerator()))
    elif args.task == "measure":
        print(json.dumps(measure(args.width, args.steps, args.epochs)))
    if args.task:
        return 0
    usable = [name for name in args.only if importlib.util.find_spec(name) and child(name, "--task", "look")]
    if not usable:
        print("No backend finds a GPU: nothing was measured.", file=sys.stderr)
        return 2
    sizes = ("--width", str(args.width), "--steps", str(args.steps), "--epochs", str(args.epochs))
    rows = []
    for name in usable:
        for one in child(name, "--task", "measure", *sizes):
            least = min(one["times"])
            row = [
                f"{one['work']}, {BACKENDS[name]}",
                f"{least:.3g}",
                f"{statistics.median(one['times']):.3g}",
            ]
            row += [f"{one['floor']:.3g}", f"{least / one['floor']:.2f}", one["note"]]
            rows.append(row)
            print(*row, file=sys.stderr, flush=True)
    columns = ["", "wall s, least", "median", "floor", "least over the floor", "the floor"]
    show("gpu_speed", columns, rows, args.save, f"Width {args.width}, batch {BATCH}, {BITS} bits.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
