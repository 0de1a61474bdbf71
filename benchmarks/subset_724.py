"""Retrieval on 724 real MIRFlickr pairs beside the authors' code: five seeds, four noise rates, each backend.

    python -m benchmarks.subset_724 [--data ../shared/reference/mirflickr] [--backends tensorflow jax torch]
    python -m benchmarks.subset_724 --backends torch --precisions float32 bf16

64 bits, hidden width 1024, 50 epochs, Adam 1e-4 with coupled L2 1e-5, batch 128, margin .15, shift .8; image
features over their global root mean square. Seed s: the first 124 rows of numpy.random.default_rng(s)'s
permutation are queries, the other 600 training set and database, whose labels get mixed symmetric noise. mAP@all
with expected ties against clean labels. It is a subset with image features of its own, not MIRFlickr-25K.

Several precisions: below them, what each after the first changes, in points of mAP by the same seed.
"""

import argparse
import csv
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks import kept
from scbch_keras.modalities import DIRECTIONS
from scbch_keras.training.runs.named import PRECISIONS

RATES = (0.0, 0.2, 0.5, 0.8)
SEEDS = range(5)


def train_and_evaluate(folder: Path, rate: float, seed: int) -> dict[str, float]:
    from scbch_keras.training.data.benchmarks.sets import load_benchmark

    data = load_benchmark("mirflickr-subset", folder, rate, seed)
    return fit_and_score(seed, data.train.inputs, data.train.labels, data.query, data.database)._asdict()


def fitted(
    seed: int,
    inputs: dict,
    targets: np.ndarray,
    *,
    method=None,
    width: int = 1024,
    bits: int = 64,
    learning_rate: float = 1e-4,
    **settings,
):
    """The model after a training of `method` (SCBCH)."""
    import keras

    import scbch_keras as sk

    keras.utils.clear_session()  # what TensorFlow keeps of the training before
    keras.utils.set_random_seed(seed)
    model = (method or sk.SCBCH).for_benchmark(
        "mirflickr",
        bits,
        image_branch=sk.HashBranch(bits, (width, width)),
        text_branch=sk.HashBranch(bits, (width,)),
        **settings,
    )
    model.compile(keras.optimizers.Adam(learning_rate))
    model.fit(inputs, targets, batch_size=128, epochs=50, verbose=0)
    return model


def fit_and_score(
    seed: int, inputs: dict, targets: np.ndarray, query, database, *, bits: int = 64, **settings
):
    """`CrossModalMAP` of the `fitted` model; query and database are `Pairs` with clean labels."""
    import scbch_keras as sk
    from scbch_keras.training.runs.evaluate import encode

    def train() -> dict[str, float]:
        model = fitted(seed, inputs, targets, bits=bits, **settings)
        codes = (
            {name: sk.pack_codes(values) for name, values in encode(model, part).items()}
            for part in (query, database)
        )
        return sk.metrics.cross_modal_map(*codes, query.labels, database.labels, bits=bits)._asdict()

    sides = [[pairs.image[:], pairs.text[:], pairs.labels] for pairs in (query, database)]
    key = (seed, [inputs["image"][:], inputs["text"][:], targets], *sides, bits, settings)
    return sk.metrics.CrossModalMAP(**kept.score(train, *key))


def reference(folder: Path) -> dict[tuple[float, str], np.ndarray]:
    """The authors' code's mAP of the five seeds, by rate and direction."""
    with (folder / "subset_724_reference_results.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        (rate, direction): np.array(
            [float(row[f"{direction}_map"]) for row in rows if float(row["noise_rate"]) == rate]
        )
        for rate in RATES
        for direction in DIRECTIONS
    }


def in_process(backend: str, precision: str, folder: Path) -> list[dict]:
    command = [sys.executable, "-m", "benchmarks.subset_724", "--data", str(folder), "--measure"]
    command += ["--precisions", precision]
    env = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        cells = []
        for line in process.stdout:
            cells.append(json.loads(line))
            print(
                f"\r{backend}: {len(cells)} of {len(RATES) * len(SEEDS)}", end="", file=sys.stderr, flush=True
            )
        print(file=sys.stderr)
    if process.returncode:
        raise SystemExit(f"the {backend} run failed")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/reference/mirflickr"))
    parser.add_argument("--backends", nargs="+", default=["tensorflow", "jax", "torch"])
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=["float32"])
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not (args.data / "mirflickr_subset_724.npz").is_file():
        raise SystemExit(f"{args.data} holds no mirflickr_subset_724.npz; name its folder with --data")
    if args.measure:
        import keras

        keras.config.set_dtype_policy(PRECISIONS[args.precisions[0]])
        for rate in RATES:
            for seed in SEEDS:
                cell = train_and_evaluate(args.data, rate, seed)
                print(json.dumps({"rate": rate, "seed": seed, **cell}), flush=True)
        return

    authors = reference(args.data)
    print("mean mAP of five seeds (difference to the authors' code in standard errors of the difference)")
    print(f"{'':16}" + "".join(f"{rate:>12} {direction}" for rate in RATES for direction in DIRECTIONS))
    means = "".join(f"{authors[rate, d].mean():16.4f}" for rate in RATES for d in DIRECTIONS)
    print(f"{'authors':16}{means}")
    within = True
    measured: dict[tuple[str, str], list[dict]] = {}
    for backend, precision in itertools.product(args.backends, args.precisions):
        start = time.perf_counter()
        cells = measured[backend, precision] = in_process(backend, precision, args.data)
        name = backend if len(args.precisions) == 1 else f"{backend} {precision}"
        line = f"{name:16}"
        for rate in RATES:
            for direction in DIRECTIONS:
                ours = np.array([cell[direction] for cell in cells if cell["rate"] == rate])
                theirs = authors[rate, direction]
                error = np.sqrt((ours.var(ddof=1) + theirs.var(ddof=1)) / len(ours))
                sigmas = (ours.mean() - theirs.mean()) / error
                within &= abs(sigmas) <= 2
                line += f"{ours.mean():9.4f} ({sigmas:+.1f})"
        print(f"{line}   {time.perf_counter() - start:.0f} s", flush=True)
    for (backend, precision), cells in measured.items():
        before = measured[backend, args.precisions[0]]
        if before is not cells:
            print(f"{backend}: points that {precision} changes, mean ± standard error of the seeds")
            for rate, direction in itertools.product(RATES, DIRECTIONS):
                pairs = zip(cells, before, strict=True)
                changes = np.array(
                    [100 * (a[direction] - b[direction]) for a, b in pairs if a["rate"] == rate]
                )
                error = changes.std(ddof=1) / np.sqrt(len(changes))
                print(f"  rate {rate} {direction}: {changes.mean():+.2f} ± {error:.2f}")
    print(
        "every mean within two standard errors" if within else "NOT every mean is within two standard errors"
    )


if __name__ == "__main__":
    main()
