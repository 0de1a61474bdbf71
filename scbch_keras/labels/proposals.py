"""Which rows to check by hand, and what is to be expected of it. numpy only."""

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from scbch_keras.arrays import as_array
from scbch_keras.checks import one_of, refuse, whole
from scbch_keras.labels.matrix import check_labels
from scbch_keras.labels.scores import items_of

ProposedBy = Literal["random", "doubtful", "balanced"]


class Proposal(NamedTuple):
    """Rows to check, the first to begin with, and what the probabilities say of them, as far as they are right."""

    rows: NDArray[np.int64]
    """(count,), of each item at most one."""
    by: ProposedBy
    wrong_labels: NDArray[np.float64]
    """(count,): the expected number of labels that are wrong or missing in each."""
    error_removed: float
    """The share, in [0, 1], of the expected squared error of all probabilities that goes when these are known."""


def propose(
    probabilities: NDArray[Any],
    labels: NDArray[Any],
    count: int,
    by: ProposedBy = "random",
    groups: NDArray[np.integer] | None = None,
    skip: NDArray[np.integer] | None = None,
    seed: int = 0,
) -> Proposal:
    """Rows whose labels to look up by hand.

    - "random": drawn evenly. The only ones of which `estimate(checked=...)` counts true rates.
    - "doubtful": those with the largest sum_c p (1 - p), what is to be gained for the rows themselves.
    - "balanced": each for the label that the rows before show least, drawn with weight p of that label: rare
      labels are seen too.

    Args:
        probabilities: (n, C), in [0, 1], such as `LabelPosterior.probabilities`.
        labels: (n, C), 0/1 as given.
        count: int >= 1, how many rows.
        by: "random", "doubtful" or "balanced"; equals in an order that `seed` draws.
        groups: (n,), integers: rows with the same one show one item, of which one row is proposed.
        skip: rows that are known already; others of their groups are not proposed either.
        seed: int >= 0.

    Raises:
        ValueError: an argument of another shape or kind, or fewer items left than `count`; the message names it.
    """
    probabilities = check_labels("probabilities", probabilities, soft=True)
    labels = check_labels("labels", labels, probabilities.shape[1], rows=len(probabilities))
    one_of("by", by, get_args(ProposedBy))
    first, item = items_of(groups, labels)
    open_items = np.ones(len(first), bool)
    open_items[item[_rows("skip", skip, len(labels))]] = False
    count, left = whole("count", count, 1), int(open_items.sum())
    if count > left:
        raise ValueError(f"count must be at most {left}, the number of items not known yet; got {count}.")
    p = probabilities[first].astype(np.float64)
    doubt = (p * (1 - p)).sum(axis=1)
    rng = np.random.default_rng(whole("seed", seed, 0))
    order = rng.permutation(np.flatnonzero(open_items))
    if by == "doubtful":
        order = order[np.argsort(-doubt[order], kind="stable")]
    elif by == "balanced":
        order = _balanced(p, order, count, rng)
    chosen = order[:count]
    total = doubt[item].sum()
    removed = doubt[item][np.isin(item, chosen)].sum()
    wrong = np.abs(p - (labels[first] != 0)).sum(axis=1)[chosen]
    return Proposal(first[chosen], by, wrong, float(removed / total) if total else 0.0)


def _balanced(
    p: NDArray[np.float64], order: NDArray[np.int64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    weights, chosen = p[order], []
    # A draw for a label counts as one of it: a label that hardly any row has does not take all draws.
    draws, shown = np.zeros(p.shape[1]), np.zeros(p.shape[1])
    for _ in range(count):
        label = int(np.maximum(draws, shown).argmin())
        total = weights[:, label].cumsum()
        if total[-1] <= 0:
            total = np.arange(1.0, len(weights) + 1)
        place = int(np.searchsorted(total, rng.random() * total[-1], side="right"))
        draws[label] += 1
        shown += weights[place]
        chosen.append(order[place])
        order, weights = np.delete(order, place), np.delete(weights, place, axis=0)
    return np.array(chosen, np.int64)


def _rows(name: str, rows: Any, size: int) -> NDArray[np.int64]:
    if rows is None:
        return np.empty(0, np.int64)
    rows = as_array(name, rows)
    if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
        refuse(name, "an array of row numbers of shape (m,)", rows)
    if outside := [row for row in rows.tolist() if not 0 <= row < size]:
        raise ValueError(f"{name} must be from 0 to {size - 1}; got {outside[0]}.")
    return rows.astype(np.int64)
