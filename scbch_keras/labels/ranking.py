"""How well an order of doubt ranks what is wrong, and how reliable probabilities are. numpy only."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_FIRST = (10, 30, 100, 300, 1000)


class Ranking(NamedTuple):
    """How well an order, the most doubtful first, finds what is wrong.

    Where nothing or everything is wrong there is nothing to find: both values are None, and `reason` says why.
    """

    items: int
    wrong: int
    auroc: float | None
    """Share of all pairs of a wrong and a right item in which the wrong one is doubted more; ties count half."""
    precision: float | None
    """Share of wrong items among the first `wrong` of the order; where a tie is cut, the expected value."""
    reason: str | None = None
    first: tuple[tuple[int, float], ...] = ()
    """(k, precision among the first k) for k of 10, 30, 100, 300 and 1000, up to `items`."""

    @property
    def chance(self) -> float:
        """The precision of a random order."""
        return self.wrong / self.items if self.items else 0.0


class Reliability(NamedTuple):
    """Probabilities in ten bins of equal width beside what was true; bins without a label are left out."""

    probability: tuple[float, ...]
    """The mean of each bin."""
    true: tuple[float, ...]
    """The share of each bin's labels that are true; calibrated probabilities equal it."""
    labels: tuple[int, ...]
    """How many each bin has."""

    @property
    def error(self) -> float:
        """The expected calibration error: the mean of |probability - true| over all labels."""
        gaps = np.abs(np.subtract(self.probability, self.true))
        return float(np.average(gaps, weights=self.labels))


@dataclass(frozen=True, eq=False)
class AuditScore:
    """An audit beside the true labels."""

    corrupted: NDArray[np.bool_]
    """(n,), samples with a wrong label or without a true one."""
    by_suspicion: Ranking
    """Samples by `LabelAudit.suspicion`; wrong are the corrupted ones."""
    by_confidence: Ranking
    """Samples by confidence, lowest first."""
    given_labels: Ranking
    """Given labels of all samples, the least likely first; wrong are those that are not true."""
    missing_labels: Ranking
    """Labels that are not given, the most likely first; wrong are those that are true."""
    given_reliability: Reliability | None = None
    """Of the probabilities of the given labels, where the audit has probabilities."""
    missing_reliability: Reliability | None = None
    """Of those of the labels that are not given."""


def reliability(probabilities: NDArray[np.floating], true: NDArray[np.bool_]) -> Reliability:
    """The reliability curve of probabilities, in ten bins of equal width.

    Args:
        probabilities: (n,), in [0, 1].
        true: (n,), bool, what is true.

    Returns:
        Mean probability, share of true ones and count of each bin that is not empty.
    """
    place = np.minimum((10 * probabilities).astype(int), 9)
    count = np.bincount(place, minlength=10)
    filled = count > 0
    probability, share = (
        np.bincount(place, values, minlength=10)[filled] / count[filled] for values in (probabilities, true)
    )
    return Reliability(tuple(probability.tolist()), tuple(share.tolist()), tuple(count[filled].tolist()))


def auroc(doubt: NDArray[Any], wrong: NDArray[np.bool_]) -> float:
    """Share of the pairs of a wrong and a right item in which the wrong one is doubted more; ties count half.

    Computed from ranks, in O(n log n).

    Args:
        doubt: (n,), the higher, the more doubtful.
        wrong: (n,), bool, at least one True and one False.

    Returns:
        In [0, 1]; 0.5 is chance.
    """
    count = int(wrong.sum())
    above = ranks(doubt)[wrong].sum() - count * (count + 1) / 2
    return float(above / (count * (len(wrong) - count)))


def precision_at_wrong(doubt: NDArray[Any], wrong: NDArray[np.bool_]) -> float:
    """Share of wrong items among as many of the most doubtful as there are wrong ones.

    Where these end inside a tie, its expected value over the orders of the tie.

    Args:
        doubt: (n,), the higher, the more doubtful.
        wrong: (n,), bool, at least one True.

    Returns:
        In [0, 1].
    """
    return precision_at(doubt, wrong, int(wrong.sum()))


def precision_at(doubt: NDArray[Any], wrong: NDArray[np.bool_], k: int) -> float:
    """Share of wrong items among the k most doubtful.

    Where these end inside a tie, its expected value over the orders of the tie.

    Args:
        doubt: (n,), the higher, the more doubtful.
        wrong: (n,), bool.
        k: int in 1..n.

    Returns:
        In [0, 1].
    """
    last = np.partition(doubt, -k)[-k]
    above, tied = doubt > last, doubt == last
    hits = wrong[above].sum() + (k - above.sum()) * wrong[tied].mean()
    return float(hits / k)


def ranking(item: str, wrong_is: str, doubt: NDArray[Any], wrong: NDArray[np.bool_]) -> Ranking:
    """How well doubt orders items.

    Args:
        item: what an item is called in a reason.
        wrong_is: what a wrong one is called.
        doubt: (n,), the higher, the more doubtful.
        wrong: (n,), which items are wrong.

    Returns:
        AUROC and precisions, or the reason why there are none.
    """
    count = int(wrong.sum())
    if 0 < count < len(wrong):
        first = tuple((k, precision_at(doubt, wrong, k)) for k in _FIRST if k <= len(wrong))
        return Ranking(len(wrong), count, auroc(doubt, wrong), precision_at_wrong(doubt, wrong), first=first)
    reason = f"{'every' if count else 'no'} {item} is {wrong_is}" if len(wrong) else f"there is no {item}"
    return Ranking(len(wrong), count, None, None, reason)


def ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Ranks 1..n of values (n,), the lowest first; ties share their mean rank."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (count.cumsum() - (count - 1) / 2)[place]
