"""Noise that no draw of the package makes: labels that give way to certain others, or as a classifier confuses them."""

import numpy as np


def class_conditional(labels: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """In a share of the samples a label gives way to the absent one that is most often beside it."""
    rng = np.random.default_rng(seed)
    counts = labels.sum(axis=0)
    together = labels.T.astype(float) @ labels / np.sqrt(np.maximum(np.outer(counts, counts), 1))
    np.fill_diagonal(together, -1)
    result = labels.copy()
    for row in rng.choice(len(labels), round(rate * len(labels)), replace=False):
        present, absent = np.flatnonzero(labels[row]), np.flatnonzero(labels[row] == 0)
        if len(present) and len(absent):
            lost = rng.choice(present)
            result[row, [lost, absent[together[lost, absent].argmax()]]] = 0, 1
    return result


def feature_dependent(labels: np.ndarray, rate: float, scores: np.ndarray) -> np.ndarray:
    """In the share of samples that a classifier confuses most, its worst confusion becomes the label."""
    present, absent = labels != 0, labels == 0
    lost = np.where(present, scores, np.inf).argmin(axis=1)
    gained = np.where(absent, scores, -np.inf).argmax(axis=1)
    rows = np.arange(len(labels))
    margin = np.where(present.any(axis=1), scores[rows, gained] - scores[rows, lost], -np.inf)
    chosen = np.argsort(-margin, kind="stable")[: round(rate * len(labels))]
    result = labels.copy()
    result[chosen, lost[chosen]], result[chosen, gained[chosen]] = 0, 1
    return result
