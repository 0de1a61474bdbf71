"""Parts of `benchmarks.beyond`: relevance in degrees and attraction by it; search ranked again by continuous codes."""

import time
from pathlib import Path

import numpy as np

from benchmarks.beyond_trained import row, told
from benchmarks.subset_724 import fitted
from scbch_keras.codes import pack_codes
from scbch_keras.export import HammingIndex
from scbch_keras.labels.posterior import estimate
from scbch_keras.modalities import DIRECTIONS
from scbch_keras.training.data.benchmarks.sets import load_benchmark
from scbch_keras.training.data.pairs import Pairs
from scbch_keras.training.runs.evaluate import GRADED, encode, retrieval_metrics

RATE = 0.5
WIDTH = 256
"""Of the branches: a quarter of the other parts', so that these end in minutes."""


def degrees(folder: Path, seeds: range) -> None:
    """Metrics of relevance in degrees by what weighs attraction, on noisy and on posterior labels."""
    names = ("map", *GRADED)
    row("set", "labels", "attraction by", *names)
    sets = {
        "two attributes": {"num_classes": 12, "learning_rate": 3e-4, "width": 128},
        "subset": {"num_classes": 24, "width": WIDTH, "learning_rate": 3e-4},
    }
    for name, settings in sets.items():
        results: dict[tuple[str, str], list[list[float]]] = {}
        for seed in seeds:
            train, query, database = _loaded(name, folder, seed)
            p = estimate(train.image, train.text, train.labels).probabilities
            for labels, targets in (("noisy", train.labels), ("posterior", p)):
                for by in ("sharing", "similarity"):
                    model = fitted(seed, train.inputs, targets, labels=labels, attraction_by=by, **settings)
                    codes = (
                        {side: pack_codes(values) for side, values in encode(model, part).items()}
                        for part in (query, database)
                    )
                    scores = retrieval_metrics(*codes, query.labels, database.labels, 64, graded=True)
                    means = [
                        float(np.mean([scores[direction][metric] for direction in DIRECTIONS]))
                        for metric in names
                    ]
                    results.setdefault((labels, by), []).append(means)
        for (labels, by), cells in results.items():
            row(name, labels, by, *(f"{value:.3f}" for value in np.mean(cells, axis=0)))
            if by == "similarity":
                differences = np.array(cells) - np.array(results[labels, "sharing"])
                row("", "", "difference", *(told(of_metric, digits=3) for of_metric in differences.T))


def rescored(folder: Path, seeds: range) -> None:
    """MAP of the subset's codes searched by Hamming distance and ranked again, and what a million codes cost."""
    results: dict[str, list[float]] = {}
    for seed in seeds:
        train, query, database = _loaded("subset", folder, seed)
        model = fitted(
            seed,
            train.inputs,
            estimate(train.image, train.text, train.labels).probabilities,
            labels="posterior",
            width=WIDTH,
            learning_rate=3e-4,
        )
        sides = [encode(model, part) for part in (query, database)]
        for candidates in (0, 50, 100, 200, len(database)):
            values = [
                _mean_average_precision(
                    sides[0][asked], sides[1][searched], query.labels, database.labels, candidates
                )
                for asked, searched in DIRECTIONS.values()
            ]
            results.setdefault(f"{candidates or 'no'} candidates", []).append(100 * float(np.mean(values)))
    plain = np.array(results["no candidates"])
    for kind, scores in results.items():
        print(f"{kind:20}{np.mean(scores):6.1f}{told(np.array(scores) - plain):>16}", flush=True)
    rng = np.random.default_rng(0)
    index = HammingIndex(64)
    index.add(pack_codes(rng.standard_normal((10**6, 64))))
    continuous = rng.standard_normal((64, 64))
    packed = pack_codes(continuous)
    for settings in ({}, {"rescore": continuous}, {"rescore": continuous, "candidates": 1000}):
        times = []
        for _ in range(5):
            start = time.perf_counter()
            index.search(packed, 10, **settings)
            times.append(1e3 * (time.perf_counter() - start) / len(packed))
        words = ", ".join(
            "rescored" if name == "rescore" else f"{value} {name}" for name, value in settings.items()
        )
        print(
            f"10 of 1,000,000 codes, {words or 'by Hamming distance':32}{min(times):8.2f} ms a query",
            flush=True,
        )


def _mean_average_precision(query, database, query_labels, database_labels, candidates: int) -> float:
    """mAP@all, equal distances in the order of the database; the first `candidates` ranked again."""
    index = HammingIndex(64)
    index.add(pack_codes(database))
    packed = pack_codes(query)
    order, _ = index.search(packed, len(database))
    if candidates:
        order[:, :candidates], _ = index.search(packed, candidates, rescore=query, candidates=candidates)
    relevant = np.take_along_axis((query_labels @ database_labels.T.astype(int)) > 0, order, axis=1)
    hits = relevant.cumsum(axis=1)
    precision = np.where(relevant, hits / np.arange(1, len(database) + 1), 0).sum(axis=1)
    return float((precision / np.maximum(hits[:, -1], 1))[hits[:, -1] > 0].mean())


def _loaded(name: str, folder: Path, seed: int) -> tuple[Pairs, Pairs, Pairs]:
    """Training set at noise .5, queries and database, of the subset or of samples with two attributes."""
    if name == "subset":
        data = load_benchmark("mirflickr-subset", folder, RATE, seed)
        return data.train, data.query, data.database
    return two_attributes(seed)


def two_attributes(seed: int) -> tuple[Pairs, Pairs, Pairs]:
    """800 made-up samples, each with one of 6 shapes and one of 6 colours: items share two labels, one or none."""
    from scbch_keras.labels.noise import mixed_symmetric

    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 6, (800, 2)) + np.array([0, 6])
    labels = np.zeros((800, 12), np.uint8)
    np.put_along_axis(labels, kinds, 1, axis=1)
    image = labels @ rng.standard_normal((12, 64)) + 1.5 * rng.standard_normal((800, 64))
    text = rng.poisson(0.1 + 0.8 * (labels @ (rng.random((12, 60)) < 0.15))).astype(np.float32)
    ids = np.arange(800).astype(str)

    def part(rows: slice, given: np.ndarray | None = None) -> Pairs:
        return Pairs(
            image[rows].astype(np.float32), text[rows], labels[rows] if given is None else given, ids[rows]
        )

    query, rest = slice(0, 150), slice(150, 800)
    return part(rest, mixed_symmetric(labels[rest], RATE, seed).labels), part(query), part(rest)
