"""The probability that each label is true, estimated before any training from features that saw no labels.

A frozen backbone's features and a text's words know nothing of wrong labels. Ridge regression of the given labels on
both, each sample predicted without itself, scores every label of every sample; a noise model turns scores and given
labels into the probability that a label is truly there. It is computed once, not once an epoch. It goes beyond the
paper. numpy and scipy only.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from scbch_keras.arrays import as_array, blocks
from scbch_keras.checks import flag, one_of, shown
from scbch_keras.files import loads, replaced
from scbch_keras.labels.counts import CURVE_TOLERANCE, Fitted, counted_table, fit_likelier, fit_table
from scbch_keras.labels.curves import NoiseFit, independent, swap
from scbch_keras.labels.matrix import check_labels
from scbch_keras.labels.noise_words import exchanges_in_words, rates_in_words, table_in_words
from scbch_keras.labels.proposals import Proposal, ProposedBy, propose
from scbch_keras.labels.scores import (
    BLOCK,
    BOTH,
    RIDGES,
    Features,
    Modalities,
    TextKind,
    checked_features,
    items_of,
    leave_one_out,
    predictions,
)
from scbch_keras.npz import load_npz
from scbch_keras.stored import FileKind, json_array

__all__ = [
    "Exchanges", "LabelPosterior", "NoiseModel", "Proposal", "ProposedBy", "estimate", "leave_one_out", "propose",
]  # fmt: skip

NoiseModel = Literal["count", "independent", "swap"]
Exchanges = Literal["even", "by_class", "likelier"]
_STORED = FileKind("a file of LabelPosterior.save", "format", ("scbch posterior 1",))
_OPTIONAL = ("noise", "exchanges")
_ARRAYS = ("probabilities", "scores", *_OPTIONAL)


@dataclass(frozen=True, eq=False)
class LabelPosterior:
    """Probabilities of labels, and how they were estimated: by `estimate`, or made from probabilities of one's own.

    Args:
        probabilities: (n, C), in [0, 1]: that the label is truly there.
        scores: (n, C): each label's leave-one-out prediction from both modalities, on the scale of 0/1.
        add_rate: the probability that a label that is absent was added.
        drop_rate: the probability that a label that is present was dropped.
        noise_rate: the expected share of samples with a label added or dropped.
        ridge: lambda of the regression on both modalities, the one with the least leave-one-out error.
        noise_model: "count", "independent" or "swap".
        text_kind: "words" or "dense": how the texts' features were transformed.
        noise: (dropped + 1, added + 1), the share of samples with j labels dropped and k added; "count" only.
        exchanges: (C, C), where label c gave way to another, the share in which that was label c'; None: to all alike.
    """

    probabilities: NDArray[np.float32]
    scores: NDArray[np.float32]
    add_rate: float
    drop_rate: float
    noise_rate: float
    ridge: float
    noise_model: NoiseModel
    text_kind: TextKind = "words"
    noise: NDArray[np.float64] | None = None
    exchanges: NDArray[np.float64] | None = None

    @property
    def noise_in_words(self) -> str:
        """How the labels went wrong, in a sentence."""
        if self.noise is not None:
            return table_in_words(self.noise)
        return rates_in_words(self.noise_rate, self.add_rate, self.drop_rate)

    def in_words(self, label_names: Sequence[str]) -> str:
        """`noise_in_words`, and which labels give way to which, where that was estimated."""
        if self.exchanges is None:
            return self.noise_in_words
        return f"{self.noise_in_words} {exchanges_in_words(self.exchanges, label_names)}"

    def save(self, path: Path) -> None:
        """Write one .npz file, whole or not at all.

        Args:
            path: of the file; an existing one is replaced.
        """
        arrays = {name: getattr(self, name) for name in _ARRAYS if getattr(self, name) is not None}
        settings = {name: value for name, value in vars(self).items() if name not in _ARRAYS}
        with replaced(Path(path)) as file:
            np.savez(file, allow_pickle=False, settings=json_array(_STORED.marked(settings)), **arrays)

    @classmethod
    def load(cls, path: Path) -> "LabelPosterior":
        """Read what `save` wrote.

        Args:
            path: of the file.

        Returns:
            The posterior that was saved.

        Raises:
            ValueError: the file is missing, damaged or of another kind.
        """
        with _STORED.reading(path):
            arrays = load_npz(path)
            settings = _STORED.unmarked(loads(arrays.pop("settings").tobytes()))
            # Files of models without a table hold none.
            optional: dict[str, Any] = {name: arrays.get(name) for name in _OPTIONAL}
            return cls(arrays["probabilities"], arrays["scores"], **settings, **optional)


def estimate(
    image: NDArray[Any],
    text: NDArray[Any],
    labels: NDArray[Any],
    noise_model: NoiseModel = "count",
    separate_rates: bool = False,
    groups: NDArray[np.integer] | None = None,
    block_size: int = BLOCK,
    text_kind: TextKind | None = None,
    checked: tuple[NDArray[np.integer], NDArray[Any]] | None = None,
    exchanges: Exchanges = "even",
) -> LabelPosterior:
    """Posterior of the labels of a training set.

    - "count": so many labels of a sample were dropped and so many added; the table of how often which happens is
      learned from the data. Three scores a label: from both modalities, from the image and from the text alone.
    - "independent": an absent label is added with probability a, a present one dropped with probability d; both
      follow from one noise rate that keeps the number of labels, or are estimated apart (`separate_rates`).
    - "swap": a corrupted sample lost exactly one label and gained exactly one. It is how the paper's benchmarks
      are corrupted: know that before you ask for it.

    Args:
        image: (n, d), features of a backbone that saw no labels; any real numbers that float32 can hold.
        text: (n, w), counts of words; or dense features of a text encoder that saw no labels.
        labels: (n, C), 0/1, possibly wrong.
        noise_model: "count", "independent" or "swap".
        separate_rates: whether a and d are estimated apart; independent only.
        groups: (n,), integers: rows with the same one show one item and have its labels, wrong ones too, such as
            several pictures of a product. A row is then predicted without its whole group, and the rows of a
            group get one posterior, from the mean of their scores. None: each row is an item.
        block_size: rows at a time; memory grows with block_size * (d + w) and with (d + w)^2, never with n^2.
        text_kind: "words": times inverse document frequency, unit norm; text must be >= 0. "dense": as the images,
            signed square root, less the mean, unit norm. None: "dense" where a value of text is below 0, else "words";
            give it for dense features without negative values. The result says which it was.
        checked: rows (m,), each once, and their true labels (m, C), looked up by hand: rows drawn at random, since a, d
            and the table are counted on them in place of being estimated. Their probabilities are their true
            labels, also for the other rows of their groups. Not for "swap".
        exchanges: of "count" without checked rows. Where one label gave way to another: "even": to all alike;
            "by_class": which gives way to which is learned too, for noise such as sea for lake; it costs a little
            where there is no such noise. "likelier": both are fitted, and the one is taken that makes labels likelier
            that its exchanges were not estimated from.

    Returns:
        The probability of each label of each sample, and the noise that was estimated.

    Raises:
        ValueError: arrays that `scbch_keras.arrays` refuses, shapes that do not fit, features that are not finite or
            all the same in every row, text below 0 as "words", settings out of range, a group with two kinds of labels,
            checked rows whose given labels say nothing of the true ones.

    Warns:
        UserWarning: there is not one label: nothing can be learned from them.
    """
    labels = check_labels("labels", labels)
    one_of("noise_model", noise_model, get_args(NoiseModel))
    one_of("text_kind", text_kind, get_args(TextKind), optional=True)
    if flag("separate_rates", separate_rates) and noise_model != "independent":
        raise ValueError("separate_rates goes with noise_model='independent'.")
    if one_of("exchanges", exchanges, get_args(Exchanges)) != "even":
        if noise_model != "count":
            raise ValueError(f"exchanges={exchanges!r} goes with noise_model='count'; got {noise_model!r}.")
        if checked is not None:
            raise ValueError(
                f"exchanges={exchanges!r} is not for checked rows, from which the table is counted."
            )
    if not any(block.any() for _, block in blocks(labels)):
        warnings.warn("labels hold no label at all: the posterior has nothing to learn from.", stacklevel=2)
    first, item = items_of(groups, labels)
    known = None
    if checked is not None:
        if noise_model == "swap":
            raise ValueError("checked goes with noise_model='count' or 'independent'; got 'swap'.")
        known = _checked_rows(checked, labels, first, item)
    image, text, text_kind = checked_features(image, text, len(labels), text_kind)
    features = Features(image, text, item, block_size, text_kind)
    table = pairs = None
    if noise_model == "count":
        (probabilities, table, pairs), scores, ridge = _count(
            features, labels, first, item, block_size, known, exchanges
        )
        noisy, expected = labels[first] != 0, probabilities.sum()
        add = float(np.where(noisy, 1 - probabilities, 0).sum() / max(probabilities.size - expected, 1e-9))
        drop = float(np.where(noisy, 0, probabilities).sum() / max(expected, 1e-9))
        rate = 1 - float(table[0, 0])
    else:
        scores, ridge = predictions(features, labels, item)
        probabilities, add, drop, rate = _rates(
            scores[None, first], labels[first], noise_model, separate_rates, known
        )
    if known is not None:
        probabilities[known.rows] = known.labels[known.rows]
    of_rows = probabilities.astype(np.float32)[item]
    shares = None if pairs is None else pairs / np.maximum(pairs.sum(axis=1, keepdims=True), 1e-300)
    return LabelPosterior(of_rows, scores, add, drop, rate, ridge, noise_model, text_kind, table, shares)


class _Known(NamedTuple):
    """Items whose true labels are known."""

    rows: NDArray[np.bool_]
    """(items,), which they are."""
    labels: NDArray[Any]
    """(items, C): their true labels; of the others the given ones."""
    noisy: NDArray[Any]
    """(items, C)."""

    @property
    def pair(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Given and true labels of the known items."""
        return self.noisy[self.rows] != 0, self.labels[self.rows] != 0

    def rates(self) -> tuple[float, float]:
        """Added over absent labels, dropped over present ones."""
        noisy, true = self.pair
        if true.all() or not true.any():
            raise ValueError(
                "checked must hold labels that are there and labels that are not; "
                f"got {int(true.sum())} of {true.size}."
            )
        add, drop = float(noisy[~true].mean()), float((~noisy)[true].mean())
        if add + drop >= 1:
            raise ValueError(
                f"checked: the given labels say nothing of the true ones: {drop:.0%} of these were dropped, and "
                f"{add:.0%} of the absent ones added. Check more rows, or whether rows and labels belong together."
            )
        return add, drop


def _checked_rows(
    checked: Any, labels: NDArray[Any], first: NDArray[np.int64], item: NDArray[np.int64]
) -> _Known:
    if not isinstance(checked, tuple | list) or len(checked) != 2:
        raise ValueError(f"checked must be a pair (rows, labels); got {shown(checked)}.")
    rows = as_array("checked rows", checked[0])
    if rows.dtype.kind not in "iu" or rows.ndim != 1 or not len(rows):
        raise ValueError(
            f"checked rows must be an array of integers of shape (m,), m >= 1; got {shown(rows)}."
        )
    if outside := [row for row in rows.tolist() if not 0 <= row < len(labels)]:
        raise ValueError(f"checked rows must be from 0 to {len(labels) - 1}; got {outside[0]}.")
    if len(np.unique(rows)) < len(rows):
        values, counts = np.unique(rows, return_counts=True)
        raise ValueError(f"checked rows must name each row once; got {values[counts.argmax()]} twice.")
    true = check_labels("checked labels", checked[1], labels.shape[1], rows=len(rows))
    known = _Known(np.zeros(len(first), bool), labels[first].copy(), labels[first])
    known.rows[item[rows]] = True
    known.labels[item[rows]] = true
    differs = (known.labels[item[rows]] != true).any(axis=1)
    if differs.any():
        raise ValueError(
            "checked labels: the rows of a group must have the same labels; "
            f"row {rows[differs.argmax()]} has others than another row of its group."
        )
    return known


def _rates(
    scores: NDArray[np.float32], labels: NDArray[Any], noise_model: str, separate: bool, known: _Known | None
) -> tuple[NDArray[np.float64], float, float, float]:
    """Probabilities by one score a label; a, d and the noise rate."""
    if known is None:
        fit = NoiseFit(scores, labels, separate)
        eta, rate = fit.clean_probability(), fit.rate
        if noise_model == "swap":
            return swap(eta, labels, rate), fit.add, fit.drop, rate
    else:
        fit = NoiseFit(scores, known.labels, rates=known.rates(), true_rows=known.rows)
        noisy, true = known.pair
        eta, rate = fit.clean_probability(), float((noisy != true).any(axis=1).mean())
    return independent(eta, labels, fit.add, fit.drop), fit.add, fit.drop, rate


def _count(
    features: Features,
    labels: NDArray[Any],
    first: NDArray[np.int64],
    item: NDArray[np.int64],
    block_size: int,
    known: _Known | None,
    exchanges: Exchanges,
) -> tuple[Fitted, NDArray[np.float32], float]:
    """Probabilities of the items by three scores a label with the table; score and lambda of both modalities."""
    sides: tuple[Modalities, ...] = (BOTH, ("image",), ("text",))
    predicted = [predictions(features, labels, item, side, (0.03, *RIDGES)) for side in sides]
    scores = np.stack([score[first] for score, _ in predicted])
    noisy = labels[first]
    if known is None:
        # From one rate that keeps the number of labels, as exchanges do, labels that were only added can end as
        # untouched; from two, labels that were always exchanged in the same way can end as dropped.
        even, by_class = (
            partial(NoiseFit, scores, noisy, separate=separate, tolerance=CURVE_TOLERANCE)
            for separate in (True, False)
        )
        if exchanges == "even":
            fitted = fit_table(even(), noisy, block_size)
        elif exchanges == "by_class":
            fitted = fit_table(by_class(), noisy, block_size, exchanges=True)
        else:
            fitted = fit_likelier(even(), by_class(), noisy, block_size)
    else:
        fit = NoiseFit(
            scores, known.labels, rates=known.rates(), true_rows=known.rows, tolerance=CURVE_TOLERANCE
        )
        fitted = fit_table(fit, noisy, block_size, counted_table(*known.pair), (known.rows, known.labels))
    return fitted, *predicted[0]
