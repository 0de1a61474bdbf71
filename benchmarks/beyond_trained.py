"""Parts of `benchmarks.beyond` on noise models: exchanges of certain labels, and labels that people gave."""

from pathlib import Path

import numpy as np

from benchmarks.subset_724 import fit_and_score
from scbch_keras.labels.noise import mixed_symmetric
from scbch_keras.labels.posterior import estimate, propose
from scbch_keras.training.data.benchmarks.sets import load_benchmark
from scbch_keras.training.data.icons.pairs import icon_data
from scbch_keras.training.data.pairs import RetrievalData

CHECKED = 50
ICONS = {"num_classes": 18, "width": 256, "learning_rate": 3e-4}


def models(folder: Path, seeds: int) -> None:
    """Both objectives, and of two noise models which probabilities are better to train on."""
    for name, rate in (("subset", 0.8), ("icons", 0.8), ("icons", 0.5), ("subset", 0.5)):
        results = []
        for seed in range(seeds):
            data, settings = loaded(name, folder, rate, seed)
            train, query, database = data.train, data.query, data.database
            cells = [100 * fit_and_score(seed, train.inputs, train.labels, query, database, **settings).mean]
            for model in ("independent", "count"):
                p = estimate(train.image, train.text, train.labels, model).probabilities
                score = fit_and_score(seed, train.inputs, p, query, database, labels="posterior", **settings)
                cells.append(100 * score.mean)
            results.append(cells)
        paper, independent, count = np.array(results).T
        print(
            f"{name:8}{rate:5}{paper.mean():8.1f}{independent.mean():8.1f}{count.mean():8.1f}   independent over paper "
            f"{told(independent - paper)}, count over paper {told(count - paper)}, over independent "
            f"{told(count - independent)}",
            flush=True,
        )


def tags(folder: Path, seeds: int) -> None:
    """The error of what people's tags leave of the labels, with and without checked rows."""
    results: dict[str, list[float]] = {}
    for seed in range(seeds):
        train = load_benchmark("mirflickr-tags", folder, 0.0, seed).train
        image, text, labels, truth = train.image, train.text, train.labels, train.clean_labels
        first = estimate(image, text, labels).probabilities
        chosen = {
            by: propose(first, labels, CHECKED, by, seed=seed).rows
            for by in ("random", "doubtful", "balanced")
        }
        kinds: dict[str, dict] = {
            "independent": {"noise_model": "independent"},
            "independent, separate": {"noise_model": "independent", "separate_rates": True},
            "count": {},
        }
        for model in ("independent", "count"):
            for by, rows in chosen.items():
                kinds[f"{model}, {by} rows"] = {"noise_model": model, "checked": (rows, truth[rows])}
        others = np.setdiff1d(np.arange(len(labels)), np.concatenate(list(chosen.values())))
        found = {"the tags": labels.astype(float)}
        for kind, settings in kinds.items():
            found[kind] = estimate(image, text, labels, **settings).probabilities
        for kind, p in found.items():
            results.setdefault(kind, []).append(1e4 * np.square(p - truth)[others].mean())
    for kind, errors in results.items():
        print(f"{kind:28}{np.mean(errors):6.0f}")


def tags_trained(folder: Path, seeds: int) -> None:
    """MAP of training on people's tags: the paper's objective, and posterior labels with checked rows and without."""
    results: dict[str, list[float]] = {}
    for seed in range(seeds):
        data = load_benchmark("mirflickr-tags", folder, 0.0, seed)
        train, truth = data.train, data.train.clean_labels
        rows = propose(train.labels, train.labels, CHECKED, seed=seed).rows
        corrected = train.labels.copy()
        corrected[rows] = truth[rows]
        posteriors = {
            "posterior": estimate(train.image, train.text, train.labels),
            "posterior, checked rows": estimate(
                train.image, train.text, train.labels, checked=(rows, truth[rows])
            ),
        }
        kinds = {"the tags": (train.labels, {}), "the tags, checked rows corrected": (corrected, {})}
        kinds |= {name: (one.probabilities, {"labels": "posterior"}) for name, one in posteriors.items()}
        for kind, (targets, settings) in kinds.items():
            score = fit_and_score(
                seed, train.inputs, targets, data.query, data.database, num_classes=21, **settings
            )
            results.setdefault(kind, []).append(100 * score.mean)
    paper = np.array(results["the tags"])
    for kind, scores in results.items():
        print(f"{kind:34}{np.mean(scores):6.1f}{told(np.array(scores) - paper):>16}", flush=True)


def exchanges(folder: Path, seeds: int) -> None:
    """Squared error x 10,000 by what the count model assumes of exchanges, and how often they were told by class."""
    from benchmarks.beyond import class_conditional, sources

    noises = {
        "class-conditional": lambda labels, seed: class_conditional(labels, 0.5, seed),
        "symmetric": lambda labels, seed: mixed_symmetric(labels, 0.5, seed).labels,
        "none": lambda labels, seed: labels,
    }
    trains = [sources(folder, seed) for seed in range(seeds)]
    print(f"{'':28}{'labels':>8}{'even':>8}{'by_class':>10}{'likelier':>10}   by class")
    for name in trains[0]:
        for noise, corrupt in noises.items():
            errors, by_class = [], 0
            for seed, train in enumerate(trains):
                pairs = train[name]
                labels = corrupt(pairs.labels, seed)
                found = [
                    estimate(pairs.image, pairs.text, labels, exchanges=kind)
                    for kind in ("even", "by_class", "likelier")
                ]
                by_class += found[-1].exchanges is not None
                guesses = [labels, *(one.probabilities for one in found)]
                errors.append([1e4 * np.square(p - pairs.labels * 1.0).mean() for p in guesses])
            before, even, paired, likelier = np.mean(errors, axis=0)
            print(
                f"{name:8}{noise:20}{before:8.0f}{even:8.0f}{paired:10.0f}{likelier:10.0f}   {by_class} of {seeds}",
                flush=True,
            )


def loaded(name: str, folder: Path, rate: float, seed: int) -> tuple[RetrievalData, dict]:
    """The subset or the icons (regular weight), and the training settings of the set."""
    if name == "icons":
        return icon_data(rate, seed, regular_only=True), ICONS
    return load_benchmark("mirflickr-subset", folder, rate, seed), {}


def told(differences: np.ndarray) -> str:
    """Their mean and its standard error."""
    return f"{differences.mean():+.1f} +- {differences.std(ddof=1) / np.sqrt(len(differences)):.1f}"
