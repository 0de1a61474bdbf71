"""MIRFlickr-25K's real size from disk at full width: seconds an epoch over the floor, and memory.

    python -m benchmarks.from_disk [--data ../shared/reference/mirflickr] [--epochs 3] [--noise 0.5]

20,015 pairs with the real tags and labels and made-up image features (20,015 x 4,096), written under the
community's names; 10,000 of them train. Memory is the process's own at each stage: the data's share is what
opening it adds. The floor is the arithmetic of `benchmarks.train_step` at NumPy's sgemm rate just before. Numbers
of time and memory only: made-up features say nothing about retrieval.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import keras

import scbch_keras as sk
from benchmarks.train_step import BATCH, FLOP, sgemm_rate
from scbch_keras.training.data.benchmarks import load_benchmark
from scbch_keras.training.data.stand_in import write_stand_in


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

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.start
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
        model = sk.SCBCH.for_benchmark("mirflickr", warmup_epochs=args.epochs - 1)
        model.compile(keras.optimizers.Adam(1e-4))
        steps = -(-len(data.train) // BATCH)
        floor = steps * FLOP / sgemm_rate()
        print(
            f"{keras.backend.backend()}: {steps} steps an epoch, floor {floor:.0f} s; the last has a refresh pass"
        )
        model.fit(
            data.train.inputs,
            data.train.labels,
            batch_size=BATCH,
            epochs=args.epochs,
            verbose=0,
            callbacks=[Epochs(floor)],
        )
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB, mapped files included")


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
