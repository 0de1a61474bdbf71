"""DGCPN: codes that reproduce the affinity of the whole training set's frozen features, by neighbours shared."""

from collections.abc import Mapping
from typing import Any, Unpack

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from scbch_keras import backend
from scbch_keras.arrays import Tensor
from scbch_keras.checks import number, share
from scbch_keras.data import ROWS_AT_ONCE, LoaderPairs, PairDataset
from scbch_keras.hashing import CrossModalHashing
from scbch_keras.layers import unit_norm
from scbch_keras.losses import own_pairs
from scbch_keras.methods.whole_set import affinity, features_of, unit_rows
from scbch_keras.names import PACKAGE
from scbch_keras.network import NetworkArguments
from scbch_keras.sample_state import sample_rows, sample_variable


@keras.saving.register_keras_serializable(PACKAGE)
class DGCPN(CrossModalHashing):
    """Deep Graph-neighbor Coherence Preserving Network (Yu et al., AAAI 2021). Labels are not read.

    The cosines of codes are drawn to a target T of the whole training set's features, made once: their affinity, and
    how many nearest neighbours two samples share (`coherence_target`):

    J = mse(X_ii, pull) + graph_weight [mse(X, T) + mse(U, T) + mse(V, T)]
        + consistency_weight [mse(X, U) + mse(X, V) + mse(U, V) + mse(X, X^T)]

    with X, U and V the cosines between the modalities, of the images and of the texts; the diagonals count in the first
    and the last term only. A batch makes two updates: by J of both codes, then, with new codes, by J of each modality's
    code with the other's binary one, which gets no gradient. Source: the authors' code (Atmegal/DGCPN).

    What differs from it:

    - The authors' second and third update, of one branch each from the same codes, are one here: with an optimizer
      that works by element it is the same. An optimizer counts two steps a batch. The logs are those of the first.
    - A sample itself is left out of its neighbours; the code leaves out the nearest, which can be its duplicate.
    - Neighbours and scale are shares of N, the authors' of their 5,000: k = 0.4 N and the scale 2 k.
    - No dropout, and a training of fixed length; the authors choose the epoch on validation queries. Adam takes the
      place of SGD with momentum.

    T takes 4 N^2 bytes (400 MB for 10,000 samples), twice that while it is made. In validation T is the affinity alone.

    Args:
        bits: int >= 1, code length.
        num_classes: int >= 1, number of labels; not read.
        text_share: float in [0, 1], the texts' share of the affinity.
        coherence_share: float in [0, 1], share of the shared neighbours in T.
        neighbor_share: float in (0, 1], k as a share of the training set.
        pull: float >= 0, what a pair's own cosine is drawn to; above 1 it is drawn together whatever it is.
        graph_weight: float >= 0, weight of the differences from T.
        consistency_weight: float >= 0, weight of the differences between the three cosines.
        **network: the branches, l2 and name; see `CrossModalHashing`.

    Raises:
        ValueError: text_share, coherence_share, neighbor_share, pull, graph_weight or consistency_weight out of
            range.
    """

    COMPARES_FEATURES = True

    def __init__(
        self,
        bits: int,
        num_classes: int,
        text_share: float = 0.01,
        coherence_share: float = 0.3,
        neighbor_share: float = 0.4,
        pull: float = 1.5,
        graph_weight: float = 1.0,
        consistency_weight: float = 1.0,
        **network: Unpack[NetworkArguments],
    ) -> None:
        names = ("pair", "graph", "consistency")
        super().__init__(bits, num_classes, terms=names, **network)
        self.text_share = share("text_share", text_share)
        self.coherence_share = share("coherence_share", coherence_share)
        self.neighbor_share = share("neighbor_share", neighbor_share, above=True)
        self.pull = number("pull", pull, 0)
        self.graph_weight = number("graph_weight", graph_weight, 0)
        self.consistency_weight = number("consistency_weight", consistency_weight, 0)
        # T, (N, N) once fit knows the features. Not part of a saved model: fit makes it anew.
        self.target: Any = None
        self._partners = "continuous"

    @property
    def needs_index(self) -> bool:
        """Whether training reads the samples' rows: T has a row and a column a sample."""
        return True

    def check_training_set(self, pairs: PairDataset | LoaderPairs) -> None:
        """Raise ValueError for labels of another width, or a training set without two samples."""
        super().check_training_set(pairs)
        if pairs.num_samples < 2:
            raise ValueError("DGCPN needs at least 2 training samples, each the other's neighbour; got 1.")

    def _prepare(self, pairs: PairDataset | LoaderPairs) -> None:
        super()._prepare(pairs)
        number = pairs.num_samples
        neighbors = max(2, round(self.neighbor_share * number))
        target = coherence_target(
            **features_of(pairs),
            text_share=self.text_share,
            coherence_share=self.coherence_share,
            neighbors=neighbors,
            scale=2 * neighbors,
        )
        self.target = sample_variable(self, self.target, (number, number), "target")
        self.target.assign(target)

    def train_step(self, *args: Any) -> Any:
        """Two updates; see `CrossModalHashing.train_step`."""
        *state, data = args
        try:
            for self._partners in ("continuous", "binary"):
                result = backend.train_step(self, *state, data)
                # JAX hands its state on from step to step.
                state = [result[1]] if isinstance(result, tuple) else []
        finally:
            self._partners = "continuous"
        return result

    def track_step(self, loss: Tensor, finite: Tensor, x: Any, y: Any, sample_weight: Tensor | None) -> None:
        """Log the first update of a batch."""
        if self._partners == "continuous":
            super().track_step(loss, finite, x, y, sample_weight)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        """J of both codes, or of each with the other's binary partner."""
        if self._partners == "continuous":
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        image, text = y_pred["image"], y_pred["text"]
        target = self._target_of(x, training)
        pairs = (image, _binary(text)), (_binary(image), text)
        terms = [term for pair in pairs for term in self._terms(*pair, target, sample_weight).values()]
        return sum(weight * value for weight, value in terms) + sum(self.losses)

    def objective(
        self, x: Any, labels: Tensor, outputs: dict[str, Tensor], sample_weight: Tensor | None, training: bool
    ) -> Mapping[str, tuple[Any, Any]]:
        """The three terms; see `CrossModalHashing.objective`."""
        return self._terms(outputs["image"], outputs["text"], self._target_of(x, training), sample_weight)

    def _terms(
        self, image: Tensor, text: Tensor, target: Tensor, sample_weight: Tensor | None
    ) -> dict[str, tuple[float, Tensor]]:
        values = coherence_terms(image, text, target, self.pull, sample_weight)
        weights = {"pair": 1.0, "graph": self.graph_weight, "consistency": self.consistency_weight}
        return {name: (weights[name], value) for name, value in values.items()}

    def _target_of(self, x: Any, training: bool) -> Any:
        if not training:
            return 2 * affinity(x["image"], x["text"], self.text_share) - 1
        rows = sample_rows(self.target, x)[:, 0]
        return ops.take(ops.take(self.target, rows, axis=0), rows, axis=1)


def coherence_target(
    image: NDArray[Any],
    text: NDArray[Any],
    text_share: float,
    coherence_share: float,
    neighbors: int,
    scale: float,
) -> NDArray[np.float32]:
    """How alike the samples of a training set are, and their neighbourhoods.

    Args:
        image: (N, d), features.
        text: (N, e), features.
        text_share: float in [0, 1], the texts' share of the affinity A.
        coherence_share: float in [0, 1], share of the second order.
        neighbors: int from 2 to N, k.
        scale: float, s, of the second order.

    Returns:
        (N, N): 2 [(1 - coherence_share) A + coherence_share s P P^T] - 1, with A = text_share cos(text, text) +
        (1 - text_share) cos(image, image), and P the affinities of each sample with the k - 1 others that are most
        alike, divided by their sum; negative ones, of features that have negative values, count as 0.
    """
    image, text = map(unit_rows, (image, text))
    number = len(image)
    target, walk = (np.zeros((number, number), "float32") for _ in range(2))
    blocks = [slice(start, start + ROWS_AT_ONCE) for start in range(0, number, ROWS_AT_ONCE)]
    for rows in blocks:
        affinity = text_share * text[rows] @ text.T + (1 - text_share) * image[rows] @ image.T
        target[rows] = affinity
        own = np.arange(rows.start, rows.start + len(affinity))
        affinity[np.arange(len(affinity)), own] = -np.inf
        nearest = np.argpartition(-affinity, neighbors - 2, axis=1)[:, : neighbors - 1]
        # Features with negative values may have neighbours that are unlike: those are none.
        values = np.maximum(np.take_along_axis(affinity, nearest, axis=1), 0)
        values /= np.maximum(values.sum(axis=1, keepdims=True), 1e-12)
        walk[own[:, None], nearest] = values
    for rows in blocks:
        coherence = scale * walk[rows] @ walk.T
        target[rows] = 2 * ((1 - coherence_share) * target[rows] + coherence_share * coherence) - 1
    return target


def coherence_terms(
    image_codes: Tensor, text_codes: Tensor, target: Tensor, pull: float, sample_weight: Tensor | None = None
) -> Tensor:
    """The terms of J without their weights.

    Args:
        image_codes: (n, bits), u.
        text_codes: (n, bits), v.
        target: (n, n), T.
        pull: float.
        sample_weight: (n,) or None; weighs a pair by the product of its two samples.

    Returns:
        Scalars >= 0: "pair", mean (X_ii - pull)^2; "graph", the sum of the mean squared differences of X, U and
        V from T, the diagonal counting as 0; "consistency", that of X and U, X and V, U and V, X and X^T.
    """
    image, text = unit_norm(image_codes), unit_norm(text_codes)
    across, images, texts = (
        ops.matmul(first, ops.transpose(second))
        for first, second in ((image, text), (image, image), (text, text))
    )
    others = 1 - own_pairs(across)
    weight = ops.ones_like(image[:, 0]) if sample_weight is None else ops.cast(sample_weight, "float32")
    of_pairs = weight[:, None] * weight[None, :]

    def gap(first: Tensor, second: Tensor, mask: Tensor | float = 1.0) -> Any:
        return ops.mean(of_pairs * mask * ops.square(first - second))

    return {
        "pair": ops.mean(weight * ops.square(ops.diagonal(across) - pull)),
        "graph": sum(gap(cosines, target, others) for cosines in (texts, across, images)),
        "consistency": gap(across, images)
        + gap(across, texts)
        + gap(images, texts)
        + gap(across, ops.transpose(across)),
    }


def _binary(codes: Tensor) -> Tensor:
    return ops.stop_gradient(ops.where(codes > 0, 1.0, -1.0))
