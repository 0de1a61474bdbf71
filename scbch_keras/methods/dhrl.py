"""DHRL: samples whose labels a classifier ranks wrongly do not teach the other modality's."""

from collections.abc import Mapping
from typing import Any, Unpack

import keras
from keras import ops

from scbch_keras.arrays import Tensor
from scbch_keras.checks import number, share
from scbch_keras.hashing import CrossModalHashing
from scbch_keras.methods.batch_terms import label_errors
from scbch_keras.names import PACKAGE
from scbch_keras.network import NetworkArguments


@keras.saving.register_keras_serializable(PACKAGE)
class DHRL(CrossModalHashing):
    """Deep Hashing with Ranking Learning for noisy labels (Shu, Bai, Yong and Yu, IEEE Trans. Big Data, 2024).

    One linear classifier, which both modalities have in common, predicts the labels from the codes; nothing else shapes
    these but that the two codes of a pair are to agree: L = BCE(p^1, y) + BCE(p^2, y) + mean (u - v)^2. Of a batch
    each modality's cross-entropy is taken over the share `kept` whose labels the OTHER modality's logits rank best
    (`ranking_error`). Source: the authors' code (zzidlezz/DHRL).

    What differs from it:

    - The branches are the shared ones: the transformer over one token a bit and the small network a bit are left out.
      A low number of the method here can be that.
    - Codes are sqrt(bits) times the branches' of unit norm; the authors' are outputs of tanh without a norm.
    - `kept` is a share of each batch; the code keeps 96 samples, also of a smaller last batch.

    Args:
        bits: int >= 1, code length. With few bits it learns little.
        num_classes: int >= 1, number of labels.
        kept: float in (0, 1], the share of a batch that is trained on.
        missing: float >= 0, weight of absent labels ranked as high as present ones.
        extra: float >= 0, weight of present labels ranked as low as absent ones.
        **network: the branches, l2 and name; see `CrossModalHashing`.

    Raises:
        ValueError: kept, missing or extra out of range.
    """

    def __init__(
        self,
        bits: int,
        num_classes: int,
        kept: float = 0.75,
        missing: float = 0.2,
        extra: float = 0.8,
        **network: Unpack[NetworkArguments],
    ) -> None:
        names = ("image_classification", "text_classification", "agreement")
        super().__init__(bits, num_classes, terms=names, **network)
        self.kept = share("kept", kept, above=True)
        self.missing = number("missing", missing, 0)
        self.extra = number("extra", extra, 0)
        # PyTorch's default, which the authors train from.
        start = keras.initializers.RandomUniform(-(bits**-0.5), bits**-0.5)
        self.classifier = keras.layers.Dense(
            num_classes,
            kernel_initializer=start,
            bias_initializer=start.clone(),
            dtype="float32",
            name="classifier",
        )

    def build_heads(self, modality: str) -> None:
        """Build the classifier, which both modalities have in common."""
        if not self.classifier.built:
            self.classifier.build((None, self.bits))

    def objective(
        self, x: Any, labels: Tensor, outputs: dict[str, Tensor], sample_weight: Tensor | None, training: bool
    ) -> Mapping[str, tuple[Any, Any]]:
        """The three terms; see `CrossModalHashing.objective`. Validation keeps all samples."""
        image, text = (self.bits**0.5 * outputs[name] for name in ("image", "text"))
        image_logits, text_logits = self.classifier(image), self.classifier(text)
        ranked_by = {"image": image_logits, "text": text_logits}
        chosen = {
            name: chosen_share(
                ranking_error(logits, labels, self.missing, self.extra), self.kept, sample_weight
            )
            if training
            else None
            for name, logits in ranked_by.items()
        }
        return {
            "image_classification": (
                1.0,
                cross_entropy(image_logits, labels, chosen["text"], self.kept, sample_weight),
            ),
            "text_classification": (
                1.0,
                cross_entropy(text_logits, labels, chosen["image"], self.kept, sample_weight),
            ),
            "agreement": (1.0, agreement(image, text, sample_weight)),
        }


def ranking_error(logits: Tensor, labels: Tensor, missing: float, extra: float) -> Tensor:
    """How far a sample's logits are from ranking all of its labels above all others.

    No gradient flows through it.

    Args:
        logits: (n, C).
        labels: (n, C), 0/1.
        missing: float, weight of the sum over absent labels.
        extra: float, weight of the sum over present labels.

    Returns:
        (n,) >= 0: missing * sum_a sqrt(sum_b e_ab + 1e-10) + extra * sum_b sqrt(sum_a e_ab + 1e-10) over all labels,
        with e_ab = max(0, 1 + 2 (p_a - p_b))^2 where a is absent and b is present, else 0.
    """
    logits, labels = ops.stop_gradient(logits), ops.cast(labels, "float32")
    wrong = ops.square(ops.relu(1 + 2 * (logits[:, :, None] - logits[:, None, :])))
    wrong = wrong * (1 - labels)[:, :, None] * labels[:, None, :]
    by_absent, by_present = (ops.sum(ops.sqrt(ops.sum(wrong, axis=axis) + 1e-10), axis=1) for axis in (2, 1))
    return missing * by_absent + extra * by_present


def chosen_share(errors: Tensor, kept: float, sample_weight: Tensor | None = None) -> Tensor:
    """The share of a batch with the smallest errors, the first of equals first.

    Args:
        errors: (n,).
        kept: float in (0, 1]; of n samples, kept * n rounded are chosen.
        sample_weight: (n,) or None: how much of the batch a sample is.

    Returns:
        (n,), 1 or 0.
    """
    weight = ops.ones_like(errors) if sample_weight is None else ops.cast(sample_weight, "float32")
    rows = ops.arange(ops.shape(errors)[0])
    earlier = (errors[None, :] < errors[:, None]) | (
        (errors[None, :] == errors[:, None]) & (rows[None, :] < rows[:, None])
    )
    before = ops.sum(weight[None, :] * ops.cast(earlier, "float32"), axis=1)
    return ops.cast(before + weight / 2 < kept * ops.sum(weight), "float32")


def cross_entropy(
    logits: Tensor, labels: Tensor, chosen: Tensor, kept: float, sample_weight: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy, summed over labels, mean over the chosen samples.

    Args:
        logits: (n, C).
        labels: (n, C), 0/1.
        chosen: (n,), 1 or 0, or None for all.
        kept: float in (0, 1], the share that is chosen.
        sample_weight: (n,) or None.

    Returns:
        Scalar >= 0: 1/(kept n) * sum over the chosen of sum_c BCE.
    """
    each = label_errors(logits, labels)
    if sample_weight is not None:
        each = ops.cast(sample_weight, "float32") * each
    return ops.mean(each) if chosen is None else ops.mean(chosen * each) / kept


def agreement(image_codes: Tensor, text_codes: Tensor, sample_weight: Tensor | None = None) -> Tensor:
    """Mean squared difference of the two codes of a pair, over samples and bits.

    Args:
        image_codes: (n, bits).
        text_codes: (n, bits).
        sample_weight: (n,) or None.

    Returns:
        Scalar >= 0.
    """
    each = ops.mean(ops.square(image_codes - text_codes), axis=1)
    return ops.mean(each if sample_weight is None else ops.cast(sample_weight, "float32") * each)
