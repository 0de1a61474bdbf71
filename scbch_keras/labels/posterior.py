"""What the labels probably are, before any training: a posterior from features that label noise cannot touch.

A frozen backbone's features and a text's words know nothing of wrong labels. Ridge regression of the given labels on
both, each sample predicted without itself, scores every label of every sample; a noise model turns scores and given
labels into the probability that a label is truly there. It is computed once, not once an epoch. It goes beyond the
paper. numpy and scipy only.
"""

import json
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from scbch_keras.arrays import as_array, blocks, check_features
from scbch_keras.checks import flag, one_of, whole
from scbch_keras.files import replaced
from scbch_keras.labels.matrix import check_labels

NoiseModel = Literal["independent", "swap"]
TextKind = Literal["words", "dense"]
RIDGES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
MIN_RATE, MAX_RATE = 0.001, 0.98
_FORMAT = "scbch posterior 1"
_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class LabelPosterior:
    """Probabilities of labels, and how they came about. Made by `estimate`, or by hand from probabilities of one's own.

    Args:
        probabilities: (n, C), in [0, 1]: that the label is truly there.
        scores: (n, C): each label's leave-one-out prediction, on the scale of 0/1.
        add_rate: the probability that a label that is absent was added.
        drop_rate: the probability that a label that is present was dropped.
        noise_rate: the expected share of samples with a label added or dropped.
        ridge: lambda of the regression, the one with the least leave-one-out error.
        noise_model: "independent" or "swap".
        text_kind: "words" or "dense": how the texts' features were transformed.
    """

    probabilities: NDArray[np.float32]
    scores: NDArray[np.float32]
    add_rate: float
    drop_rate: float
    noise_rate: float
    ridge: float
    noise_model: NoiseModel
    text_kind: TextKind = "words"

    def save(self, path: Path) -> None:
        """Write one .npz file, whole or not at all."""
        arrays = {"probabilities": self.probabilities, "scores": self.scores}
        settings = {name: value for name, value in vars(self).items() if name not in arrays}
        stored = np.frombuffer(json.dumps({"format": _FORMAT, **settings}).encode(), np.uint8)
        with replaced(Path(path)) as file:
            np.savez(file, allow_pickle=False, settings=stored, **arrays)

    @classmethod
    def load(cls, path: Path) -> "LabelPosterior":
        """What `save` wrote. Raises ValueError for a file that is missing, damaged or another kind."""
        try:
            with np.load(path, allow_pickle=False) as file:
                settings = json.loads(file["settings"].tobytes())
                if settings.pop("format") != _FORMAT:
                    raise ValueError("it has another format")
                return cls(file["probabilities"], file["scores"], **settings)
        except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path}: expected a file of LabelPosterior.save: {error}") from error


def estimate(
    image: NDArray[Any],
    text: NDArray[Any],
    labels: NDArray[Any],
    noise_model: NoiseModel = "independent",
    separate_rates: bool = False,
    groups: NDArray[np.integer] | None = None,
    block_size: int = _BLOCK,
    text_kind: TextKind | None = None,
) -> LabelPosterior:
    """Posterior of the labels of a training set.

    - "independent": an absent label is added with probability a, a present one dropped with probability d; both
      follow from one noise rate that keeps the number of labels, or are estimated apart (`separate_rates`).
    - "swap": a corrupted sample lost exactly one label and gained exactly one. It is how the paper's benchmarks
      are corrupted: know that before you ask for it.

    Args:
        image: (n, d), features of a backbone that saw no labels; any real numbers that float32 can hold.
        text: (n, w), counts of words; or dense features of a text encoder that saw no labels.
        labels: (n, C), 0/1, possibly wrong.
        noise_model: "independent" or "swap".
        separate_rates: whether a and d are estimated apart; independent only.
        groups: (n,), integers: rows with the same one show one item and have its labels, wrong ones too, such as
            several pictures of a product. A row is then predicted without its whole group, and the rows of a
            group get one posterior, from the mean of their scores. None: each row is an item.
        block_size: rows at a time; memory grows with block_size * (d + w) and with (d + w)^2, never with n^2.
        text_kind: "words": times inverse document frequency, unit norm; text must be >= 0. "dense": as the images,
            signed square root, less the mean, unit norm. None: "dense" where a value of text is below 0, else "words";
            give it for dense features without negative values. The result says which it was.

    Raises:
        ValueError: arrays that `scbch_keras.arrays` refuses, shapes that do not fit, features that are not finite or
            all the same in every row, text below 0 as "words", settings out of range, a group with two kinds of labels.

    Warns:
        UserWarning: there is not one label: nothing can be learned from them.
    """
    labels = check_labels("labels", labels)
    one_of("noise_model", noise_model, get_args(NoiseModel))
    one_of("text_kind", text_kind, get_args(TextKind), optional=True)
    if flag("separate_rates", separate_rates) and noise_model != "independent":
        raise ValueError("separate_rates goes with noise_model='independent'.")
    if not any(block.any() for _, block in blocks(labels)):
        warnings.warn("labels hold no label at all: the posterior has nothing to learn from.", stacklevel=2)
    first, item = _items(groups, labels)
    image, text, text_kind = _checked_features(image, text, len(labels), text_kind)
    scores, ridge = leave_one_out(image, text, labels, groups, block_size, text_kind)
    fit = _NoiseFit(scores[first], labels[first], separate_rates)
    eta = fit.clean_probability()
    if noise_model == "independent":
        probabilities = _independent(eta, labels[first], fit.add, fit.drop)
    else:
        probabilities = _swap(eta, labels[first], fit.rate)
    return LabelPosterior(
        probabilities.astype(np.float32)[item],
        scores,
        fit.add,
        fit.drop,
        fit.rate,
        ridge,
        noise_model,
        text_kind,
    )


def _checked_features(
    image: Any, text: Any, rows: int, text_kind: TextKind | None
) -> tuple[NDArray[Any], NDArray[Any], TextKind]:
    """Both as arrays, and the kind that the texts' features are of."""
    image, text = as_array("image", image), as_array("text", text)
    check_features("image", image, ndim=2, rows=rows)
    check_features("text", text, ndim=2, rows=rows)
    if text_kind is None:
        text_kind = "dense" if any((block < 0).any() for _, block in blocks(text)) else "words"
    elif text_kind == "words":
        try:
            check_features("text", text, ndim=2, low=0)
        except ValueError as error:
            raise ValueError(f"{error} For dense features give text_kind='dense'.") from None
    if all((block == values[0]).all() for values in (image, text) for _, block in blocks(values)):
        raise ValueError(
            "image and text must tell samples apart; each has the same values in all rows (zeros, or a constant)."
        )
    return image, text, text_kind


def _items(groups: Any, labels: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first row of each item, and the item of each row."""
    if groups is None:
        rows = np.arange(len(labels))
        return rows, rows
    groups = as_array("groups", groups)
    if groups.dtype.kind not in "iu" or groups.shape != labels.shape[:1]:
        raise ValueError(
            f"groups must be an array of integers of shape {labels.shape[:1]}; got {groups!r:.80}."
        )
    _, first, item = np.unique(groups, return_index=True, return_inverse=True)
    differs = (labels != labels[first][item]).any(axis=1)
    if differs.any():
        row = int(differs.argmax())
        raise ValueError(
            f"groups: the rows of a group must have the same labels; row {row} has others than row {first[item[row]]}."
        )
    return first, item


def leave_one_out(
    image: NDArray[Any],
    text: NDArray[Any],
    labels: NDArray[Any],
    groups: NDArray[np.integer] | None = None,
    block_size: int = _BLOCK,
    text_kind: TextKind | None = None,
) -> tuple[NDArray[np.float32], float]:
    """Ridge regression of labels on both modalities, each item predicted without itself -> (n, C), lambda.

    Image rows: signed square root, less the mean, unit norm. Text rows: the same where `text_kind` is "dense"; where it
    is "words" times inverse document frequency, unit norm.
    With K = A A^T + B B^T = U diag(e) U^T, h = e / (e + lambda) and H = U diag(h) U^T, the prediction of the rows g
    of an item without them is (I - H_gg)^-1 ((H Y)_g - H_gg Y_g), Y less its mean, which is added again. The rows of
    an item get their mean. lambda is the one of `RIDGES` with the least squared error.
    """
    block_size = whole("block_size", block_size, 1)
    labels = check_labels("labels", labels)
    _, item = _items(groups, labels)
    image, text, text_kind = _checked_features(image, text, len(labels), text_kind)
    features = _Features(image, text, item, block_size, text_kind)
    targets = labels.astype(np.float64)
    mean = targets.mean(axis=0)
    targets -= mean
    values, basis, projected = _spectrum(features, targets)
    shrink = [values / (values + ridge) for ridge in RIDGES]
    scores = np.empty((len(RIDGES), *labels.shape), np.float32)
    errors = np.zeros(len(RIDGES))
    for rows, block in features.blocks():
        left = basis(rows, block)
        for alike in _equal_sizes(item[rows]):
            own_left, own_targets = left[alike], targets[rows[alike]]
            for number, h in enumerate(shrink):
                weighted = own_left * h
                own = weighted @ own_left.transpose(0, 2, 1)
                fitted = (weighted.reshape(-1, len(h)) @ projected).reshape(own_targets.shape)
                predicted = np.linalg.solve(np.eye(alike.shape[1]) - own, fitted - own @ own_targets)
                predicted = np.broadcast_to(predicted.mean(axis=1, keepdims=True), predicted.shape)
                errors[number] += np.square(predicted - own_targets).sum()
                scores[number, rows[alike]] = predicted + mean
    best = int(errors.argmin())
    return scores[best].copy(), RIDGES[best]


def _equal_sizes(item: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Positions of a block's items, sorted by item: (items, rows an item), an array for each number of rows."""
    _, start, count = np.unique(item, return_index=True, return_counts=True)
    for size in np.unique(count):
        yield start[count == size, None] + np.arange(size)


class _Features:
    """Rows of both modalities as the regression takes them, a block at a time."""

    def __init__(
        self,
        image: NDArray[Any],
        text: NDArray[Any],
        item: NDArray[np.int64],
        block_size: int,
        text_kind: TextKind,
    ):
        self.image, self.text, self.text_kind = image, text, text_kind
        # In blocks of whole items, whose rows are side by side.
        self.order = np.argsort(item, kind="stable")
        ends = np.flatnonzero(np.diff(item[self.order], append=-1)) + 1
        wanted = np.arange(block_size, len(image) + block_size, block_size)
        self.cuts = np.unique(ends[np.minimum(np.searchsorted(ends, wanted), len(ends) - 1)])
        total, of_text = np.zeros(image.shape[1]), np.zeros(text.shape[1])
        for rows in self._rows():
            total += _signed_root(image[rows]).sum(axis=0)
            if text_kind == "dense":
                of_text += _signed_root(text[rows]).sum(axis=0)
            else:
                of_text += (text[rows] > 0).sum(axis=0)
        self.mean, self.text_mean = total / len(image), of_text / len(text)
        self.inverse_frequency = np.log((1 + len(text)) / (1 + of_text)) + 1 if text_kind == "words" else None

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.image), self.image.shape[1] + self.text.shape[1]

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        for rows in self._rows():
            image = _unit(_signed_root(self.image[rows]) - self.mean)
            if self.inverse_frequency is None:
                text = _unit(_signed_root(self.text[rows]) - self.text_mean)
            else:
                text = _unit(np.asarray(self.text[rows], np.float64) * self.inverse_frequency)
            yield rows, np.concatenate([image, text], axis=1).astype(np.float32)

    def _rows(self) -> Iterator[NDArray[np.int64]]:
        yield from np.split(self.order, self.cuts[:-1])


def _spectrum(features: _Features, targets: NDArray[np.float64]) -> tuple[Any, Any, Any]:
    """Eigenvalues e of K, a function of a block that gives its rows of U, and U^T Y.

    Of K itself where there are fewer rows than columns, else of the columns' own product.
    """
    from scipy.linalg import eigh

    n, columns = features.shape
    if n <= columns:
        whole = np.empty(features.shape, np.float32)
        for rows, block in features.blocks():
            whole[rows] = block
        values, vectors = eigh(
            (whole @ whole.T).astype(np.float64), overwrite_a=True, check_finite=False, driver="evd"
        )
        kept = values > values[-1] * 1e-7
        values, vectors = values[kept], vectors[:, kept]
        return values, lambda rows, block: vectors[rows], vectors.T @ targets
    product = np.zeros((columns, columns))
    with_targets = np.zeros((columns, targets.shape[1]))
    for rows, block in features.blocks():
        product += block.T @ block
        with_targets += block.T @ targets[rows].astype(np.float32)
    values, vectors = eigh(product, overwrite_a=True, check_finite=False, driver="evd")
    kept = values > values[-1] * 1e-7
    values = values[kept]
    scaled = (vectors[:, kept] / np.sqrt(values)).astype(np.float32)
    return values, lambda rows, block: block @ scaled, scaled.T.astype(np.float64) @ with_targets


class _NoiseFit:
    """eta = sigmoid(alpha_c + b_c Z), and the rates a and d, by maximum likelihood of the given labels."""

    def __init__(self, scores: NDArray[np.float32], labels: NDArray[Any], separate: bool):
        from scipy.optimize import minimize

        self.labels = labels.astype(np.float64)
        spread = scores.std(axis=0, dtype=np.float64)
        self.standardised = (scores - scores.mean(axis=0)) / np.maximum(spread, 1e-9)
        classes = labels.shape[1]
        # Expected labels a sample; kept away from the ends, where a rate would have nothing to divide by.
        cardinality = float(np.clip(self.labels.sum(axis=1).mean(), 0.05, classes - 0.05))
        self.per_label = np.array([1 / (classes - cardinality), 1 / cardinality])
        self.separate = separate
        share = np.clip(self.labels.mean(axis=0), 1e-3, 1 - 1e-3)
        start = np.concatenate(
            [np.log(share / (1 - share)), np.ones(classes), [0.2] * (2 if separate else 1)]
        )
        most = np.minimum(MAX_RATE, 0.49 / self.per_label)
        rates = [(MIN_RATE, top) for top in most] if separate else [(MIN_RATE, float(most.min()))]
        found = minimize(
            self._loss,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=[(None, None)] * (2 * classes) + rates,
            options={"maxiter": 500},
        )
        self.alpha, self.slope, rate = np.split(found.x, [classes, 2 * classes])
        self.add, self.drop = (float(value) for value in np.broadcast_to(rate, 2) * self.per_label)
        self.rate = float(rate.max())

    def clean_probability(self) -> NDArray[np.float64]:
        """eta, (n, C): the probability of each label before its given value is looked at."""
        return _sigmoid(self.alpha + self.slope * self.standardised)

    def _loss(self, parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        size = self.labels.size
        classes = self.labels.shape[1]
        alpha, slope, rate = np.split(parameters, [classes, 2 * classes])
        add, drop = np.broadcast_to(rate, 2) * self.per_label
        eta = _sigmoid(alpha + slope * self.standardised)
        q = np.clip(add + (1 - add - drop) * eta, 1e-12, 1 - 1e-12)
        off = slope - slope.mean()
        likelihood = (self.labels * np.log(q) + (1 - self.labels) * np.log(1 - q)).sum() / size
        loss = -likelihood + 1e-5 * (alpha**2).sum() / classes + 1e-3 * (off**2).sum() / classes
        by_q = -(self.labels - q) / (q * (1 - q)) / size
        by_logit = by_q * (1 - add - drop) * eta * (1 - eta)
        by_rates = np.array([(by_q * (1 - eta)).sum(), -(by_q * eta).sum()]) * self.per_label
        gradient = [
            by_logit.sum(axis=0) + 2e-5 * alpha / classes,
            (by_logit * self.standardised).sum(axis=0) + 2e-3 * off / classes,
            by_rates if self.separate else by_rates.sum(keepdims=True),
        ]
        return float(loss), np.concatenate(gradient)


def _independent(eta: NDArray[Any], labels: NDArray[Any], add: float, drop: float) -> NDArray[Any]:
    q = add + (1 - add - drop) * eta
    return np.where(labels != 0, (1 - drop) * eta / q, drop * eta / (1 - q))


def _swap(eta: NDArray[Any], labels: NDArray[Any], rate: float) -> NDArray[Any]:
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


def _signed_root(values: NDArray[Any]) -> NDArray[np.float64]:
    values = np.asarray(values, np.float64)
    return np.sign(values) * np.sqrt(np.abs(values))


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 * (1 + np.tanh(0.5 * values))
