"""What corrections of labels are worth: audit, look at k samples, correct them, train.

    KERAS_BACKEND=torch nice -n 19 python -m benchmarks.label_loop [icons] [tags] [--data ../shared/reference/mirflickr]
        [--seeds 2] [--untrained]

`icons`: 1,211 training icons (regular weight, pixels), half of the samples with one label exchanged. `tags`: the tags
of MIRFlickr as labels of 21 concepts, 600 training pairs of the subset; most of the true labels are missing. An oracle,
the true labels, corrects all labels of the first k samples in the order of the audit (`posterior.estimate`,
`audit_by_posterior`), or of k drawn at random; `audit after 50`: the first 50 are drawn at random, and the audit of the
rest is estimated with these (`checked`). Then the paper's objective is trained on what the labels are now. Printed: mAP
in percent, the mean of both directions and of the seeds, on queries and a database with true labels; in brackets how
many labels the k samples changed; and the k, by a straight line between those that were trained, that brings half of
what correcting everything brings. `--untrained`: the percentage of all labels 0/1 that are right, in place of mAP.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.subset_724 import fit_and_score
from scbch_keras.labels.posterior import estimate
from scbch_keras.labels.posterior_audit import audit_by_posterior
from scbch_keras.training.data.benchmarks.sets import load_benchmark
from scbch_keras.training.data.icons.pairs import icon_data
from scbch_keras.training.data.pairs import Pairs

STEPS = (0, 50, 100, 200, 400, 800)
CHECKED = 50


class Case(NamedTuple):
    """Training pairs with wrong labels and the true ones, and what is searched."""

    train: Pairs
    true: NDArray[np.uint8]
    query: Pairs
    database: Pairs
    settings: dict[str, Any]


def icons(folder: Path, seed: int) -> Case:
    data = icon_data(0.5, seed, regular_only=True)
    true = np.asarray(data.train.clean_labels)
    settings = {"num_classes": 18, "width": 256, "learning_rate": 3e-4}
    return Case(data.train, true, data.query, data.database, settings)


def tags(folder: Path, seed: int) -> Case:
    data = load_benchmark("mirflickr-tags", folder, 0.0, seed)
    true = np.asarray(data.train.clean_labels)
    return Case(data.train, true, data.query, data.database, {"num_classes": true.shape[1]})


def order_of(name: str, case: Case, seed: int) -> NDArray[np.int64]:
    """Rows in the order in which they are looked at."""
    train = case.train
    drawn = np.random.default_rng(seed).permutation(len(train))
    if name == "random":
        return drawn
    first = drawn[: CHECKED if name.startswith("audit after") else 0]
    labels = train.labels.copy()
    labels[first] = case.true[first]
    checked = (first, case.true[first]) if len(first) else None
    # What the checked rows were given is what the rates are counted on.
    posterior = estimate(train.image, train.text, train.labels, checked=checked)
    names = [str(number) for number in range(labels.shape[1])]
    ranked = audit_by_posterior(train.ids, labels, posterior, names).suspects(None)
    return np.concatenate([first, ranked[~np.isin(ranked, first)]])


def curve(
    case: Case, order: NDArray[np.int64], steps: list[int], seed: int, untrained: bool
) -> Iterator[tuple[float, int]]:
    """MAP, or the share of labels that are right, after each number of corrected samples; labels that changed."""
    for step in steps:
        labels = case.train.labels.copy()
        labels[order[:step]] = case.true[order[:step]]
        if untrained:
            score = (labels == case.true).mean()
        else:
            inputs = case.train.inputs
            score = fit_and_score(seed, inputs, labels, case.query, case.database, **case.settings).mean
        yield 100 * score, int((labels != case.train.labels).sum())


def half(steps: list[int], scores: NDArray[np.float64]) -> float:
    """Samples to correct for half of the whole gain; nan where there is none."""
    wanted = (scores[0] + scores[-1]) / 2
    above = np.flatnonzero(scores >= wanted)
    if scores[-1] <= scores[0] or not len(above):
        return float("nan")
    place = int(above[0])
    low, high = scores[place - 1], scores[place]
    return steps[place - 1] + (wanted - low) / (high - low) * (steps[place] - steps[place - 1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=["icons", "tags"])
    parser.add_argument("--data", type=Path, default=Path("../shared/reference/mirflickr"))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--untrained", action="store_true", help="labels that are right, in place of mAP")
    arguments = parser.parse_args()
    for part in arguments.parts or ["icons", "tags"]:
        cases = [
            {"icons": icons, "tags": tags}[part](arguments.data, seed) for seed in range(arguments.seeds)
        ]
        rows = len(cases[0].train)
        steps = [*(step for step in STEPS if step < rows), rows]
        print(
            f"{part}: samples corrected{''.join(f'{step:>13,}' for step in steps)}   half of the gain",
            flush=True,
        )
        ends: dict[int, tuple[tuple[float, int], ...]] = {}
        # Rates that are counted on checked rows are for labels that were mostly dropped.
        orders = ("audit", "random", *((f"audit after {CHECKED}",) if part == "tags" else ()))
        for name in orders:
            curves = []
            for seed, case in enumerate(cases):
                order = order_of(name, case, seed)
                if seed not in ends:  # nothing and everything is the same in any order
                    ends[seed] = tuple(curve(case, order, [0, rows], seed, arguments.untrained))
                between = list(curve(case, order, steps[1:-1], seed, arguments.untrained))
                curves.append([ends[seed][0], *between, ends[seed][1]])
            means = np.mean(curves, axis=0)
            told = "".join(f"{score:7.1f} ({changed:4.0f})" for score, changed in means)
            print(f"{name:24}{told}   {half(steps, means[:, 0]):6.0f} of {rows:,}", flush=True)


if __name__ == "__main__":
    main()
