"""Time and peak memory of the retrieval metrics: `python -m benchmarks.retrieval`.

Beside each time stand two ratios from the same run: to the sgemm that any comparison by inner products needs
at least (queries x bits x items), and to a plain peer, mAP by two matrix products and one argsort a query.
Times are the best of `--repeat` rounds, in each of which everything is measured once. Peak memory is that of
numpy's allocations during one call (tracemalloc, in a call of its own, since tracing slows it down).
"""

import argparse
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from scbch_keras.codes import hamming_distance, pack_codes
from scbch_keras.metrics import mean_average_precision, precision_at_n, precision_recall_curve

LABELS_PER_SAMPLE = 3.8  # as in MIRFlickr-25K


def codes_and_labels(
    rows: int, bits: int, classes: int, rng: np.random.Generator, projection: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Codes +-1 (rows, bits) made from labels 0/1 (rows, classes): distances spread as real ones do."""
    labels = (rng.random((rows, classes)) < LABELS_PER_SAMPLE / classes).astype(np.uint8)
    scores = labels @ projection + 2 * rng.standard_normal((rows, bits))
    return np.where(scores > 0, 1, -1).astype(np.float32), labels


def argsort_map(
    query_codes: NDArray[np.float32],
    database_codes: NDArray[np.float32],
    query_labels: NDArray[np.float32],
    database_labels: NDArray[np.float32],
) -> float:
    """The plain way: two matrix products, one argsort a query, the precisions at the relevant ranks."""
    similarity = query_codes @ database_codes.T
    relevant = query_labels @ database_labels.T > 0
    precisions = []
    for row, marks in zip(similarity, relevant, strict=True):
        ranks = np.flatnonzero(marks[np.argsort(-row)]) + 1
        if len(ranks):
            precisions.append((np.arange(1, len(ranks) + 1) / ranks).mean())
    return float(np.mean(precisions))


def peak_megabytes(call: Callable[[], object]) -> float:
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, default in (("queries", 2000), ("items", 18_015), ("bits", 64), ("classes", 24), ("repeat", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    projection = rng.standard_normal((args.classes, args.bits))
    queries, query_labels = codes_and_labels(args.queries, args.bits, args.classes, rng, projection)
    items, item_labels = codes_and_labels(args.items, args.bits, args.classes, rng, projection)
    sets = pack_codes(queries), pack_codes(items), query_labels, item_labels
    floats = queries, items, query_labels.astype(np.float32), item_labels.astype(np.float32)
    ranks = np.linspace(1, args.items, 15).astype(int)

    calls: dict[str, Callable[[], object]] = {
        "sgemm": lambda: queries @ items.T,
        "plain argsort mAP": lambda: argsort_map(*floats),
        "hamming_distance": lambda: hamming_distance(*sets[:2], args.bits),
        "mAP@all": lambda: mean_average_precision(*sets, bits=args.bits),
        "mAP@50": lambda: mean_average_precision(*sets, bits=args.bits, k=50),
        "mAP@all, ties='reference'": lambda: mean_average_precision(*sets, bits=args.bits, ties="reference"),
        "PR curve, every radius": lambda: precision_recall_curve(*sets, bits=args.bits),
        "PR curve, 15 ranks": lambda: precision_recall_curve(*sets, bits=args.bits, ranks=ranks),
        "precision@N, 3 N": lambda: precision_at_n(*sets, bits=args.bits, n=(10, 50, 100)),
    }
    seconds = dict.fromkeys(calls, np.inf)
    for _ in range(args.repeat):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name] = min(seconds[name], time.perf_counter() - start)

    print(f"{args.queries:,} queries x {args.items:,} items, {args.bits} bits, {args.classes} classes")
    print(f"{'':28}{'seconds':>9}{'/ sgemm':>9}{'/ argsort':>11}{'peak MB':>9}")
    for name, call in calls.items():
        print(
            f"{name:28}{seconds[name]:9.3f}{seconds[name] / seconds['sgemm']:9.2f}"
            f"{seconds[name] / seconds['plain argsort mAP']:11.3f}{peak_megabytes(call):9.1f}"
        )
    expected, plain = calls["mAP@all"](), calls["plain argsort mAP"]()
    print(f"mAP@all {expected:.5f}, by one argsort {plain:.5f}")


if __name__ == "__main__":
    main()
