"""MIRFlickr-25K's real size from disk at full width: seconds an epoch over the floor, and memory.

    python -m benchmarks.from_disk [--data ../shared/reference/mirflickr] [--epochs 3] [--noise 0.5]

20,015 pairs with the real tags and labels and made-up image features (20,015 x 4,096), written under the
community's names; 10,000 of them train. Memory is the process's own at each stage: the data's share is what
opening it adds. The floor is the arithmetic of `benchmarks.train_step` at NumPy's sgemm rate just before. Numbers
of time and memory only: made-up features say nothing about retrieval.

After it, the posterior of all 20,015 pairs' labels is timed, and an epoch on posterior labels, which has no refresh
pass, beside the last one.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

import scbch_keras as sk
from benchmarks.stand_in import write_stand_in
from benchmarks.train_step import BATCH, sgemm_times
from scbch_keras.labels.noise import mixed_symmetric
from scbch_keras.labels.posterior import estimate
from scbch_keras.training.data.benchmarks.sets import load_benchmark
from scbch_keras.training.data.pairs import Pairs


def resident() -> float:
    """MiB of memory that the process holds, without the pages of mapped files."""
    with Path("/proc/self/status").open() as status:
        fields = dict(line.split(":", 1) for line in status)
    return int(fields["RssAnon"].split()[0]) / 1024


class Epochs(keras.callbacks.Callback):
    """Prints each epoch's time over the floor."""

    def __init__(self, floor: float):
        super().__init__()
        self.floor = floor
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.start
        self.seconds.append(seconds)
        print(
            f"epoch {epoch + 1}: {seconds:.0f} s, {seconds / self.floor:.2f} of the floor; {resident():,.0f} MiB",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/reference/mirflickr"))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--noise", type=float, default=0.5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        labels, text = _published(args.data)
        write_stand_in("mirflickr", folder, labels, text, seed=0)
        for file in args.data.glob("mirflickr25k-lall-noise_*.h5"):
            (folder / file.name).write_bytes(file.read_bytes())
        load_benchmark("mirflickr", folder, args.noise)  # the first time copies into the cache
        before = resident()
        data = load_benchmark("mirflickr", folder, args.noise)
        print(f"{data.title}: {data.notes['noise']}; opening it adds {resident() - before:,.0f} MiB")
        steps = -(-len(data.train) // BATCH)
        floor = steps * min(sgemm_times().wall)
        print(
            f"{keras.backend.backend()}: {steps} steps an epoch, floor {floor:.0f} s; the last has a refresh pass"
        )
        epoch = train(data.train, data.train.labels, args.epochs, floor, warmup_epochs=args.epochs - 1)
        print(f"peak {peak():,.0f} MiB, mapped files included")

        start = time.perf_counter()
        everything = [
            np.concatenate([getattr(part, name) for part in (data.query, data.database)])
            for name in ("image", "text", "labels")
        ]
        noisy = mixed_symmetric(everything.pop(), args.noise, 0).labels
        estimate(*everything, noisy, "independent")
        seconds = time.perf_counter() - start
        share = seconds / (seconds + 50 * epoch)
        print(
            f"posterior of {len(noisy):,} pairs: {seconds:.0f} s, {share:.1%} of a training of 50 such epochs"
        )
        del everything
        found = estimate(data.train.image, data.train.text, data.train.labels, "independent")
        on_posterior = train(data.train, found.probabilities, 2, floor, labels="posterior")
        print(f"an epoch on posterior labels: {on_posterior / epoch:.2f} of one with a refresh pass")


def train(pairs: Pairs, targets: np.ndarray, epochs: int, floor: float, **settings) -> float:
    """Seconds of the last epoch."""
    model = sk.SCBCH.for_benchmark("mirflickr", **settings)
    model.compile(keras.optimizers.Adam(1e-4))
    watch = Epochs(floor)
    model.fit(pairs.inputs, targets, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[watch])
    return watch.seconds[-1]


def peak() -> float:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _published(folder: Path):
    from scipy.io import loadmat

    if not (folder / "mirflickr25k-lall.mat").is_file():
        raise SystemExit(f"{folder} holds no mirflickr25k-lall.mat; name its folder with --data")
    return (
        loadmat(folder / "mirflickr25k-lall.mat")["LAll"],
        loadmat(folder / "mirflickr25k-yall.mat")["YAll"],
    )


if __name__ == "__main__":
    main()
