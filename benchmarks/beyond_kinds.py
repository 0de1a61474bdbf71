"""Parts of `benchmarks.beyond` that train: noise models, kinds of noise and lengths of codes, each beside the paper."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.beyond_trained import CHECKED, gain_columns, loaded, row, told
from benchmarks.label_noise import class_conditional, feature_dependent
from benchmarks.subset_724 import RATES, fit_and_score
from scbch_keras.labels.noise import additive, subtractive
from scbch_keras.labels.posterior import estimate, leave_one_out
from scbch_keras.training.data.pairs import Pairs

MODELS: tuple[dict, ...] = ({"noise_model": "independent"}, {"noise_model": "count"})
COUNT = MODELS[1:]


def gains(
    seed: int,
    train: Pairs,
    labels: np.ndarray,
    query: Pairs,
    database: Pairs,
    assumptions: Sequence[dict] = MODELS,
    **settings,
) -> list[float]:
    """MAP in percent of the paper's objective on the labels, and of the posterior by each set of assumptions."""

    def score(targets: np.ndarray, **more) -> float:
        return 100 * fit_and_score(seed, train.inputs, targets, query, database, **settings, **more).mean

    estimated = (estimate(train.image, train.text, labels, **one).probabilities for one in assumptions)
    return [score(labels), *(score(p, labels="posterior") for p in estimated)]


def models(folder: Path, seeds: range) -> None:
    """Both objectives, and of two noise models which probabilities are better to train on."""
    row("set", "noise", "SCBCH", "`independent`", "`count`", "gain of `count`", "over `independent`")
    for name, rate in itertools.product(("subset", "icons"), RATES):
        results = []
        for seed in seeds:
            data, settings = loaded(name, folder, rate, seed)
            train = data.train
            results.append(gains(seed, train, train.labels, data.query, data.database, **settings))
        paper, independent, count = np.array(results).T
        means = (f"{cells.mean():.1f}" for cells in (paper, independent, count))
        row(name, rate, *means, told(count - paper), told(count - independent))


def kinds(folder: Path, seeds: range) -> None:
    """Both objectives at noise .5 of the kinds that are not mixed symmetric, and what can be known beside the data."""
    row("set", "noise", "SCBCH", "`count`", "gain", "knowing more", "gain")
    for name in ("subset", "icons"):
        results: dict[str, list[list[float]]] = {}
        for seed in seeds:
            data, settings = loaded(name, folder, 0.0, seed)
            train, true = data.train, data.train.labels
            scores, _ = leave_one_out(train.image, train.text, true)
            noisy = {
                "only dropped": subtractive(true, 0.5, seed).labels,
                "only added": additive(true, 0.5, seed).labels,
                "class-conditional": class_conditional(true, 0.5, seed),
                "feature-dependent": feature_dependent(true, 0.5, scores),
            }
            for kind, labels in noisy.items():
                assumptions = list(COUNT)
                if kind == "class-conditional":
                    assumptions.append({"exchanges": "by_class"})
                elif kind == "feature-dependent":
                    rows = np.random.default_rng(seed).choice(len(true), CHECKED, replace=False)
                    assumptions.append({"checked": (rows, true[rows])})
                cells = gains(seed, train, labels, data.query, data.database, assumptions, **settings)
                results.setdefault(kind, []).append(cells)
        for kind, cells in results.items():
            columns = gain_columns(cells)
            row(name, kind, *columns, *[""] * (5 - len(columns)))


def lengths(folder: Path, seeds: range) -> None:
    """Both objectives at noise .8 with short and with long codes."""
    row("set", "bits", "SCBCH", "`count`", "gain")
    for name in ("subset", "icons"):
        for bits in (16, 32, 128):
            results = []
            for seed in seeds:
                data, settings = loaded(name, folder, 0.8, seed)
                train = data.train
                settings = {**settings, "bits": bits}
                results.append(gains(seed, train, train.labels, data.query, data.database, COUNT, **settings))
            row(name, bits, *gain_columns(results))
