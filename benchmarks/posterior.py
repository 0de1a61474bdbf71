"""Time and memory of the posterior of labels.

    python -m benchmarks.posterior [--samples 20000 100000] [--columns 5000] [--save]

Made-up features, four fifths of the columns an image's and one fifth words, with 24 labels of which half of the samples
have wrong ones. Each size has a process of its own. The floor is the products that ridge regression needs once, in
float32 at NumPy's sgemm rate: features times features, and each sample's leverage, 4 n columns^2 FLOP. Memory is the
growth of the process' peak beyond the features.
"""

import argparse
import json
import resource
import subprocess
import sys

import numpy as np

from benchmarks.measure import COLUMNS, Times, add_save, clocked, sgemm, show, time_columns

CLASSES = 24
SIZE = 2048


def measure(samples: int, columns: int) -> dict:
    """CPU and wall seconds of the estimate, those of an sgemm, and MiB."""
    from scbch_keras.labels.noise import mixed_symmetric
    from scbch_keras.labels.posterior import estimate

    rng = np.random.default_rng(0)
    words = columns // 5
    labels = (rng.random((samples, CLASSES)) < 0.08).astype("uint8")
    image = np.empty((samples, columns - words), "float32")
    direction = rng.standard_normal((CLASSES, columns - words), "float32")
    for start in range(0, samples, 1024):
        part = labels[start : start + 1024]
        image[start : start + 1024] = part @ direction + 3 * rng.standard_normal(
            (len(part), columns - words), "float32"
        )
    text = (rng.random((samples, words), "float32") < 0.01).astype("float32")
    text[:, :CLASSES] += labels
    noisy = mixed_symmetric(labels, 0.5, 0).labels
    product = sgemm(SIZE)
    floor = [clocked(product) for _ in range(3)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, wall = clocked(lambda: estimate(image, text, noisy, "independent"))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    floor += [clocked(product) for _ in range(3)]
    return {"cpu": cpu, "wall": wall, "floor": floor, "grown": grown}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--columns", type=int, default=5000)
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    add_save(parser)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.columns)))
        return
    rows = []
    for samples in args.samples:
        command = [sys.executable, "-m", "benchmarks.posterior", "--measure", str(samples)]
        command += ["--columns", str(args.columns)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603
        result = json.loads(done.stdout.splitlines()[-1])
        share = 4 * samples * args.columns**2 / (2 * SIZE**3)
        floor = Times(
            *(
                list(part)
                for part in zip(*([s * share for s in pair] for pair in result["floor"]), strict=True)
            )
        )
        times = Times([result["cpu"]], [result["wall"]])
        rows.append([f"{samples:,} samples", *time_columns(times, floor), f"{result['grown']:.0f}"])
        print(*rows[-1], file=sys.stderr, flush=True)
    show(
        "posterior", [f"{args.columns:,} columns, once", *COLUMNS, "MiB beyond the features"], rows, args.save
    )


if __name__ == "__main__":
    main()
