"""Seconds a training step at the paper's sizes, over the least time its arithmetic needs.

    python -m benchmarks.train_step [--steps 8] [--only tensorflow jax torch plain] [--small-pages]

Each contestant runs in a process of its own: `model.fit` on each backend, the same with Keras' own train_step
(no skipped updates, no L2, no fused Adam), and a plain PyTorch loop of the same objective with eager Adam. A step
writes gigabytes of fresh memory, so that the kernel's 4 KB pages cost a third of it: the processes run with
GLIBC_TUNABLES=glibc.malloc.hugetlb=1, as any training on a CPU should; --small-pages leaves it out.

The floor is 75.4 GFLOP (forward, and backward to weights and activations, of 4096-8192-8192-64 and 1386-8192-64 at
batch 128) at the sgemm rate of NumPy, measured in the same process just before and just after. Absolute times mean
nothing across machines or minutes; the ratio does.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np

BATCH, IMAGE, TEXT, WIDTH, BITS, CLASSES = 128, 4096, 1386, 8192, 64, 24
# Two flops a weight a sample, three products a layer, but no gradient to the input features.
LAYERS = ((IMAGE, WIDTH, 2), (WIDTH, WIDTH, 3), (WIDTH, BITS, 3), (TEXT, WIDTH, 2), (WIDTH, BITS, 3))
FLOP = sum(2 * BATCH * inputs * units * products for inputs, units, products in LAYERS)
CONTESTANTS = {
    "tensorflow": "model.fit, TensorFlow",
    "tensorflow-keras": "Keras' own step, TensorFlow",
    "jax": "model.fit, JAX",
    "jax-keras": "Keras' own step, JAX",
    "torch": "model.fit, PyTorch",
    "torch-keras": "Keras' own step, PyTorch",
    "plain": "plain PyTorch loop",
}
HUGE_PAGES = "glibc.malloc.hugetlb=1"


def sgemm_rate(size: int = 4096) -> float:
    """FLOP a second of a square float32 product, the best of five."""
    a = np.random.default_rng(0).standard_normal((size, size), "float32")
    times = []
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def pairs(steps: int):
    rng = np.random.default_rng(1)
    n = BATCH * steps
    image = rng.standard_normal((n, IMAGE), "float32")
    text = (rng.random((n, TEXT)) < 0.01).astype("float32")
    labels = (rng.random((n, CLASSES)) < 0.08).astype("float32")
    return image, text, labels


def through_fit(steps: int, epochs: int, own_step: bool) -> list[float]:
    """Seconds a step in each epoch of model.fit, the first (which compiles) left out."""
    import keras

    import scbch_keras as sk

    class Clock(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.seconds: list[float] = []

        def on_epoch_begin(self, epoch, logs=None):
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            self.seconds.append((time.perf_counter() - self.start) / steps)

    clock = Clock()
    image, text, labels = pairs(steps)
    scbch = sk.SCBCH if own_step else type("KerasStep", (sk.SCBCH,), {"train_step": keras.Model.train_step})
    model = scbch(bits=BITS, num_classes=CLASSES, warmup_epochs=epochs)
    model.compile(keras.optimizers.Adam(1e-4))
    model.fit(
        {"image": image, "text": text}, labels, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[clock]
    )
    return clock.seconds[1:]


def plain_loop(steps: int, epochs: int) -> list[float]:
    """The same objective and update, written as a PyTorch user writes it: eager Adam, one a branch."""
    import torch
    from torch import nn
    from torch.nn import functional as F  # noqa: N812

    def branch(*widths):
        layers = [part for i, o in itertools.pairwise(widths) for part in (nn.Linear(i, o), nn.ReLU())]
        return nn.Sequential(*layers[:-1])

    torch.manual_seed(0)
    image, text, labels = map(torch.from_numpy, pairs(steps))
    nets = branch(IMAGE, WIDTH, WIDTH, BITS), branch(TEXT, WIDTH, BITS)
    heads = [nn.Parameter(nn.init.orthogonal_(torch.empty(BITS, CLASSES))) for _ in nets]
    adams = [
        torch.optim.Adam([*net.parameters(), head], lr=1e-4, weight_decay=1e-5)
        for net, head in zip(nets, heads, strict=True)
    ]
    margin, shift, alpha, beta, off = 0.15, 0.8, 0.7, 0.3, 1 - torch.eye(BATCH)
    seconds = []
    for _ in range(epochs):
        start = time.perf_counter()
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
        seconds.append((time.perf_counter() - start) / steps)
    return seconds[1:]


def measure(contestant: str, steps: int, epochs: int) -> dict:
    before = sgemm_rate()
    if contestant == "plain":
        epoch_seconds = plain_loop(steps, epochs)
    else:
        epoch_seconds = through_fit(steps, epochs, own_step=not contestant.endswith("-keras"))
    seconds = statistics.median(epoch_seconds)
    after = sgemm_rate()
    rate = (before + after) / 2
    return {"seconds": seconds, "before": before, "after": after, "ratio": seconds / (FLOP / rate)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--steps", type=int, default=8, help="steps an epoch")
    parser.add_argument("--epochs", type=int, default=4, help="the first compiles and is not counted")
    parser.add_argument("--small-pages", action="store_true", help="leave the memory pages as they are")
    parser.add_argument("--measure", choices=CONTESTANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.steps, args.epochs)))
        return
    print(
        f"{FLOP / 1e9:.1f} GFLOP a step, batch {BATCH}, median of {args.epochs - 1} epochs of {args.steps} steps"
    )
    print(f"{'':28}{'s/step':>8}{'sgemm GFLOP/s':>20}{'ratio to the floor':>20}")
    for contestant in args.only:
        env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        if not args.small_pages:
            env["GLIBC_TUNABLES"] = HUGE_PAGES
        if contestant != "plain":
            env["KERAS_BACKEND"] = contestant.removesuffix("-keras")
        command = [sys.executable, "-m", "benchmarks.train_step", "--measure", contestant]
        command += ["--steps", str(args.steps), "--epochs", str(args.epochs)]
        result = json.loads(subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True).stdout)  # noqa: S603
        rates = f"{result['before'] / 1e9:.0f} / {result['after'] / 1e9:.0f}"
        print(
            f"{CONTESTANTS[contestant]:28}{result['seconds']:8.3f}{rates:>20}{result['ratio']:20.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
