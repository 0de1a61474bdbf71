"""How many labels of a sample were dropped and how many added, learned from the data alone. numpy and scipy only.

With y the given labels of a sample, t its true ones, j labels dropped from t and k added to it:
P(y | t) = T[j, k] / (binom(|t|, j) binom(C - |t|, k)). The table T sums to 1. One rate that keeps the number of labels,
separate rates and the exchange of one label for another are special cases that it finds by itself.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.labels.curves import NoiseFit

START = np.array([[9.0, 1, 1], [1, 1, 1], [1, 1, 1]]) / 17
ROUNDS, FIRST_STEPS, STEPS, UNPRUNED_STEPS = 8, 15, 5, 8
PRUNED = 0.01
"""This share of the samples is taken from every cell but [0, 0]: it is what leaves clean labels untouched."""
CURVE_STEPS, CURVE_TOLERANCE = 60, 1e-10
MOST = 16
"""Labels dropped or added that a table tells apart; more count as so many."""
_PSEUDOCOUNT = 0.02


def fit_table(
    fit: NoiseFit,
    labels: NDArray[Any],
    block_size: int,
    table: NDArray[np.float64] | None = None,
    known: tuple[NDArray[np.bool_], NDArray[Any]] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Expectation maximisation: the table and the posterior in turns with the curves, which are fitted anew.

    Args:
        fit: curves to begin with; they are changed.
        labels: (n, C), 0/1 as given.
        block_size: rows at a time.
        table: where it is known and is not to be learned.
        known: (n,), bool, rows whose true labels are known, and (n, C), these; other rows of it are not looked at.

    Returns:
        (n, C), the probability of each label; and the table, (dropped + 1, added + 1).
    """
    learned, eta, probabilities = table is None, fit.clean_probability(), labels.astype(np.float64)
    table = START if table is None else table
    for number in range(ROUNDS):
        if number:
            fit.refit(probabilities, CURVE_STEPS)
            eta = fit.clean_probability()
        for step in range((STEPS if number else FIRST_STEPS) if learned else 0):
            _, cells = table_posterior(eta, labels, table, block_size)
            table = _pruned(cells, len(labels)) if number or step >= UNPRUNED_STEPS else cells / cells.sum()
        probabilities, _ = table_posterior(eta, labels, table, block_size)
        if known is not None:
            probabilities[known[0]] = known[1][known[0]]
    return probabilities, table


def table_posterior(
    eta: NDArray[np.float64], labels: NDArray[Any], table: NDArray[np.float64], block_size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The exact posterior of every label under a table.

    Args:
        eta: (n, C), in [0, 1]: the probability of each label before its given value is looked at.
        labels: (n, C), 0/1 as given.
        table: (dropped + 1, added + 1), sums to 1; [0, 0] above 0.
        block_size: rows at a time.

    Returns:
        (n, C), the probability of each label; and the expected number of samples in each cell of the table.
    """
    weights = _weights(labels.shape[1], table)
    result, cells = np.empty(eta.shape), np.zeros(table.shape)
    for start in range(0, len(labels), block_size):
        rows = slice(start, start + block_size)
        result[rows], counted = _block_posterior(eta[rows], labels[rows] != 0, weights)
        cells += counted
    return result, cells


def counted_table(noisy: NDArray[Any], true: NDArray[Any]) -> NDArray[np.float64]:
    """The table of samples (m, C) whose true labels are known too: at least 3 x 3, no cell of it empty."""
    noisy, true = noisy != 0, true != 0
    dropped, added = (
        np.minimum((one & ~other).sum(axis=1), MOST) for one, other in ((true, noisy), (noisy, true))
    )
    table = np.full((max(3, dropped.max() + 1), max(3, added.max() + 1)), _PSEUDOCOUNT)
    np.add.at(table, (dropped, added), 1)
    return table / table.sum()


def _pruned(cells: NDArray[np.float64], samples: int) -> NDArray[np.float64]:
    kept = np.maximum(cells - PRUNED * samples, 0)
    kept[0, 0] = max(cells[0, 0], 1e-3 * samples)
    return kept / kept.sum()


def _weights(classes: int, table: NDArray[np.float64]) -> NDArray[np.float64]:
    """W_jk of a sample with so many given labels: (C + 1, dropped + 1, added + 1), 0 where it cannot be."""
    from scipy.special import comb

    present = np.arange(classes + 1)[:, None, None]
    dropped, added = np.arange(table.shape[0])[:, None], np.arange(table.shape[1])
    true = present - added + dropped
    ways = comb(true, dropped) * comb(classes - true, added)
    possible = (true >= 0) & (true <= classes) & (ways > 0)
    return np.where(possible, table / np.where(possible, ways, 1), 0)


def _block_posterior(
    eta: NDArray[np.float64], present: NDArray[np.bool_], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    eta = np.clip(eta, 1e-6, 1 - 1e-6)
    odds = eta / (1 - eta)
    added, dropped = np.where(present, 1 / odds, 0), np.where(present, 0, odds)
    most_dropped, most_added = (size - 1 for size in weights.shape[1:])
    all_added, other_added = _symmetric(added, most_added)
    all_dropped, other_dropped = _symmetric(dropped, most_dropped)
    own = weights[present.sum(axis=1)]
    cells = own * all_dropped.T[:, :, None] * all_added.T[:, None, :]
    total = cells.sum(axis=(1, 2))
    by_added = np.einsum("njk,jn->kn", own, all_dropped)[1:] / total
    by_dropped = np.einsum("njk,kn->jn", own, all_added)[1:] / total
    was_added = added * np.einsum("kn,knc->nc", by_added, other_added[:most_added])
    was_dropped = dropped * np.einsum("jn,jnc->nc", by_dropped, other_dropped[:most_dropped])
    posterior = np.clip(np.where(present, 1 - was_added, was_dropped), 0, 1)
    return posterior, (cells / total[:, None, None]).sum(axis=0)


def _symmetric(values: NDArray[np.float64], degree: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Elementary symmetric polynomials of each row (n, C), of all and of all but one.

    From the products of (1 + v x) before and after each column. Dividing a column out of the product of all would
    cancel catastrophically.

    Returns:
        (degree + 1, n), of all columns; (degree + 1, n, C), without each column.
    """
    n, classes = values.shape
    before = np.zeros((classes + 1, degree + 1, n))
    after = np.zeros((classes + 1, degree + 1, n))
    before[0, 0] = after[classes, 0] = 1
    for c in range(classes):
        before[c + 1] = before[c]
        before[c + 1, 1:] += before[c, :-1] * values[:, c]
    for c in reversed(range(classes)):
        after[c] = after[c + 1]
        after[c, 1:] += after[c + 1, :-1] * values[:, c]
    without = np.zeros((degree + 1, n, classes))
    for m in range(degree + 1):
        for i in range(m + 1):
            without[m] += (before[:-1, i] * after[1:, m - i]).T
    return before[classes], without
