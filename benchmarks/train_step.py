"""CPU seconds a training step at the paper's sizes, over the least time its arithmetic needs.

    python -m benchmarks.train_step [--only tensorflow jax torch plain] [--allocator kept huge plain] [--save]

Each contestant runs in a process of its own: `model.fit` on each backend, the same with Keras' own train_step
(no skipped updates, no L2, no fused Adam), and a plain PyTorch loop of the same objective with eager Adam. A step
writes gigabytes of fresh memory: --allocator says how glibc gets it. "kept" is that of `scbch train`, "huge" pages of
2 MB alone, "plain" leaves it as it is; several run one after the other.

The floor at full width is 75.3 GFLOP (forward, and backward to weights and activations, of 4096-8192-8192-64 and
1386-8192-64 at batch 128) at the sgemm rate of NumPy in the same process, just before and after. Absolute times mean
nothing across machines or minutes; the ratio does.
"""

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np

from benchmarks.measure import COLUMNS, Times, add_save, clocked, sgemm, show, time_columns
from scbch_keras.training.cli.process import TUNABLES

BATCH, BITS, CLASSES, FULL = 128, 64, 24, 8192


def inputs_of(width: int) -> tuple[int, int]:
    """Columns of image and text: MIRFlickr-25K's at full width."""
    return width // 2, 1386 * width // FULL


def flop_of(width: int = FULL) -> int:
    """Of a step: two a weight a sample, three products a layer, but no gradient to the input features."""
    image, text = inputs_of(width)
    layers = ((image, width, 2), (width, width, 3), (width, BITS, 3), (text, width, 2), (width, BITS, 3))
    return sum(2 * BATCH * inputs * units * products for inputs, units, products in layers)


CONTESTANTS = {
    "tensorflow": "model.fit, TensorFlow",
    "tensorflow-keras": "Keras' own step, TensorFlow",
    "jax": "model.fit, JAX",
    "jax-keras": "Keras' own step, JAX",
    "torch": "model.fit, PyTorch",
    "torch-keras": "Keras' own step, PyTorch",
    "plain": "plain PyTorch loop",
}
ALLOCATORS = {"kept": TUNABLES, "huge": "glibc.malloc.hugetlb=1", "plain": ""}


def sgemm_times(width: int = FULL, turns: int = 3) -> Times:
    """CPU and wall seconds that NumPy's square float32 product needs for the products of a step."""
    size = width // 2
    call, times = sgemm(size), Times()
    for _ in range(turns):
        for seconds, kept in zip(clocked(call), (times.cpu, times.wall), strict=True):
            kept.append(seconds * flop_of(width) / (2 * size**3))
    return times


def pairs(steps: int, width: int):
    columns = inputs_of(width)
    rng = np.random.default_rng(1)
    n = BATCH * steps
    image = rng.standard_normal((n, columns[0]), "float32")
    text = (rng.random((n, columns[1])) < 0.01).astype("float32")
    labels = (rng.random((n, CLASSES)) < 0.08).astype("float32")
    return image, text, labels


class Clock:
    """CPU and wall seconds a step of each epoch, with the floor before and after."""

    def __init__(self, steps: int, width: int):
        self.steps, self.width, self.times, self.floor = steps, width, Times(), Times()

    def start(self) -> None:
        """Begin an epoch."""
        floor = sgemm_times(self.width)
        self.floor.cpu += floor.cpu
        self.floor.wall += floor.wall
        self.began = time.process_time(), time.perf_counter()

    def stop(self) -> None:
        """End it."""
        self.times.cpu.append((time.process_time() - self.began[0]) / self.steps)
        self.times.wall.append((time.perf_counter() - self.began[1]) / self.steps)


def model_of(width: int, epochs: int, own_step: bool = True):
    """A compiled SCBCH with hidden layers of `width`, which takes no confidence in `epochs`."""
    import keras

    import scbch_keras as sk

    scbch = sk.SCBCH if own_step else type("KerasStep", (sk.SCBCH,), {"train_step": keras.Model.train_step})
    branches = sk.HashBranch(BITS, (width, width)), sk.HashBranch(BITS, (width,))
    model = scbch(BITS, CLASSES, *branches, warmup_epochs=epochs)
    model.compile(keras.optimizers.Adam(1e-4))
    return model


def fit(model, steps: int, width: int, epochs: int, *callbacks) -> None:
    """model.fit on made-up pairs."""
    image, text, labels = pairs(steps, width)
    x = {"image": image, "text": text}
    model.fit(x, labels, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=list(callbacks))


def through_fit(clock: Clock, epochs: int, own_step: bool) -> None:
    """Epochs of model.fit."""
    import keras

    callback = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: clock.start(), on_epoch_end=lambda epoch, logs: clock.stop()
    )
    fit(model_of(clock.width, epochs, own_step), clock.steps, clock.width, epochs, callback)


def plain_loop(clock: Clock, epochs: int) -> None:
    """The same objective and update, written as a PyTorch user writes it: eager Adam, one a branch."""
    import torch
    from torch import nn
    from torch.nn import functional as F  # noqa: N812

    def branch(*widths):
        layers = [part for i, o in itertools.pairwise(widths) for part in (nn.Linear(i, o), nn.ReLU())]
        return nn.Sequential(*layers[:-1])

    torch.manual_seed(0)
    image, text, labels = map(torch.from_numpy, pairs(clock.steps, clock.width))
    width = clock.width
    nets = branch(image.shape[1], width, width, BITS), branch(text.shape[1], width, BITS)
    heads = [nn.Parameter(nn.init.orthogonal_(torch.empty(BITS, CLASSES))) for _ in nets]
    adams = [
        torch.optim.Adam([*net.parameters(), head], lr=1e-4, weight_decay=1e-5)
        for net, head in zip(nets, heads, strict=True)
    ]
    margin, shift, alpha, beta, off = 0.15, 0.8, 0.7, 0.3, 1 - torch.eye(BATCH)
    for _ in range(epochs):
        clock.start()
        for rows in torch.randperm(len(labels)).split(BATCH):
            y = labels[rows]
            codes = [F.normalize(net(x[rows]).tanh()) for net, x in zip(nets, (image, text), strict=True)]
            both = y @ y.T
            similarity = both / (y.sum(1)[:, None] + y.sum(1)[None] - both + 1e-8)
            scores = codes[0] @ codes[1].T
            own = scores.diagonal()
            attraction = ((similarity > 0) * off * (shift - scores).exp()).mean() - own.mean()
            repulsion = sum(
                (torch.where(scores >= own_of - margin, scores, scores - shift) * (1 - similarity))
                .exp()
                .mean()
                for own_of in (own[:, None], own[None])
            )
            entropy = sum(
                F.binary_cross_entropy_with_logits(code @ head, y)
                for code, head in zip(codes, heads, strict=True)
            )
            gap = sum((code - code.sign()).abs().mean() for code in codes)
            for adam in adams:
                adam.zero_grad()
            (entropy / 2 + alpha * (attraction + repulsion) + beta * gap).backward()
            for adam in adams:
                adam.step()
        clock.stop()


def measure(contestant: str, steps: int, epochs: int, width: int) -> dict:
    """Seconds a step and of the floor, the first epoch, which compiles, left out; MiB at the peak."""
    clock = Clock(steps, width)
    if contestant == "plain":
        plain_loop(clock, epochs)
    else:
        through_fit(clock, epochs, own_step=not contestant.endswith("-keras"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    times = {"cpu": clock.times.cpu[1:], "wall": clock.times.wall[1:]}
    return {**times, "floor_cpu": clock.floor.cpu, "floor_wall": clock.floor.wall, "peak": peak}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--allocator", nargs="+", choices=ALLOCATORS, default=["kept"])
    parser.add_argument(
        "--width", type=int, default=FULL, help="of the hidden layers; inputs are in proportion"
    )
    parser.add_argument("--steps", type=int, default=8, help="steps an epoch")
    parser.add_argument("--epochs", type=int, default=4, help="the first compiles and is not counted")
    parser.add_argument("--measure", choices=CONTESTANTS, help=argparse.SUPPRESS)
    add_save(parser)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.steps, args.epochs, args.width)))
        return
    rows = []
    for contestant, allocator in itertools.product(args.only, args.allocator):
        env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "GLIBC_TUNABLES": ALLOCATORS[allocator]}
        if contestant != "plain":
            env["KERAS_BACKEND"] = contestant.removesuffix("-keras")
        command = [sys.executable, "-m", "benchmarks.train_step", "--measure", contestant]
        command += ["--steps", str(args.steps), "--epochs", str(args.epochs), "--width", str(args.width)]
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True)  # noqa: S603
        result = json.loads(done.stdout.splitlines()[-1])
        times, floor = Times(result["cpu"], result["wall"]), Times(result["floor_cpu"], result["floor_wall"])
        row = [
            f"{CONTESTANTS[contestant]}, {allocator}",
            *time_columns(times, floor),
            f"{result['peak']:,.0f}",
        ]
        print(*row, file=sys.stderr, flush=True)
        rows.append(row)
    gflop, counted = flop_of(args.width) / 1e9, args.epochs - 1
    note = f"{gflop:.1f} GFLOP a step, width {args.width}, batch {BATCH}; {counted} epochs of {args.steps} steps."
    show(f"train_step_{args.width}", ["a step", *COLUMNS, "MiB at the peak"], rows, args.save, note)


if __name__ == "__main__":
    main()
