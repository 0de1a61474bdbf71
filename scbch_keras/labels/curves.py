"""Curves from scores to probabilities, and two noise models whose rates are fitted with them. numpy and scipy only."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_RATE, MAX_RATE = 0.001, 0.98


class NoiseFit:
    """eta = sigmoid(alpha_c + sum_k b^k_c Z^k), and the rates a and d, by maximum likelihood of the given labels.

    Args:
        scores: (K, n, C), K scores a label; Z are these, standardised.
        labels: (n, C), 0/1 as given, or soft targets.
        separate: whether a and d are found apart; else both follow from one rate that keeps the number of labels.
        rates: a and d, where they are known and are not to be found.
        true_rows: (n,), bool: rows whose labels are true, to which no rate applies.
        steps: L-BFGS iterations at most.
        tolerance: change of the loss and largest slope at which they end; None: the defaults of scipy.
    """

    def __init__(
        self,
        scores: NDArray[np.float32],
        labels: NDArray[Any],
        separate: bool = False,
        rates: tuple[float, float] | None = None,
        true_rows: NDArray[np.bool_] | None = None,
        steps: int = 500,
        tolerance: float | None = None,
    ):
        self.labels = labels.astype(np.float64)
        spread = scores.std(axis=1, keepdims=True, dtype=np.float64)
        centred = (scores - scores.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-9)
        # Of a modality that is the same in all rows, what is left of the mean is rounding alone.
        self.standardised = np.where(spread > 1e-9, centred, 0)
        self.classes = labels.shape[1]
        # Expected labels a sample; kept away from the ends, where a rate would have nothing to divide by.
        cardinality = float(np.clip(self.labels.sum(axis=1).mean(), 0.05, self.classes - 0.05))
        self.per_label = np.array([1 / (self.classes - cardinality), 1 / cardinality])
        self.separate = separate
        self.rates = rates
        self.applies = 1.0 if true_rows is None else (~true_rows[:, None]).astype(np.float64)
        share = np.clip(self.labels.mean(axis=0), 1e-3, 1 - 1e-3)
        slopes = np.full(len(scores) * self.classes, 1 / len(scores))
        self.start = np.concatenate([np.log(share / (1 - share)), slopes])
        self.ends = {} if tolerance is None else {"ftol": tolerance, "gtol": tolerance}
        self._maximise(steps)

    def clean_probability(self) -> NDArray[np.float64]:
        """eta, (n, C): the probability of each label before its given value is looked at."""
        return self._eta(self.alpha, self.slope)

    def refit(self, targets: NDArray[np.float64], steps: int) -> None:
        """The curves again, from the start, as logistic regression of probabilities (n, C) of the true labels."""
        self.labels, self.rates = targets, (0.0, 0.0)
        self._maximise(steps)

    def _maximise(self, steps: int) -> None:
        from scipy.optimize import minimize

        most = np.minimum(MAX_RATE, 0.49 / self.per_label)
        free_rates = 0 if self.rates is not None else 2 if self.separate else 1
        bounds = {
            0: [],
            1: [(MIN_RATE, float(most.min()))],
            2: [(MIN_RATE, top) for top in most],
        }[free_rates]
        fit = minimize(
            self._loss,
            np.concatenate([self.start, [0.2] * free_rates]),
            jac=True,
            method="L-BFGS-B",
            bounds=[(None, None)] * len(self.start) + bounds,
            options={"maxiter": steps, **self.ends},
        )
        self.alpha, self.slope, rate = self._parts(fit.x)
        self.add, self.drop = (float(value) for value in self._add_drop(rate))
        self.rate = float(rate.max()) if free_rates else np.nan

    def _parts(self, parameters: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        alpha, slope, rate = np.split(parameters, [self.classes, len(self.start)])
        return alpha, slope.reshape(-1, self.classes), rate

    def _add_drop(self, rate: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array(self.rates) if self.rates is not None else np.broadcast_to(rate, 2) * self.per_label

    def _eta(self, alpha: NDArray[np.float64], slope: NDArray[np.float64]) -> NDArray[np.float64]:
        return _sigmoid(alpha + (slope[:, None] * self.standardised).sum(axis=0))

    def _loss(self, parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        size, classes = self.labels.size, self.classes
        alpha, slope, rate = self._parts(parameters)
        by_label = self._add_drop(rate)
        add, drop = by_label[0] * self.applies, by_label[1] * self.applies
        eta = self._eta(alpha, slope)
        q = np.clip(add + (1 - add - drop) * eta, 1e-12, 1 - 1e-12)
        off = slope - slope.mean(axis=1, keepdims=True)
        likelihood = (self.labels * np.log(q) + (1 - self.labels) * np.log(1 - q)).sum() / size
        loss = -likelihood + 1e-5 * (alpha**2).sum() / classes + 1e-3 * (off**2).sum() / classes
        by_q = -(self.labels - q) / (q * (1 - q)) / size
        by_logit = by_q * (1 - add - drop) * eta * (1 - eta)
        gradient = [
            by_logit.sum(axis=0) + 2e-5 * alpha / classes,
            ((by_logit * self.standardised).sum(axis=1) + 2e-3 * off / classes).ravel(),
        ]
        if self.rates is None:
            by_rates = np.array([(by_q * (1 - eta)).sum(), -(by_q * eta).sum()]) * self.per_label
            gradient.append(by_rates if self.separate else by_rates.sum(keepdims=True))
        return float(loss), np.concatenate(gradient)


def independent(eta: NDArray[Any], labels: NDArray[Any], add: float, drop: float) -> NDArray[Any]:
    """The probability of each label where an absent one was added with probability add, a present one dropped."""
    q = add + (1 - add - drop) * eta
    return np.where(labels != 0, (1 - drop) * eta / q, drop * eta / (1 - q))


def swap(eta: NDArray[Any], labels: NDArray[Any], rate: float) -> NDArray[Any]:
    """Weights of "untouched" (1) and of each exchange of an absent label for a present one, normalised."""
    odds = np.clip(eta, 1e-9, 1 - 1e-9) / np.clip(1 - eta, 1e-9, 1)
    present = labels != 0
    count = present.sum(axis=1, keepdims=True)
    pairs = np.maximum(count * (labels.shape[1] - count), 1)
    gained = np.where(present, 1 / odds, 0)
    lost = np.where(present, 0, odds)
    scale = rate / (1 - rate) / pairs
    all_gained, all_lost = gained.sum(axis=1, keepdims=True), lost.sum(axis=1, keepdims=True)
    total = 1 + scale * all_gained * all_lost
    return np.where(present, 1 - scale * gained * all_lost / total, scale * lost * all_gained / total)


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 * (1 + np.tanh(0.5 * values))
