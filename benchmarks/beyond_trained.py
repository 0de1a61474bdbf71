"""Parts of `benchmarks.beyond` that compare by training: noise models, and labels that people gave."""

from pathlib import Path

import numpy as np

from benchmarks.subset_724 import fit_and_score
from scbch_keras.labels.posterior import estimate
from scbch_keras.training.data.benchmarks.sets import load_benchmark
from scbch_keras.training.data.icons.pairs import icon_data
from scbch_keras.training.data.pairs import RetrievalData

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
                score = fit_and_score(
                    seed, train.inputs, p, query, database, labels="posterior", **settings
                )
                cells.append(100 * score.mean)
            results.append(cells)
        paper, independent, count = np.array(results).T
        print(
            f"{name:8}{rate:5}{paper.mean():8.1f}{independent.mean():8.1f}{count.mean():8.1f}   independent over paper "
            f"{told(independent - paper)}, count over paper {told(count - paper)}, over independent "
            f"{told(count - independent)}",
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
