"""How many labels of a sample were dropped and how many added, learned from the data alone. numpy and scipy only.

With y the given labels of a sample, t its true ones, j labels dropped from t and k added to it:
P(y | t) = T[j, k] / (binom(|t|, j) binom(C - |t|, k)). The table T sums to 1. One rate that keeps the number of labels,
separate rates and the exchange of one label for another are special cases that it finds by itself.

Which label gives way to which may be learned too. Where one label was lost and one gained, the pair (c, c') then weighs
Q_cc' in place of 1, Q with mean 1 over the c' other than c; P(y | t) sums to 1 only in the mean over pairs.
"""

from typing import Any, NamedTuple

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
EXCHANGED = np.array([[0.5, 0.01, 0], [0.01, 0.47, 0], [0, 0, 0.01]])
"""Where a table begins that tells exchanges apart: from `START` it ends with labels that were only dropped."""
PRIOR_EXCHANGES, FOLDS, FOLD_STEPS = 5.0, 8, 6


class Expectation(NamedTuple):
    """What the posterior of all samples under a table expects."""

    probabilities: NDArray[np.float64]
    """(n, C), of each label."""
    cells: NDArray[np.float64]
    """(dropped + 1, added + 1), samples in each cell of the table."""
    exchanged: NDArray[np.float64]
    """(C, C), samples in which c alone was lost and c' alone gained; zeros where Q is not given."""
    log_likelihood: float
    """Of the given labels, summed over the samples."""


class Fitted(NamedTuple):
    """Probabilities with the table and Q that they come from."""

    probabilities: NDArray[np.float64]
    table: NDArray[np.float64]
    exchanges: NDArray[np.float64] | None = None
    """(C, C), Q; None: all pairs alike."""


def fit_table(
    fit: NoiseFit,
    labels: NDArray[Any],
    block_size: int,
    table: NDArray[np.float64] | None = None,
    known: tuple[NDArray[np.bool_], NDArray[Any]] | None = None,
    exchanges: bool = False,
) -> Fitted:
    """Expectation maximisation: the table and the posterior in turns with the curves, which are fitted anew.

    Args:
        fit: curves to begin with; they are changed.
        labels: (n, C), 0/1 as given.
        block_size: rows at a time.
        table: where it is known and is not to be learned.
        known: (n,), bool, rows whose true labels are known, and (n, C), these; other rows of it are not looked at.
        exchanges: whether Q is learned with the table.

    Returns:
        (n, C), the probability of each label; the table, (dropped + 1, added + 1); and Q.
    """
    learned, eta, probabilities = table is None, fit.clean_probability(), labels.astype(np.float64)
    table = (EXCHANGED if exchanges else START) if table is None else table
    pairs = _other_labels(labels.shape[1]) if exchanges else None
    for number in range(ROUNDS):
        if number:
            fit.refit(probabilities, CURVE_STEPS)
            eta = fit.clean_probability()
        for step in range((STEPS if number else FIRST_STEPS) if learned else 0):
            expected = table_posterior(eta, labels, table, block_size, pairs)
            cells = expected.cells
            table = _pruned(cells, len(labels)) if number or step >= UNPRUNED_STEPS else cells / cells.sum()
            if pairs is not None and (number or step >= STEPS):
                pairs = _exchanges(expected.exchanged)
        probabilities = table_posterior(eta, labels, table, block_size, pairs).probabilities
        if known is not None:
            probabilities[known[0]] = known[1][known[0]]
    return Fitted(probabilities, table, pairs)


def fit_likelier(even: NoiseFit, by_class: NoiseFit, labels: NDArray[Any], block_size: int) -> Fitted:
    """`fit_table` from the curves `even` without Q, and from `by_class` with it -> the likelier of the two.

    By the likelihood of labels that Q did not see: it is estimated anew without each of `FOLDS` parts of the samples,
    for these; curves and table stay.
    """
    alike = fit_table(even, labels, block_size)
    paired = fit_table(by_class, labels, block_size, exchanges=True)
    if not paired.table[1, 1]:
        return alike
    likelihood = table_posterior(even.clean_probability(), labels, alike.table, block_size).log_likelihood
    eta, held_out = by_class.clean_probability(), 0.0
    for part in np.array_split(np.random.default_rng(0).permutation(len(labels)), FOLDS):
        rest = np.setdiff1d(np.arange(len(labels)), part)
        pairs = _other_labels(labels.shape[1])
        for _ in range(FOLD_STEPS):
            pairs = _exchanges(
                table_posterior(eta[rest], labels[rest], paired.table, block_size, pairs).exchanged
            )
        held_out += table_posterior(eta[part], labels[part], paired.table, block_size, pairs).log_likelihood
    return paired if held_out > likelihood else alike


def table_posterior(
    eta: NDArray[np.float64],
    labels: NDArray[Any],
    table: NDArray[np.float64],
    block_size: int,
    exchanges: NDArray[np.float64] | None = None,
) -> Expectation:
    """The exact posterior of every label under a table.

    Args:
        eta: (n, C), in [0, 1]: the probability of each label before its given value is looked at.
        labels: (n, C), 0/1 as given.
        table: (dropped + 1, added + 1), sums to 1; [0, 0] above 0.
        block_size: rows at a time.
        exchanges: (C, C), Q; None: all pairs alike.
    """
    weights = _weights(labels.shape[1], table)
    result, cells = np.empty(eta.shape), np.zeros(table.shape)
    exchanged, likelihood = np.zeros((labels.shape[1],) * 2), 0.0
    for start in range(0, len(labels), block_size):
        rows = slice(start, start + block_size)
        block = _block_posterior(eta[rows], labels[rows] != 0, weights, exchanges)
        result[rows] = block.probabilities
        cells += block.cells
        exchanged += block.exchanged
        likelihood += block.log_likelihood
    return Expectation(result, cells, exchanged, likelihood)


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
    eta: NDArray[np.float64],
    present: NDArray[np.bool_],
    weights: NDArray[np.float64],
    exchanges: NDArray[np.float64] | None,
) -> Expectation:
    eta = np.clip(eta, 1e-6, 1 - 1e-6)
    odds = eta / (1 - eta)
    added, dropped = np.where(present, 1 / odds, 0), np.where(present, 0, odds)
    most_dropped, most_added = (size - 1 for size in weights.shape[1:])
    all_added, other_added = _symmetric(added, most_added)
    all_dropped, other_dropped = _symmetric(dropped, most_dropped)
    own = weights[present.sum(axis=1)]
    cells = own * all_dropped.T[:, :, None] * all_added.T[:, None, :]
    if exchanges is not None:
        one_for_one = own[:, 1, 1].copy()
        gone = dropped @ exchanges
        cells[:, 1, 1] = one_for_one * (gone * added).sum(axis=1)
        own[:, 1, 1] = 0
    total = cells.sum(axis=(1, 2))
    by_added = np.einsum("njk,jn->kn", own, all_dropped)[1:] / total
    by_dropped = np.einsum("njk,kn->jn", own, all_added)[1:] / total
    was_added = added * np.einsum("kn,knc->nc", by_added, other_added[:most_added])
    was_dropped = dropped * np.einsum("jn,jnc->nc", by_dropped, other_dropped[:most_dropped])
    exchanged = np.zeros((eta.shape[1],) * 2)
    if exchanges is not None:
        scale = (one_for_one / total)[:, None]
        was_added += scale * added * gone
        was_dropped += scale * dropped * (added @ exchanges.T)
        exchanged = exchanges * ((scale * dropped).T @ added)
    posterior = np.clip(np.where(present, 1 - was_added, was_dropped), 0, 1)
    likelihood = (np.log(total) + np.log(np.where(present, eta, 1 - eta)).sum(axis=1)).sum()
    return Expectation(posterior, (cells / total[:, None, None]).sum(axis=0), exchanged, float(likelihood))


def _other_labels(classes: int) -> NDArray[np.float64]:
    """Q where all pairs are alike."""
    return 1 - np.eye(classes)


def _exchanges(expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Q of the expected exchanges, with a few of all kinds added; its rows have mean 1 off the diagonal."""
    others = len(expected) - 1
    weights = (expected + PRIOR_EXCHANGES / max(others, 1)) * _other_labels(len(expected))
    return weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-300) * others


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
