"""CPU time and memory of the confidence pass over a training set, over the product of its codes.

    KERAS_BACKEND=torch python -m benchmarks.confidence [--samples 10000] [--bits 64] [--save]
    KERAS_BACKEND=torch python -m benchmarks.confidence --samples 1000000 --clusters

The floor is the one product of both codes beside each other with all of them, 4 N^2 bits FLOP, in blocks, by NumPy; the
peer the same weights with the whole N x N similarity in memory (up to 20,000 samples). Memory is the growth of the
process' peak. --clusters: by clusters, once, beside the exact weights of 1,000 of the samples; the codes are then
of 2,000 clusters with noise, as those of a trained model, and random ones without --clusters.
"""

import argparse
import logging
import resource
from collections.abc import Callable

import numpy as np

from benchmarks.measure import COLUMNS, add_save, clocked, in_turns, show, time_columns

BLOCK = 1024
CHECKED = 1000
MOST_AT_ONCE = 20_000


def plain(image, text, labels, k=20, gamma=0.5):
    similarity = (image @ image.T + text @ text.T) / 2
    np.fill_diagonal(similarity, 0)
    near = np.argpartition(similarity, -k, axis=1)[:, -k:]
    score = np.take_along_axis(similarity, near, axis=1)
    return weights(score, labels[near], labels, gamma)


def weights(score, near_labels, labels, gamma=0.5):
    soft = np.einsum("nk,nkc->nc", score, near_labels) / (score.sum(axis=1, keepdims=True) + 1e-8)
    norms = np.linalg.norm(labels, axis=1) * np.linalg.norm(soft, axis=1)
    return gamma + (1 - gamma) * (labels * soft).sum(axis=1) / np.maximum(norms, 1e-8)


def peak() -> float:
    """MiB of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def products(both) -> Callable[[], object]:
    def multiply() -> None:
        for start in range(0, len(both), BLOCK):
            for column in range(0, len(both), 4 * BLOCK):
                both[start : start + BLOCK] @ both[column : column + 4 * BLOCK].T

    return multiply


def made(samples: int, bits: int, clusters: int | None):
    rng = np.random.default_rng(0)
    codes = []
    member = rng.integers(0, clusters or 1, samples)
    for _ in range(2):
        values = rng.standard_normal((samples, bits), "float32")
        if clusters:
            values *= 0.7
            values += rng.standard_normal((clusters, bits), "float32")[member]
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        codes.append(values)
    labels = (rng.random((clusters or samples, 24), "float32") < 0.08).astype("float32")
    labels = labels[member] if clusters else labels
    wrong = rng.random(samples) < 0.3
    labels[wrong] = (rng.random((wrong.sum(), 24), "float32") < 0.08).astype("float32")
    return *codes, labels


def exactly(image, text, labels, rows, k=20):
    """Exact weights of some rows."""
    similarity = (image[rows] @ image.T + text[rows] @ text.T) / 2
    similarity[np.arange(len(rows)), rows] = 0
    near = np.argpartition(similarity, -k, axis=1)[:, -k:]
    return weights(np.take_along_axis(similarity, near, 1), labels[near], labels[rows])


def by_clusters(samples: int, bits: int) -> None:
    from scbch_keras import confidence_weights

    image, text, labels = made(samples, bits, 2000)
    before = peak()
    results = []
    cpu, wall = clocked(lambda: results.append(confidence_weights(image, text, labels).weights))
    grown = peak() - before
    some = np.linspace(0, samples - 1, CHECKED).astype(int)
    exact = np.concatenate([exactly(image, text, labels, rows) for rows in np.array_split(some, 50)])
    correlation = np.corrcoef(exact, results[0][some])[0, 1]
    print(
        f"{samples:,} samples, {bits} bits: {cpu:.0f} CPU s, {wall:.0f} s, {grown:.0f} MiB beyond the inputs, "
        f"{peak():.0f} MiB in all; "
        f"correlation of weights with the exact ones of {CHECKED:,} samples {correlation:.4f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument(
        "--clusters", action="store_true", help="by clusters, beside the exact weights of some"
    )
    add_save(parser)
    args = parser.parse_args()
    import keras

    from scbch_keras import confidence_weights

    logging.basicConfig(format="%(message)s")
    if args.clusters:
        by_clusters(args.samples, args.bits)
        return
    image, text, labels = made(args.samples, args.bits, None)
    few = [values[:2048] for values in (image, text, labels)]
    confidence_weights(*few)
    before = peak()
    ours = confidence_weights(image, text, labels, exact_up_to=args.samples).weights
    memory = {"confidence_weights": peak() - before}
    calls = {
        "confidence_weights": lambda: (
            confidence_weights(image, text, labels, exact_up_to=args.samples).weights
        )
    }
    if args.samples <= MOST_AT_ONCE:
        calls["N x N in memory"] = lambda: plain(image, text, labels)
        before = peak()
        difference = np.abs(ours - plain(image, text, labels)).max()
        memory["N x N in memory"] = peak() - before
    both = np.concatenate([image, text], axis=1)
    results = in_turns(calls, products(both), args.turns)
    backend = keras.backend.backend()
    title = f"{args.samples:,} samples, {args.bits} bits, {backend}"
    rows = [[name, *time_columns(results[name], results["floor"]), f"{memory[name]:.0f}"] for name in calls]
    note = f"Floor {min(results['floor'].cpu):.2f} CPU s: the product of the codes."
    if args.samples <= MOST_AT_ONCE:
        note += f" Largest difference of a weight {difference:.1e}."
    show(
        f"confidence_{backend}_{args.samples}",
        [title, *COLUMNS, "MiB more at the peak"],
        rows,
        args.save,
        note,
    )


if __name__ == "__main__":
    main()
