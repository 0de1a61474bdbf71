"""Wrong labels made on purpose, to train on and to measure against. numpy only.

Three kinds (Burgert et al. 2022): a label is missing (subtractive), one is too many (additive), or both
(mixed). All three are drawn the paper's way, by sample: a random `rate` share of the samples is taken, and in
each of these one label is dropped, one added, or both.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scbch_keras.checks import refuse, share
from scbch_keras.labels.matrix import check_labels


class NoisyLabels(NamedTuple):
    """Labels after noise, and what the noise changed.

    Attributes:
        labels: (n, C), uint8, 0/1.
        corrupted: (n,), bool, the samples in which a label changed.
        changed: (n, C), bool, where labels differ from the clean ones.
    """

    labels: NDArray[np.uint8]
    corrupted: NDArray[np.bool_]
    changed: NDArray[np.bool_]


def mixed_symmetric(labels: NDArray[Any], rate: float, seed: int | np.random.Generator) -> NoisyLabels:
    """In each of round(rate * n) random samples one label is dropped and one added.

    The dropped label is drawn evenly from those that are present, the added one from those that are absent. A sample
    without labels only gains one, a sample with all labels only loses one; in any other the number of labels stays
    the same. This is the noise of the paper's experiments, at rates .2, .5 and .8.

    Args:
        labels: (n, C), 0/1; left as they are.
        rate: in [0, 1], the share of samples that are drawn.
        seed: an int >= 0, with which the noise is always the same, or a numpy Generator to draw from.

    Returns:
        The noisy labels, and what was changed.

    Raises:
        ValueError: labels that are not 0/1 (n, C), or a rate or seed out of range.
    """
    return _corrupt(labels, rate, seed, drop=True, add=True)


def additive(labels: NDArray[Any], rate: float, seed: int | np.random.Generator) -> NoisyLabels:
    """In each of round(rate * n) random samples one absent label is added.

    A drawn sample that has all labels stays as it is and is not counted as corrupted.

    Args:
        labels: (n, C), 0/1; left as they are.
        rate: in [0, 1], the share of samples that are drawn.
        seed: an int >= 0, with which the noise is always the same, or a numpy Generator to draw from.

    Returns:
        The noisy labels, and what was changed.

    Raises:
        ValueError: as `mixed_symmetric`.
    """
    return _corrupt(labels, rate, seed, drop=False, add=True)


def subtractive(labels: NDArray[Any], rate: float, seed: int | np.random.Generator) -> NoisyLabels:
    """In each of round(rate * n) random samples one present label is dropped.

    A drawn sample without labels stays as it is and is not counted as corrupted; one with a single label is left with
    none.

    Args:
        labels: (n, C), 0/1; left as they are.
        rate: in [0, 1], the share of samples that are drawn.
        seed: an int >= 0, with which the noise is always the same, or a numpy Generator to draw from.

    Returns:
        The noisy labels, and what was changed.

    Raises:
        ValueError: as `mixed_symmetric`.
    """
    return _corrupt(labels, rate, seed, drop=True, add=False)


def _corrupt(labels: Any, rate: Any, seed: Any, *, drop: bool, add: bool) -> NoisyLabels:
    labels, rate = check_labels("labels", labels), share("rate", rate)
    if isinstance(seed, bool) or not (
        isinstance(seed, np.random.Generator) or (isinstance(seed, int | np.integer) and seed >= 0)
    ):
        refuse("seed", "an int of at least 0 or a numpy.random.Generator", seed)
    rng = np.random.default_rng(seed)
    clean = labels != 0
    drawn = rng.choice(len(clean), size=round(rate * len(clean)), replace=False)
    present = clean[drawn]
    flips = np.zeros_like(present)
    # both draws see the clean labels: a label just dropped is never the one that is added back
    if drop:
        flips |= _one_each(present, rng)
    if add:
        flips |= _one_each(~present, rng)
    changed = np.zeros_like(clean)
    changed[drawn] = flips
    return NoisyLabels((clean ^ changed).astype(np.uint8), changed.any(axis=1), changed)


def _one_each(candidates: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """One of the True entries of each row, drawn evenly; none where a row has none."""
    count = candidates.sum(axis=1)
    nth = rng.integers(np.maximum(count, 1))
    seen = candidates.cumsum(axis=1)
    return candidates & (seen == nth[:, None] + 1)
