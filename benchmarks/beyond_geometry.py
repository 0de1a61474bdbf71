"""A part of `benchmarks.beyond`: what better inputs and another objective would gain over posterior labels.

Ranking by the probability of sharing a label, without codes, finds more than the codes do. `rows` feeds the branches
with the rows that the posterior's regression takes, times 16, in place of the features as they are. `logistic` takes
the place of attraction and repulsion, between the modalities and inside each: the cross-entropy of sigmoid(4 (S - .3))
against the probability of sharing.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.beyond_trained import loaded, row, told
from benchmarks.subset_724 import fit_and_score
from scbch_keras.labels.posterior import estimate
from scbch_keras.training.data.pairs import Pairs

RATE = 0.8
WIDTH = 256
SCALE = 16.0
SLOPE, OFFSET = 4.0, 0.3


def regression_rows(train: Pairs, *sets: Pairs) -> list[Pairs]:
    """Sets with features as the posterior's regression takes them, by the means and frequencies of `train`."""

    def root(values: np.ndarray) -> np.ndarray:
        return np.sign(values) * np.sqrt(np.abs(values))

    def unit(values: np.ndarray) -> np.ndarray:
        scaled = SCALE * values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
        return scaled.astype(np.float32)

    mean = root(train.image[:]).mean(axis=0)
    frequency = np.log((1 + len(train)) / (1 + (train.text[:] > 0).sum(axis=0))) + 1
    return [
        replace(pairs, image=unit(root(pairs.image[:]) - mean), text=unit(pairs.text[:] * frequency))
        for pairs in sets
    ]


def logistic() -> type:
    """SCBCH with the logistic objective in place of attraction and repulsion."""
    from keras import ops

    from scbch_keras import SCBCH
    from scbch_keras.losses import sharing_probability

    class Logistic(SCBCH):
        def objective(self, x, labels, outputs, sample_weight, training):
            terms = super().objective(x, labels, outputs, sample_weight, training)
            sharing = sharing_probability(labels)
            image, text = outputs["image"], outputs["text"]
            logits = [
                SLOPE * (ops.matmul(first, ops.transpose(second)) - OFFSET)
                for first, second in ((image, text), (image, image), (text, text))
            ]
            wrong = sum(ops.mean(ops.softplus(each) - sharing * each) for each in logits)
            # Under a name that the logs know; the terms that it takes the place of keep theirs, with weight 0.
            terms = {
                name: (0.0 if name in ("repulsion", "intra_modal") else weight, value)
                for name, (weight, value) in terms.items()
            }
            return {**terms, "attraction": (1.0, wrong)}

    return Logistic


def geometry(folder: Path, seeds: range) -> None:
    """MAP of posterior labels by inputs and objective, at noise .8, with branches of 256 units and Adam at 3e-4."""
    kinds = {"posterior labels": {}, "logistic": {"method": logistic()}}
    row("set", "trained on", "mAP", "difference")
    for name in ("subset", "icons"):
        results: dict[str, list[float]] = {}
        for seed in seeds:
            data, settings = loaded(name, folder, RATE, seed)
            settings = {**settings, "width": WIDTH, "learning_rate": 3e-4, "labels": "posterior"}
            p = estimate(data.train.image, data.train.text, data.train.labels).probabilities
            plain = data.train, data.query, data.database
            for inputs, sets in {"": plain, ", rows": regression_rows(data.train, *plain)}.items():
                train, query, database = sets
                for kind, more in kinds.items():
                    score = fit_and_score(seed, train.inputs, p, query, database, **settings, **more)
                    results.setdefault(kind + inputs, []).append(100 * score.mean)
        first = np.array(results["posterior labels"])
        for kind, scores in results.items():
            row(name, kind, f"{np.mean(scores):.1f}", told(np.array(scores) - first))
