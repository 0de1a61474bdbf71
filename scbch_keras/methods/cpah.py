"""CPAH: the part of each modality's feature that both have in common, told apart by two adversaries, makes the code."""

from collections.abc import Mapping
from typing import Any, Self, Unpack

import keras
import numpy as np
from keras import ops

from scbch_keras.arrays import Tensor
from scbch_keras.checks import number
from scbch_keras.data import LoaderPairs, PairDataset
from scbch_keras.hashing import CrossModalHashing
from scbch_keras.layers import HashBranch
from scbch_keras.methods.batch_terms import label_errors, shares_label, squared_distance, weights
from scbch_keras.methods.dcmh import pairwise_likelihood
from scbch_keras.methods.discriminator import Discriminator
from scbch_keras.names import PACKAGE
from scbch_keras.network import NetworkArguments
from scbch_keras.sample_state import sample_rows, sample_variable, stored_variable, write_rows

_BATCH = 64
"""Of the port, for whose sums over a batch the weights are."""


@keras.saving.register_keras_serializable(PACKAGE)
class MaskedBranch(HashBranch):
    """A `HashBranch` whose code is made of the common part of its feature, f * m with m = sigmoid(W f + b).

    Args:
        **settings: of `HashBranch`.
    """

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        width = self.hash_layer.kernel.shape[0]
        self.mask = self._dense(width, width, "sigmoid")

    def features(self, inputs: Any, training: bool | None = None) -> Tensor:
        """The common part (n, d)."""
        return self.parts(inputs, training)[0]

    def parts(self, inputs: Any, training: bool | None = None) -> tuple[Tensor, Tensor]:
        """The common and the private part of the feature, (n, d) each."""
        whole = super().features(inputs, training)
        mask = self.mask(whole)
        return whole * mask, whole * (1 - mask)

    @classmethod
    def of(cls, branch: HashBranch) -> Self:
        """The branch with a mask.

        Raises:
            ValueError: it has weights already, which it would lose.
        """
        if isinstance(branch, cls):
            return branch
        if branch.built:
            raise ValueError(
                f"{branch.name} has weights already, and CPAH puts a mask into its branches: pass one that is not "
                "built, or a keras.Model as its body."
            )
        kept = ("bits", "units", "body", "normalize", "rows", "name", "trainable")
        return cls(**{name: getattr(branch, name) for name in kept}, dtype=branch.dtype_policy)


@keras.saving.register_keras_serializable(PACKAGE)
class CPAH(CrossModalHashing):
    """Cross-modal hashing with Consistency-Preserving Adversarial learning (Xie et al., IEEE TIP 29, 2020).

    Supervised, no defence against wrong labels. A mask parts each modality's feature into a common and a private one;
    the common one alone makes codes, u and v. A discriminator D learns to tell the images' common parts from the
    texts', a consistency classifier K common parts from each modality's private ones, and label classifiers the labels
    from common parts. After D's step all others learn

    100 A + alpha (K + labels) + pairs + beta quantization,

    A being the cross-entropy of the texts' common parts passing for images', pairs and quantization those of DCMH, with
    B = sign(u + v) of the epoch before. Source: a third party's port (comrados/cpah), corrected; no authors' code was
    found.

    What differs from it:

    - Defects of the port are not repeated: K is what classifies, where the port takes the feature for K's logits; codes
      are of the common part in encoding too; log-sigmoids do not overflow; the rate does not fall in the second epoch.
    - The feature is what a shared branch gives before its last layer, without batch normalization. Codes are sqrt(bits)
      times those of unit norm.
    - The sums over a batch count as in the port's batches of 64, whatever the batch; all is divided by 64.
    - Weight decay and the rate of the optimizer are the model's.

    Each mask has d^2 weights, d being the width before the last layer, which must be the same in both branches.
    Validation has the pairs and the quantization of its batches alone.

    Args:
        bits: int >= 1, code length.
        num_classes: int >= 1, number of labels.
        adversarial: float >= 0, weight of A.
        alpha: float >= 0, weight of both classifiers.
        beta: float >= 0, weight of quantization.
        discriminator_rate: float > 0, D's learning rate.
        **network: the branches, l2 and name; see `CrossModalHashing`. A `HashBranch` must not have weights yet.

    Raises:
        ValueError: adversarial, alpha, beta or discriminator_rate out of range, or a branch that is built.
    """

    def __init__(
        self,
        bits: int,
        num_classes: int,
        adversarial: float = 100.0,
        alpha: float = 0.1,
        beta: float = 1.0,
        discriminator_rate: float = 1e-4,
        **network: Unpack[NetworkArguments],
    ) -> None:
        names = ("adversarial", "consistency", "classification", "pairs", "quantization")
        super().__init__(bits, num_classes, terms=names, **network)
        self.adversarial = number("adversarial", adversarial, 0)
        self.alpha = number("alpha", alpha, 0)
        self.beta = number("beta", beta, 0)
        self.discriminator_rate = number("discriminator_rate", discriminator_rate, 0, above=True)
        plain = {"dtype": "float32"}
        self.discriminator = Discriminator(self.discriminator_rate, name="discriminator", **plain)
        self.consistency = keras.Sequential(
            [keras.layers.Dense(64, "relu", **plain), keras.layers.Dense(3, **plain)], name="consistency"
        )
        self.image_classifier = keras.layers.Dense(num_classes, name="image_classifier", **plain)
        self.text_classifier = keras.layers.Dense(num_classes, name="text_classifier", **plain)
        self._seeds = keras.random.SeedGenerator()
        # u + v of the epoch before, (N, bits), once fit knows N.
        self.codes: Any = None

    def _as_branch(self, name: str, branch: Any, units: tuple[int, ...]) -> HashBranch:
        if name == "image_branch":
            self._given = id(branch)
        elif isinstance(branch, HashBranch) and id(branch) == self._given:
            return (
                self.image_branch
            )  # so that it is refused as one branch for both, which two masks would hide
        return MaskedBranch.of(super()._as_branch(name, branch, units))

    def build_heads(self, modality: str) -> None:
        """Build the classifiers and the discriminator."""
        width = self._branches()[modality].hash_layer.kernel.shape[0]
        getattr(self, f"{modality}_classifier").build((None, width))
        if not self.discriminator.built:
            self.discriminator.build((None, width))
            self.consistency.build((None, width))
        elif self.discriminator.width != width:
            raise ValueError(
                f"CPAH compares the features of both branches before their last layers: expected the same width, got "
                f"{self.discriminator.width} and {width}."
            )

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> dict[str, Tensor]:
        """Codes of the modalities in `inputs`; in training the parts of their features too."""
        if not training:
            return super().call(inputs, training)
        outputs: dict[str, Tensor] = {}
        for name, branch in self._branches().items():
            common, private = (ops.cast(part, "float32") for part in branch.parts(inputs[name], training))
            outputs |= {name: branch.codes_of(common), f"{name}_common": common, f"{name}_private": private}
        return outputs

    @property
    def needs_index(self) -> bool:
        """Whether training reads the samples' rows, by which codes are stored."""
        return True

    def _prepare(self, pairs: PairDataset | LoaderPairs) -> None:
        super()._prepare(pairs)
        before, shape = self.codes, (pairs.num_samples, self.bits)
        self.codes = sample_variable(self, before, shape, "codes")
        if self.codes is not before:
            self.codes.assign(keras.random.normal(shape, seed=self._seeds))

    def objective(
        self, x: Any, labels: Tensor, outputs: dict[str, Tensor], sample_weight: Tensor | None, training: bool
    ) -> Mapping[str, tuple[Any, Any]]:
        """The terms of all but the discriminator, which learns first; see `CrossModalHashing.objective`."""
        image, text = (self.bits**0.5 * outputs[name] for name in ("image", "text"))
        weight, _ = weights(labels, sample_weight)
        blend = ops.stop_gradient(image + text)
        passing = parted = wrong = ops.zeros((), "float32")
        if training:
            rows = sample_rows(self.codes, x)
            blend, now = ops.copy(ops.take(self.codes, rows[:, 0], axis=0)), blend
            write_rows(self.codes, rows, now)
            images, texts = outputs["image_common"], outputs["text_common"]
            share = keras.random.uniform(ops.shape(images), seed=self._seeds)
            self.discriminator.learn(images, texts, share * images + (1 - share) * texts, weight)
            passing = ops.mean(weight * ops.softplus(-self.discriminator(texts)))
            parted = self._consistency_errors(outputs, weight)
            wrong = sum(
                ops.mean(weight * label_errors(classifier(common), labels))
                for classifier, common in ((self.image_classifier, images), (self.text_classifier, texts))
            )
        binary = ops.where(blend > 0, 1.0, -1.0)
        gaps = squared_distance(binary, image) + squared_distance(binary, text)
        return {
            "adversarial": (self.adversarial / _BATCH, passing),
            "consistency": (self.alpha, parted),
            "classification": (self.alpha, wrong),
            "pairs": (_BATCH, pairwise_likelihood(image, text, shares_label(labels), sample_weight)),
            "quantization": (self.beta, ops.mean(weight * gaps)),
        }

    def _consistency_errors(self, outputs: dict[str, Tensor], weight: Tensor) -> Tensor:
        """Cross-entropy of K, which tells the images' private parts (0), common ones (1) and the texts' (2) apart."""
        kinds = {"image_common": 1, "text_common": 1, "image_private": 0, "text_private": 2}
        errors = []
        for name, kind in kinds.items():
            logits = self.consistency(outputs[name])
            errors.append(ops.logsumexp(logits, axis=1) - logits[:, kind])
        return ops.mean(weight * sum(errors))

    def save_own_variables(self, store: Any) -> None:
        """The codes and the state of the draws, without which training cannot go on where it was."""
        if self.codes is not None:
            store["codes"] = ops.convert_to_numpy(self.codes)
            store["draws"] = ops.convert_to_numpy(self._seeds.state)

    def load_own_variables(self, store: Any) -> None:
        """See `save_own_variables`."""
        if "codes" in store:
            self.codes = stored_variable(self, store, "codes")
            self._seeds.state.assign(np.asarray(store["draws"]))
