"""Parts of `benchmarks.beyond` on noise models: exchanges of certain labels, and labels that people gave."""

from pathlib import Path

import numpy as np

from benchmarks.label_noise import class_conditional
from benchmarks.subset_724 import fit_and_score
from scbch_keras.labels.noise import mixed_symmetric
from scbch_keras.labels.posterior import estimate, propose
from scbch_keras.training.data.benchmarks.sets import load_benchmark
from scbch_keras.training.data.icons.pairs import icon_data
from scbch_keras.training.data.pairs import RetrievalData

CHECKED = 50
TRAINED_WITH = (25, 50, 100, 200)
ICONS = {"num_classes": 18, "width": 256, "learning_rate": 3e-4}


def tags(folder: Path, seeds: range) -> None:
    """The error of what people's tags leave of the labels, with and without checked rows."""
    results: dict[str, list[float]] = {}
    for seed in seeds:
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


def tags_trained(folder: Path, seeds: range) -> None:
    """MAP of training on people's tags: the paper's objective, and posterior labels with checked rows and without."""
    results: dict[str, list[float]] = {}
    for seed in seeds:
        data = load_benchmark("mirflickr-tags", folder, 0.0, seed)
        train, truth = data.train, data.train.clean_labels
        first = estimate(train.image, train.text, train.labels).probabilities
        kinds = {
            "the tags, the paper's objective": (train.labels, {}),
            "posterior labels": (first, {"labels": "posterior"}),
        }
        for count in TRAINED_WITH:
            for by in ("random", "doubtful", "balanced"):
                rows = propose(first, train.labels, count, by, seed=seed).rows
                p = estimate(train.image, train.text, train.labels, checked=(rows, truth[rows])).probabilities
                kinds[f"posterior labels, {count} {by} rows checked"] = (p, {"labels": "posterior"})
                if by == "random":
                    corrected = train.labels.copy()
                    corrected[rows] = truth[rows]
                    kinds[f"the paper's objective, {count} random rows corrected"] = (corrected, {})
        for kind, (targets, settings) in kinds.items():
            score = fit_and_score(
                seed, train.inputs, targets, data.query, data.database, num_classes=21, **settings
            )
            results.setdefault(kind, []).append(100 * score.mean)
    paper = np.array(next(iter(results.values())))
    row("trained on", "mAP", "gain")
    for kind, scores in results.items():
        row(kind, f"{np.mean(scores):.1f}", told(np.array(scores) - paper))


def exchanges(folder: Path, seeds: range) -> None:
    """Squared error x 10,000 by what the count model assumes of exchanges, and how often they were told by class."""
    from benchmarks.beyond import sources

    noises = {
        "class-conditional": lambda labels, seed: class_conditional(labels, 0.5, seed),
        "symmetric": lambda labels, seed: mixed_symmetric(labels, 0.5, seed).labels,
        "none": lambda labels, seed: labels,
    }
    trains = [sources(folder, seed) for seed in seeds]
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
                f"{name:8}{noise:20}{before:8.0f}{even:8.0f}{paired:10.0f}{likelier:10.0f}"
                f"   {by_class} of {len(seeds)}",
                flush=True,
            )


def loaded(name: str, folder: Path, rate: float, seed: int) -> tuple[RetrievalData, dict]:
    """The subset or the icons (regular weight), and the training settings of the set."""
    if name == "icons":
        return icon_data(rate, seed, regular_only=True), ICONS
    return load_benchmark("mirflickr-subset", folder, rate, seed), {}


def told(differences: np.ndarray, digits: int = 1) -> str:
    """Their mean and its standard error, which a single one has not."""
    mean = f"{differences.mean():+.{digits}f}"
    if len(differences) == 1:
        return mean
    return f"{mean} ± {differences.std(ddof=1) / np.sqrt(len(differences)):.{digits}f}"


def gain_columns(scores: list[list[float]]) -> list[str]:
    """The first method's mean over seeds, and of each other one its mean and what it gains."""
    first, *others = np.array(scores).T
    return [
        f"{first.mean():.1f}",
        *(cell for one in others for cell in (f"{one.mean():.1f}", told(one - first))),
    ]


def row(*cells: object) -> None:
    """Print a row of a Markdown table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
