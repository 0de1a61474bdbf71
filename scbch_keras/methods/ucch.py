"""Unsupervised Contrastive Cross-modal Hashing: its class, the terms of its loss and its memory bank."""

from collections.abc import Mapping
from typing import Any, Unpack

import keras
import numpy as np
from keras import ops

from scbch_keras.arrays import Tensor
from scbch_keras.checks import number, share, whole
from scbch_keras.data import LoaderPairs, PairDataset
from scbch_keras.hashing import CrossModalHashing
from scbch_keras.layers import unit_norm
from scbch_keras.methods.batch_terms import cross_entropy, lowered
from scbch_keras.names import PACKAGE
from scbch_keras.network import NetworkArguments
from scbch_keras.sample_state import sample_rows, sample_variable, stored_variable, write_rows


@keras.saving.register_keras_serializable(PACKAGE)
class UCCH(CrossModalHashing):
    """Unsupervised Contrastive Cross-modal Hashing (Hu et al., TPAMI 45(3), 2023). Labels are not read.

    L = alpha L_c + (1 - alpha) L_r: each code finds its pair's binary code among many (contrastive hashing), and its
    pair ranks before all others, easy negatives counting less (cross-modal ranking). Source: the authors' code
    (penghu-cs/UCCH).

    What differs from it:

    - The binary codes to choose from are those of the batch. The authors do so in their first epoch alone; then
      they draw 4096 from a memory bank of all samples' codes, which `draws=4096` does too.
    - No clipping of gradients and no learning rate schedule.

    Args:
        bits: int >= 1, code length.
        num_classes: int >= 1, number of labels.
        alpha: float in [0, 1], share of contrastive hashing.
        temperature: float > 0, of contrastive hashing.
        margin: float >= 0: how close to the own pair's score a negative is hard.
        shift: float >= 0, by which the scores of easy negatives are lowered.
        draws: int >= 1, codes drawn from the bank for each sample, beside its own; None: no bank.
        momentum: float in [0, 1], what a step keeps of a code in the bank.
        **network: the branches, l2 and name; see `CrossModalHashing`.

    Raises:
        ValueError: alpha, temperature, margin, shift, draws or momentum out of range.
    """

    def __init__(
        self,
        bits: int,
        num_classes: int,
        alpha: float = 0.9,
        temperature: float = 0.9,
        margin: float = 0.2,
        shift: float = 1.0,
        draws: int | None = None,
        momentum: float = 0.4,
        **network: Unpack[NetworkArguments],
    ) -> None:
        names = ("contrast", "ranking")
        super().__init__(bits, num_classes, terms=names, **network)
        self.alpha = share("alpha", alpha)
        self.temperature = number("temperature", temperature, 0, above=True)
        self.margin = number("margin", margin, 0)
        self.shift = number("shift", shift, 0)
        self.draws = whole("draws", draws, 1, optional=True)
        self.momentum = share("momentum", momentum)
        # The bank, (N, bits) once fit knows N, and whether an epoch has written it.
        self.memory: Any = None
        self._written = False
        if draws is not None:
            self._seeds = keras.random.SeedGenerator()
            self.banked = self.add_weight(
                shape=(), initializer="zeros", trainable=False, dtype="float32", autocast=False, name="banked"
            )

    @property
    def needs_index(self) -> bool:
        """Whether training reads the samples' rows: with a bank, which has one a sample."""
        return self.draws is not None

    def _prepare(self, pairs: PairDataset | LoaderPairs) -> None:
        super()._prepare(pairs)
        if self.draws is None:
            return
        before = self.memory
        self.memory = sample_variable(self, before, (pairs.num_samples, self.bits), "memory")
        self._written = self._written and self.memory is before

    def begin_epoch(self, pairs: PairDataset | LoaderPairs, epoch: int, epochs: int) -> None:
        """Contrast with the batch in the first epoch, which fills the bank, and with the bank afterwards."""
        if self.draws is not None:
            self.banked.assign(float(epoch > 0 and self._written))
            self._written = True

    def variables_restored(self) -> None:
        """The bank is one that was written."""
        self._written = True

    def objective(
        self, x: Any, labels: Tensor, outputs: dict[str, Tensor], sample_weight: Tensor | None, training: bool
    ) -> Mapping[str, tuple[Any, Any]]:
        """The two terms; see `CrossModalHashing.objective`."""
        image, text = outputs["image"], outputs["text"]
        contrast = instance_contrast(image, text, self.temperature, sample_weight)
        if training and self.draws is not None:
            contrast = ops.where(
                self.banked > 0, self._bank_contrast(x, image, text, sample_weight), contrast
            )
        ranking = cross_modal_ranking(image, text, self.margin, self.shift, sample_weight)
        return {"contrast": (self.alpha, contrast), "ranking": (1 - self.alpha, ranking)}

    def _bank_contrast(self, x: Any, image: Tensor, text: Tensor, sample_weight: Tensor | None) -> Tensor:
        rows = sample_rows(self.memory, x)
        others = keras.random.randint(
            (ops.shape(image)[0], self.draws), 0, self.memory.shape[0], dtype="int32", seed=self._seeds
        )
        draws = ops.concatenate([rows, others], axis=1)
        # A value, not the variable, which the step writes below.
        memory = ops.copy(ops.convert_to_tensor(self.memory))
        momentum = self.momentum * self.banked
        write_rows(self.memory, rows, moved_rows(image, text, ops.take(memory, rows[:, 0], axis=0), momentum))
        return bank_contrast(image, text, memory, draws, self.temperature, sample_weight)

    def save_own_variables(self, store: Any) -> None:
        """The bank and the state of its draws, without which training cannot go on where it was."""
        if self._written:
            store["memory"] = ops.convert_to_numpy(self.memory)
            store["draws"] = ops.convert_to_numpy(self._seeds.state)

    def load_own_variables(self, store: Any) -> None:
        """See `save_own_variables`."""
        if "memory" in store:
            self.memory = stored_variable(self, store, "memory")
            self._seeds.state.assign(np.asarray(store["draws"]))
            self._written = True


def instance_contrast(
    image_codes: Tensor, text_codes: Tensor, temperature: float, sample_weight: Tensor | None = None
) -> Tensor:
    """Each code finds its own pair's binary code among those of the batch (UCCH).

    No gradient flows through the binary codes.

    Args:
        image_codes: (n, bits), unit norm.
        text_codes: (n, bits), unit norm.
        temperature: float > 0.
        sample_weight: (n,) or None.

    Returns:
        Scalar > 0: the sum over both modalities of 1/n * sum_i -log softmax_j(h_i . b_j / temperature) at j = i,
        with b_j = sign(h^1_j + h^2_j) / sqrt(bits).
    """
    binary = ops.where(image_codes + text_codes > 0, 1.0, -1.0) / image_codes.shape[1] ** 0.5
    return sum(
        cross_entropy(ops.matmul(codes, ops.transpose(binary)) / temperature, sample_weight)
        for codes in (image_codes, text_codes)
    )


def cross_modal_ranking(
    image_codes: Tensor, text_codes: Tensor, margin: float, shift: float, sample_weight: Tensor | None = None
) -> Tensor:
    """Each sample's own pair is ranked before all others, hard ones counting most (UCCH).

    Args:
        image_codes: (n, bits), unit norm.
        text_codes: (n, bits), unit norm.
        margin: float: how close to the own pair's score a negative is hard.
        shift: float, by which the scores of the other negatives are lowered.
        sample_weight: (n,) or None.

    Returns:
        Scalar: the sum over both directions of 1/n * sum_i margin - S_ii + log sum_j exp(N_ij), with N = S where
        S_ij >= S_ii - margin and S - shift elsewhere, without a gradient through the comparison.
    """
    scores = ops.matmul(image_codes, ops.transpose(text_codes))
    return sum(
        cross_entropy(lowered(anchored, margin, shift), sample_weight, margin)
        for anchored in (scores, ops.transpose(scores))
    )


def bank_contrast(
    image_codes: Tensor,
    text_codes: Tensor,
    memory: Tensor,
    draws: Tensor,
    temperature: float,
    sample_weight: Tensor | None = None,
) -> Tensor:
    """Each code finds its own sample's binary code among those that were drawn from the bank.

    Args:
        image_codes: (n, bits), unit norm.
        text_codes: (n, bits), unit norm.
        memory: (N, bits), the bank; only its signs are read.
        draws: (n, K + 1), rows of the bank, a sample's own first; any may be there again.
        temperature: float > 0.
        sample_weight: (n,) or None; what was drawn counts the same whatever its weight.

    Returns:
        Scalar > 0: the sum over both modalities of 1/n * sum_i -log softmax_k(h_i . b_k / temperature) at i's own, over
        its draws k, with b = sign(memory) / sqrt(bits).
    """
    binary = ops.where(memory > 0, 1.0, -1.0) / image_codes.shape[1] ** 0.5
    total = 0.0
    for codes in (image_codes, text_codes):
        scores = ops.matmul(codes, ops.transpose(binary)) / temperature
        logits = ops.take_along_axis(scores, draws, axis=1)
        total = total + ops.logsumexp(logits, axis=1) - logits[:, 0]
    return ops.mean(total if sample_weight is None else ops.cast(sample_weight, "float32") * total)


def moved_rows(image_codes: Tensor, text_codes: Tensor, before: Tensor, momentum: float) -> Tensor:
    """The rows (n, bits) of a batch's samples in the bank, drawn to the mean of their two codes.

    Args:
        image_codes: (n, bits).
        text_codes: (n, bits).
        before: (n, bits), the rows as they are.
        momentum: float in [0, 1], what is kept of them.

    Returns:
        (n, bits), unit norm.
    """
    mean = unit_norm(image_codes + text_codes)
    return unit_norm(momentum * before + (1 - momentum) * mean)
