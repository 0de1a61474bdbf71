"""CIRH: a graph network over both modalities makes joint codes, which the branches learn to hit."""

from collections.abc import Mapping
from typing import Any, Unpack

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from scbch_keras.arrays import Tensor
from scbch_keras.checks import number, share, whole
from scbch_keras.data import LoaderPairs, PairDataset
from scbch_keras.hashing import CrossModalHashing
from scbch_keras.layers import unit_norm
from scbch_keras.methods.batch_terms import weights
from scbch_keras.methods.graph_teacher import GraphTeacher, mixed_with_neighbors
from scbch_keras.methods.whole_set import affinity, features_of, flat, unit_rows
from scbch_keras.names import PACKAGE
from scbch_keras.network import NetworkArguments
from scbch_keras.sample_state import sample_rows, sample_variable, stored_variable, write_rows


@keras.saving.register_keras_serializable(PACKAGE)
class CIRH(CrossModalHashing):
    """Work Together: Correlation-Identity Reconstruction Hashing (Zhu et al., TKDE 2022). Labels are not read.

    A graph network that sees both modalities of a batch, the teacher, makes joint codes H; the branches, the
    students, learn to hit B = sign(H). With A the affinity of the whole training set's features (`adjacency`), x' the
    features mixed with those of two neighbours in the batch, and H^1, H^2 the teacher's codes of each modality:

    - teacher: reconstruction [mse(decoded, x'^1) + mse(decoded, x'^2)] + mse(cos(H^1, H^1), A) + mse(cos(H^2, H^2), A)
      + mse(cos(H, H), A) + mse(H, B);
    - students: mse(u, B) + mse(v, B) + mse(u, v) + beta [mse(cos(u, v), A) + mse(cos(u, u), A) + mse(cos(v, v), A)].

    The students hit the codes that the teacher gave their samples in the epoch before; in the first, those of the same
    step. Source: the authors' code (XizeWu/CIRH).

    What differs from it:

    - One update of a batch moves teacher and students: neither gets a gradient of the other's loss. The authors train
      the teacher for an epoch, then the students on its codes of that epoch; here the teacher is an epoch ahead.
    - The students' affinity is that of their own samples; the code takes other rows, those of the order without
      shuffling.
    - Students are the shared branches, without dropout, on features as they come; codes are sqrt(bits) times those of
      unit norm. One rate of Adam for both.
    - The number of affinities that are set to 0 is a share of N: the authors' 3,000 of 5,000.

    A takes 4 N^2 bytes (400 MB for 10,000 samples), twice that while it is made. In validation A is the affinity of the
    batch alone, features are not mixed and B is that of the batch.

    Args:
        bits: int >= 1, code length.
        num_classes: int >= 1, number of labels; not read.
        image_share: float in [0, 1], the images' share of A; the authors': .6 (MIRFlickr), .5 (NUS-WIDE), .1 (MS-COCO).
        first_order: float in [0, 1], the share in A of the affinity itself; the authors': .6, .5 and .3.
        zeroed: float in [0, 1], the share of each row of the affinity, its smallest, that is set to 0.
        reconstruction: float >= 0, weight of the decoders.
        beta: float >= 0, weight of the students' affinity.
        teacher_units: int >= 1, width of the teacher's layers.
        **network: the branches, l2 and name; see `CrossModalHashing`.

    Raises:
        ValueError: image_share, first_order, zeroed, reconstruction, beta or teacher_units out of range.
    """

    COMPARES_FEATURES = True

    def __init__(
        self,
        bits: int,
        num_classes: int,
        image_share: float = 0.6,
        first_order: float = 0.6,
        zeroed: float = 0.6,
        reconstruction: float = 10.0,
        beta: float = 0.01,
        teacher_units: int = 512,
        **network: Unpack[NetworkArguments],
    ) -> None:
        names = ("reconstruction", "teacher_affinity", "teacher_sign", "codes", "affinity")
        super().__init__(bits, num_classes, terms=names, **network)
        self.image_share = share("image_share", image_share)
        self.first_order = share("first_order", first_order)
        self.zeroed = share("zeroed", zeroed)
        self.reconstruction = number("reconstruction", reconstruction, 0)
        self.beta = number("beta", beta, 0)
        self.teacher_units = whole("teacher_units", teacher_units, 1)
        self.teacher = GraphTeacher(bits, self.teacher_units, dtype="float32", name="teacher")
        # A, (N, N), once fit knows the features: fit makes it anew. And the teacher's codes, (N, bits), 0 at first.
        self.target: Any = None
        self.teacher_codes: Any = None

    def build_heads(self, modality: str) -> None:
        """Build the teacher once the widths of both modalities are known."""
        if all(name in self._input_shape for name in ("image", "text")):
            self.teacher.build({name: self._width(name) for name in ("image", "text")})

    def _width(self, modality: str) -> int:
        shape: Any = self._input_shape[modality]
        if isinstance(shape, Mapping) or None in shape[1:]:
            raise ValueError(f"{modality} must be one array (n, ...) of a known size for CIRH; got {shape}.")
        return int(np.prod(shape[1:]))

    @property
    def needs_index(self) -> bool:
        """Whether training reads the samples' rows: A has a row and a column a sample."""
        return True

    def _prepare(self, pairs: PairDataset | LoaderPairs) -> None:
        super()._prepare(pairs)
        number = pairs.num_samples
        features = features_of(pairs)
        target = adjacency(
            features["image"], features["text"], self.image_share, self.first_order, self.zeroed
        )
        self.target = sample_variable(self, self.target, (number, number), "target")
        self.target.assign(target)
        self.teacher_codes = sample_variable(self, self.teacher_codes, (number, self.bits), "teacher_codes")

    def objective(
        self, x: Any, labels: Tensor, outputs: dict[str, Tensor], sample_weight: Tensor | None, training: bool
    ) -> Mapping[str, tuple[Any, Any]]:
        """The terms of both losses; see `CrossModalHashing.objective`."""
        image, text = (self.bits**0.5 * outputs[name] for name in ("image", "text"))
        features = {name: ops.cast(flat(x[name]), "float32") for name in ("image", "text")}
        if training:
            rows = sample_rows(self.target, x)
            target = ops.take(ops.take(self.target, rows[:, 0], axis=0), rows[:, 0], axis=1)
            features = mixed_with_neighbors(features, target)
        else:
            target = affinity(x["image"], x["text"], 1 - self.image_share)
        made = self.teacher(features, target, training=training)
        binary = ops.stop_gradient(ops.where(made["joint"] > 0, 1.0, -1.0))
        hit = binary
        if training:
            before = ops.take(self.teacher_codes, rows[:, 0], axis=0)
            hit = ops.where(before == 0, binary, before)
            write_rows(self.teacher_codes, rows, binary)
        teachers = [(made[name], made[name]) for name in ("image", "text", "joint")]
        students = [(image, text), (image, image), (text, text)]
        rebuilt = sum(gap(made[f"{name}_decoded"], features[name], sample_weight) for name in features)
        codes = sum(gap(*both, sample_weight) for both in ((image, hit), (text, hit), (image, text)))
        return {
            "reconstruction": (self.reconstruction, rebuilt),
            "teacher_affinity": (1.0, affinity_gaps(teachers, target, sample_weight)),
            "teacher_sign": (1.0, gap(made["joint"], binary, sample_weight)),
            "codes": (1.0, codes),
            "affinity": (self.beta, affinity_gaps(students, target, sample_weight)),
        }

    def save_own_variables(self, store: Any) -> None:
        """The teacher's codes, without which training cannot go on where it was."""
        if self.teacher_codes is not None:
            store["teacher_codes"] = ops.convert_to_numpy(self.teacher_codes)

    def load_own_variables(self, store: Any) -> None:
        """See `save_own_variables`."""
        if "teacher_codes" in store:
            self.teacher_codes = stored_variable(self, store, "teacher_codes")


def adjacency(
    image: NDArray[Any], text: NDArray[Any], image_share: float, first_order: float, zeroed: float
) -> NDArray[np.float32]:
    """How alike the samples of a training set are (CIRH).

    Args:
        image: (N, d), features.
        text: (N, e), features.
        image_share: float in [0, 1], a.
        first_order: float in [0, 1], b.
        zeroed: float in [0, 1]: the smallest round(zeroed N) of each row of A1 are set to 0.

    Returns:
        (N, N): b A1 + (1 - b) A2, with A1 = a cos(image, image) + (1 - a) cos(text, text), the smallest of each row 0,
        and A2 = 2 / (1 + exp(-A1)) - 1 + I, made symmetric by its mean with A2^T.
    """
    image, text = unit_rows(image), unit_rows(text)
    first: Any = image_share * image @ image.T + (1 - image_share) * text @ text.T
    smallest = round(zeroed * len(first))
    if smallest:
        # Row by row: the order of all at once would take another N^2 integers.
        for row in first:
            row[np.argpartition(row, smallest - 1)[:smallest]] = 0
    second = np.tanh(first / 2)
    second += second.T
    second *= (1 - first_order) / 2
    second[np.diag_indices_from(second)] += 1 - first_order
    first *= first_order
    return first + second


def gap(values: Tensor, others: Tensor, sample_weight: Tensor | None = None) -> Tensor:
    """Mean squared difference of (n, d) and (n, d), a sample counting by its weight (n,)."""
    weight, _ = weights(values, sample_weight)
    return ops.mean(weight * ops.mean(ops.square(values - others), axis=1))


def affinity_gaps(
    codes: list[tuple[Tensor, Tensor]], target: Tensor, sample_weight: Tensor | None = None
) -> Tensor:
    """Sum over pairs of codes (n, bits) of the mean squared difference of their cosines from the target (n, n)."""
    weight, _ = weights(target, sample_weight)
    of_pairs = weight[:, None] * weight[None, :]
    return sum(
        ops.mean(
            of_pairs * ops.square(ops.matmul(unit_norm(first), ops.transpose(unit_norm(second))) - target)
        )
        for first, second in codes
    )
