"""CPU seconds of an epoch with evaluation and confidence weights, over the arithmetic that it needs once.

    python -m benchmarks.epoch [--width 4096] [--training 2560] [--epochs 5] [--save]

Epochs in which rows that train and stand in the database are encoded once (A) and in which the evaluation and the
confidence weights encode them each for itself (B), in turns A B A B in one process. The floor is, at the CPU rate of
NumPy's sgemm between any two epochs: the products of the steps, and those of the codes of queries and database, whose
first rows are the training set. Sizes have MIRFlickr-25K's proportions, 2,000 queries and a database of 18,015 to
10,000 that train; --width 8192 --training 10000 is its real size. The process has the allocator of `scbch train`;
--small-pages leaves it as it is.
"""

import argparse
import os
import subprocess
import sys
import time
from typing import Any

import keras
import numpy as np

import scbch_keras as sk
from benchmarks.measure import COLUMNS, Times, add_save, clocked, sgemm, show, time_columns
from scbch_keras.training.cli.process import TUNABLES

BITS, CLASSES, BATCH = 64, 24, 128
SIZE = 2048


class InTurns(sk.RetrievalMetrics):
    """Shares codes in every second epoch, and takes the time from one epoch's first step to the next one's."""

    def __init__(self, *sets: Any) -> None:
        super().__init__(*sets)
        self.times = {name: Times() for name in ("once", "each for itself", "sgemm")}
        self.floor = sgemm(SIZE)

    def on_train_begin(self, logs: Any = None) -> None:
        super().on_train_begin(logs)
        self.rows, self.start = self._samples, None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        # The confidence weights are there: `fit` makes them in a callback that runs first.
        if epoch > 1:
            self._store("once" if epoch % 2 else "each for itself", self.clock())
        for _ in range(3):
            self._store("sgemm", clocked(self.floor))
        self._samples = self.rows if (epoch + 1) % 2 else None
        self.clock = self._clock()

    def _clock(self) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        return lambda: (time.process_time() - cpu, time.perf_counter() - wall)

    def _store(self, name: str, clocked: tuple[float, float]) -> None:
        self.times[name].cpu.append(clocked[0])
        self.times[name].wall.append(clocked[1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--training", type=int, default=2560)
    parser.add_argument("--epochs", type=int, default=6, help="the first two are not counted")
    parser.add_argument("--small-pages", action="store_true")
    add_save(parser)
    args = parser.parse_args()
    if not args.small_pages and os.environ.get("GLIBC_TUNABLES") != TUNABLES:
        command = [sys.executable, "-m", "benchmarks.epoch", *sys.argv[1:]]
        env = {**os.environ, "GLIBC_TUNABLES": TUNABLES}
        sys.exit(subprocess.run(command, env=env, check=False).returncode)  # noqa: S603
    image, text = args.width // 2, 693 * args.width // 4096
    queries, database = args.training // 5, args.training * 18_015 // 10_000
    rng = np.random.default_rng(0)
    size = queries + database
    x = {
        "image": rng.standard_normal((size, image), "float32"),
        "text": (rng.random((size, text)) < 0.01).astype("float32"),
    }
    labels = (rng.random((size, CLASSES)) < 0.08).astype("float32")
    parts = slice(queries), slice(queries, size)
    metrics = InTurns(*(({name: values[part] for name, values in x.items()}, labels[part]) for part in parts))
    branches = {"image": (args.width, args.width), "text": (args.width,)}
    layers = [
        (inputs, outputs, 2 if place == 0 else 3)
        for name, units in branches.items()
        for place, (inputs, outputs) in enumerate(
            zip((x[name].shape[1], *units), (*units, BITS), strict=True)
        )
    ]
    step = 2 * args.training * sum(inputs * outputs * products for inputs, outputs, products in layers)
    codes = 2 * size * sum(inputs * outputs for inputs, outputs, _ in layers)
    model = sk.SCBCH(
        BITS,
        CLASSES,
        *(sk.HashBranch(BITS, units, name=f"{name}_branch") for name, units in branches.items()),
        warmup_epochs=0,
    )
    model.compile(keras.optimizers.Adam(1e-4))
    train = slice(queries, queries + args.training)
    own = {name: values[train] for name, values in x.items()}
    model.fit(own, labels[train], batch_size=BATCH, epochs=args.epochs + 1, verbose=0, callbacks=[metrics])
    share = (step + codes) / (2 * SIZE**3)
    sgemms = metrics.times.pop("sgemm")
    floor = Times([share * cpu for cpu in sgemms.cpu], [share * wall for wall in sgemms.wall])
    rows = [[name, *time_columns(times, floor)] for name, times in metrics.times.items()]
    title = f"epoch, width {args.width}, {args.training:,} training pairs, {keras.backend.backend()}"
    note = f"Floor {min(floor.cpu):.1f} CPU s: {step / 1e9:,.0f} GFLOP of steps, {codes / 1e9:,.0f} of codes."
    show(f"epoch_{keras.backend.backend()}", [title, *COLUMNS], rows, args.save, note)


if __name__ == "__main__":
    main()
