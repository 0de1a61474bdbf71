"""CPU time and peak memory of the retrieval metrics: `python -m benchmarks.retrieval [--save]`.

The floor is the sgemm that any comparison by inner products needs at least (queries x bits x items); the peer mAP by
two matrix products and one argsort a query. "every metric" is what `scbch train` computes at its end, both directions.
Peak memory is that of numpy's allocations during one call (tracemalloc, in a call of its own, since tracing slows it
down). --large compares 10,000 queries with 1,000,000 items once, and prints the growth of the process' memory.
"""

import argparse
import resource
import tracemalloc
from collections.abc import Callable
from importlib.util import find_spec
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import COLUMNS, add_save, clocked, in_turns, show, time_columns
from scbch_keras.codes import pack_codes
from scbch_keras.metrics import comparison, mean_average_precision, precision_recall_curve
from scbch_keras.training.runs.evaluate import retrieval_metrics

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


def uncompiled(call: Callable[[], object]) -> Callable[[], object]:
    """The call as it is without numba."""

    def plain() -> object:
        with mock.patch.object(comparison, "_COMPILED_PAIRS", np.inf):
            return call()

    return plain


def large(bits: int, classes: int) -> None:
    rng = np.random.default_rng(0)
    sets = [np.packbits(rng.random((n, bits), "float32") < 0.5, axis=1) for n in (10_000, 1_000_000)]
    labels = [(rng.random((len(codes), classes), "float32") < LABELS_PER_SAMPLE / classes) for codes in sets]
    query, database = ({"image": codes, "text": codes} for codes in sets)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, wall = clocked(lambda: retrieval_metrics(query, database, *labels, bits))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(
        f"10,000 x 1,000,000, every metric, both directions: {cpu:.1f} CPU s, {wall:.1f} s; {grown / 1024:.0f} MiB "
        f"beyond the {before / 1024:.0f} MiB of the process with its codes and labels"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, default in (("queries", 2000), ("items", 18_015), ("bits", 64), ("classes", 24), ("turns", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--large", action="store_true", help="only 10,000 x 1,000,000")
    add_save(parser)
    args = parser.parse_args()
    if args.large:
        large(args.bits, args.classes)
        return

    rng = np.random.default_rng(0)
    projection = rng.standard_normal((args.classes, args.bits))
    queries, query_labels = codes_and_labels(args.queries, args.bits, args.classes, rng, projection)
    items, item_labels = codes_and_labels(args.items, args.bits, args.classes, rng, projection)
    sets = pack_codes(queries), pack_codes(items), query_labels, item_labels
    both = {"image": sets[0], "text": sets[0][::-1]}, {"image": sets[1], "text": sets[1]}
    floats = queries, items, query_labels.astype(np.float32), item_labels.astype(np.float32)
    ranks = np.linspace(1, args.items, 15).astype(int)

    measured: dict[str, Callable[[], object]] = {
        "mAP@all": lambda: mean_average_precision(*sets, bits=args.bits),
        "mAP@all, ties='reference'": lambda: mean_average_precision(*sets, bits=args.bits, ties="reference"),
        "PR curve, 15 ranks": lambda: precision_recall_curve(*sets, bits=args.bits, ranks=ranks),
        "every metric, both directions": lambda: retrieval_metrics(
            *both, query_labels, item_labels, args.bits
        ),
    }
    calls: dict[str, Callable[[], object]] = {"plain argsort mAP": lambda: argsort_map(*floats)}
    calls |= {f"{name}, NumPy": uncompiled(call) for name, call in measured.items()}
    if find_spec("numba"):
        calls |= {f"{name}, numba": call for name, call in measured.items()}
    results = in_turns(calls, lambda: queries @ items.T, args.turns)
    title = f"{args.queries:,} x {args.items:,}, {args.bits} bits, {args.classes} classes"
    rows = [
        [name, *time_columns(results[name], results["floor"]), f"{peak_megabytes(call):.0f}"]
        for name, call in calls.items()
    ]
    floor = f"Floor {min(results['floor'].cpu):.3f} CPU s: the product of the codes."
    expected, plain = measured["mAP@all"](), calls["plain argsort mAP"]()
    note = f"{floor} mAP@all {expected:.5f}, by one argsort {plain:.5f}."
    show("retrieval", [title, *COLUMNS, "peak MB"], rows, args.save, note)


if __name__ == "__main__":
    main()
