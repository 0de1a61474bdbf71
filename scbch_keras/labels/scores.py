"""Leave-one-out ridge regression of labels on the features of two modalities, in blocks. numpy and scipy only."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scbch_keras.arrays import as_array, blocks, check_features, is_dict_of_arrays
from scbch_keras.checks import whole
from scbch_keras.labels.matrix import check_labels

TextKind = Literal["words", "dense"]
Modalities = tuple[Literal["image", "text"], ...]
BOTH: Modalities = ("image", "text")
RIDGES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
BLOCK = 4096


def checked_features(
    image: Any, text: Any, rows: int, text_kind: TextKind | None
) -> tuple[NDArray[Any], NDArray[Any], TextKind]:
    """Both as arrays, and the kind that the texts' features are of."""
    for name, features in (("image", image), ("text", text)):
        if is_dict_of_arrays(features):
            raise ValueError(
                f"{name} must be one array (n, d) of features that rows are compared by; got a dict of "
                f"{', '.join(map(str, features))}. Give features apart from what the branch reads: of texts counts "
                "of words or embeddings of an encoder that is not trained; fit then takes the probabilities as labels."
            )
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


def items_of(groups: Any, labels: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
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
    block_size: int = BLOCK,
    text_kind: TextKind | None = None,
) -> tuple[NDArray[np.float32], float]:
    """Ridge regression of labels on both modalities, each item predicted without itself -> (n, C), lambda.

    Image rows: signed square root, less the mean, unit norm. Text rows: the same where `text_kind` is "dense"; where it
    is "words" times inverse document frequency, unit norm.
    With K = A A^T + B B^T = U diag(e) U^T, h = e / (e + lambda) and H = U diag(h) U^T, the prediction of the rows g
    of an item without them is (I - H_gg)^-1 ((H Y)_g - H_gg Y_g), Y less its mean, which is added again. The rows of
    an item get their mean. lambda is the one of `RIDGES` with the least squared error.
    """
    labels = check_labels("labels", labels)
    _, item = items_of(groups, labels)
    image, text, text_kind = checked_features(image, text, len(labels), text_kind)
    return predictions(Features(image, text, item, block_size, text_kind), labels, item)


def predictions(
    features: "Features",
    labels: NDArray[Any],
    item: NDArray[np.int64],
    modalities: Modalities = BOTH,
    ridges: tuple[float, ...] = RIDGES,
) -> tuple[NDArray[np.float32], float]:
    """`leave_one_out` on both modalities or on one, where K is A A^T or B B^T alone, and for a choice of lambdas."""
    targets = labels.astype(np.float64)
    mean = targets.mean(axis=0)
    targets -= mean
    values, basis, projected = _spectrum(features, targets, modalities)
    shrink = [values / (values + ridge) for ridge in ridges]
    scores = np.empty((len(ridges), *labels.shape), np.float32)
    errors = np.zeros(len(ridges))
    for rows, block in features.blocks(modalities):
        left = basis(rows, block)
        for alike in _equal_sizes(item[rows]):
            own_left, own_targets = left[alike], targets[rows[alike]]
            for number, h in enumerate(shrink):
                weighted = own_left * h
                own = weighted @ own_left.transpose(0, 2, 1)
                fitted = (weighted.reshape(alike.size, len(h)) @ projected).reshape(own_targets.shape)
                predicted = np.linalg.solve(np.eye(alike.shape[1]) - own, fitted - own @ own_targets)
                predicted = np.broadcast_to(predicted.mean(axis=1, keepdims=True), predicted.shape)
                errors[number] += np.square(predicted - own_targets).sum()
                scores[number, rows[alike]] = predicted + mean
    best = int(errors.argmin())
    return scores[best].copy(), ridges[best]


def _equal_sizes(item: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Positions of a block's items, sorted by item: (items, rows an item), an array for each number of rows."""
    _, start, count = np.unique(item, return_index=True, return_counts=True)
    for size in np.unique(count):
        yield start[count == size, None] + np.arange(size)


def row_statistics(blocks: Iterable[NDArray[Any]], kind: TextKind) -> NDArray[np.float64]:
    """Of rows (n, d), block by block: (d,), the mean of their signed roots, or inverse document frequencies of words.

    That of a word is log((1 + n) / (1 + rows that have it)) + 1.
    """
    total: Any = 0.0
    number = 0
    for block in blocks:
        total = total + ((block > 0) if kind == "words" else _signed_root(block)).sum(axis=0)
        number += len(block)
    return np.log((1 + number) / (1 + total)) + 1 if kind == "words" else total / number


class Features:
    """Rows of both modalities as the regression takes them, a block at a time."""

    def __init__(
        self,
        image: NDArray[Any],
        text: NDArray[Any],
        item: NDArray[np.int64],
        block_size: int,
        text_kind: TextKind,
    ):
        block_size = whole("block_size", block_size, 1)
        self.image, self.text, self.text_kind = image, text, text_kind
        # In blocks of whole items, whose rows are side by side.
        self.order = np.argsort(item, kind="stable")
        ends = np.flatnonzero(np.diff(item[self.order], append=-1)) + 1
        targets = np.arange(block_size, len(image) + block_size, block_size)
        self.cuts = np.unique(ends[np.minimum(np.searchsorted(ends, targets), len(ends) - 1)])
        # By words that are the same in all rows, a row is predicted by the mean of the others: its own label, turned.
        self.text_varies = any((text[rows] != text[0]).any() for rows in self._rows())
        self.image_statistics = row_statistics((image[rows] for rows in self._rows()), "dense")
        self.text_statistics = row_statistics((text[rows] for rows in self._rows()), text_kind)

    def shape(self, modalities: Modalities) -> tuple[int, int]:
        return len(self.image), sum(getattr(self, name).shape[1] for name in modalities)

    def blocks(self, modalities: Modalities) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        transforms = {"image": self._image, "text": self._text}
        for rows in self._rows():
            sides = [transforms[name](rows) for name in modalities]
            yield rows, np.concatenate(sides, axis=1).astype(np.float32)

    def _image(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return _unit(_signed_root(self.image[rows]) - self.image_statistics)

    def _text(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        if not self.text_varies:
            return np.zeros((len(rows), self.text.shape[1]))
        if self.text_kind == "dense":
            return _unit(_signed_root(self.text[rows]) - self.text_statistics)
        return _unit(np.asarray(self.text[rows], np.float64) * self.text_statistics)

    def _rows(self) -> Iterator[NDArray[np.int64]]:
        yield from np.split(self.order, self.cuts[:-1])


def _spectrum(
    features: Features, targets: NDArray[np.float64], modalities: Modalities
) -> tuple[Any, Any, Any]:
    """Eigenvalues e of K, a function of a block that gives its rows of U, and U^T Y.

    Of K itself where there are fewer rows than columns, else of the columns' own product.
    """
    from scipy.linalg import eigh

    n, columns = features.shape(modalities)
    if n <= columns:
        whole = np.empty((n, columns), np.float32)
        for rows, block in features.blocks(modalities):
            whole[rows] = block
        values, vectors = eigh(
            (whole @ whole.T).astype(np.float64), overwrite_a=True, check_finite=False, driver="evd"
        )
        kept = values > values[-1] * 1e-7
        values, vectors = values[kept], vectors[:, kept]
        return values, lambda rows, block: vectors[rows], vectors.T @ targets
    product = np.zeros((columns, columns))
    with_targets = np.zeros((columns, targets.shape[1]))
    for rows, block in features.blocks(modalities):
        product += block.T @ block
        with_targets += block.T @ targets[rows].astype(np.float32)
    values, vectors = eigh(product, overwrite_a=True, check_finite=False, driver="evd")
    kept = values > values[-1] * 1e-7
    values = values[kept]
    scaled = (vectors[:, kept] / np.sqrt(values)).astype(np.float32)
    return values, lambda rows, block: block @ scaled, scaled.T.astype(np.float64) @ with_targets


def _signed_root(values: NDArray[Any]) -> NDArray[np.float64]:
    values = np.asarray(values, np.float64)
    return np.sign(values) * np.sqrt(np.abs(values))


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
