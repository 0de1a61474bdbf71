"""MIAN: a label network leads both codes, and a stochastic image feature tells of the text's."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, Unpack, get_args

import keras
import numpy as np
from keras import ops

from scbch_keras.arrays import Tensor
from scbch_keras.checks import number, one_of
from scbch_keras.data import LoaderPairs, PairDataset
from scbch_keras.hashing import CrossModalHashing
from scbch_keras.methods.batch_terms import squared_distance, weights
from scbch_keras.names import PACKAGE
from scbch_keras.network import NetworkArguments
from scbch_keras.sample_state import sample_rows, sample_variable, stored_variable, write_rows

PairTerm: TypeAlias = Literal["reference", "likelihood"]

_IMAGE, _TEXT, _LABELS = 0.01, 0.99, 100.0
"""Of the stored codes in B, and of each step's distance from B."""
_CLASSIFICATION = 0.01
_SHARING = 0.999
"""What the authors set for 1 in S."""
_SAMPLES, _FEATURES = 18_015, 512
"""Of the authors' training set and of the feature that is predicted: their weights are for sums over these."""
_STORES = {"image": "image_store", "text": "text_store", "labels": "label_store"}
"""Attributes of the model with the codes (N, bits) of all samples."""


@keras.saving.register_keras_serializable(PACKAGE)
class MIAN(CrossModalHashing):
    """Modality-Invariant Asymmetric Networks (Zhang et al., TKDE 35(5), 2023), no defence against wrong labels.

    A linear label network makes a code h of a sample's labels. Codes of all samples are stored, F of the images, G of
    the texts and H of the labels, and the codes of a batch are compared with the stored ones of all (`pair_loss`, q):

    - labels: q(F, h) + q(G, h) + 100 |B - h|^2;
    - texts: q(H, v) + q(G, v) + .99 |B - v|^2 + .01 |y - labels|^2;
    - images: q(H, u) + q(F, u) + .01 |B - u|^2 + .01 |y - labels|^2 + information (BCE + prior KL),

    with B = sign(.01 F + .99 G + 100 H), in effect the labels' code. The image feature is drawn from a Gaussian; it
    predicts the text feature, which bounds the mutual information of the two (BCE), and is kept near the standard
    normal (KL). Source: the authors' code (E-Galois/MIAN).

    What differs from it:

    - One update of a batch is the three steps: as what is stored gets no gradient, each moves its own network alone.
      The authors train each network for several passes in turn, with rates that fall by the round.
    - The mean of the image feature is what the branch gives before its last layer, and codes of images are made of the
      mean in validation and encoding. The authors draw there too: their codes are random.
    - VGG11 and the pooled text network are the shared branches; codes are sqrt(bits) times those of unit norm.
    - J is divided by the number of samples in the batch and in the training set, and what is no sum over stored
      codes counts as beside the authors' 18,015 samples and 512 features, so that the balance is theirs.

    F, G, H and the labels take 4 N (3 bits + C) bytes; the variance of the image feature is a layer of d^2 weights, d
    being the width before the image branch's last layer. Validation has the pairs and distances of its batches alone.

    Args:
        bits: int >= 1, code length.
        num_classes: int >= 1, number of labels.
        pair_term: "reference", the squared likelihood terms that the authors' code trains with, or "likelihood", the
            likelihood itself, which the code logs.
        information: float >= 0, weight of predicting the text feature.
        prior: float >= 0, weight of the KL divergence in it.
        label_rate: float > 0, by how much faster than the branches the label network learns; the authors' rates are
            10^-2 for the labels, 10^-3.5 for the texts and 10^-4.5 for the images.
        **network: the branches, l2 and name; see `CrossModalHashing`.

    Raises:
        ValueError: pair_term, information, prior or label_rate out of range.
    """

    def __init__(
        self,
        bits: int,
        num_classes: int,
        pair_term: PairTerm = "reference",
        information: float = 50.0,
        prior: float = 0.01,
        label_rate: float = 100.0,
        **network: Unpack[NetworkArguments],
    ) -> None:
        names = ("pairs", "quantization", "classification", "information")
        super().__init__(bits, num_classes, terms=names, **network)
        self.pair_term = one_of("pair_term", pair_term, get_args(PairTerm))
        self.information = number("information", information, 0)
        self.prior = number("prior", prior, 0)
        self.label_rate = number("label_rate", label_rate, 0, above=True)
        self._seeds = keras.random.SeedGenerator()
        self.label_network = _dense(num_classes, bits, "label_network", use_bias=False)
        # Adam's steps do not know the scale of a weight: a small one that is multiplied learns faster.
        self.label_network.kernel.assign(self.label_network.kernel / self.label_rate)
        # F, G and H, (N, bits), and the labels, (N, C), once fit knows N.
        self.image_store: Any = None
        self.text_store: Any = None
        self.label_store: Any = None
        self.all_labels: Any = None

    def build_heads(self, modality: str) -> None:
        """Build what is predicted from a branch's feature."""
        width = self._branches()[modality].hash_layer.kernel.shape[0]
        setattr(self, f"{modality}_labels", _dense(width, self.num_classes, f"{modality}_labels"))
        if modality == "image":
            self.log_variance = _dense(width, width, "log_variance")
        if all(name in self._input_shape for name in ("image", "text")):
            of_image, of_text = (
                branch.hash_layer.kernel.shape[0] for branch in (self.image_branch, self.text_branch)
            )
            self.prediction = _dense(of_image, of_text, "prediction")

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> dict[str, Tensor]:
        """Codes of the modalities in `inputs`; in training what the features predict too."""
        if not training:
            return super().call(inputs, training)
        features = {
            name: ops.cast(branch.features(inputs[name], training), "float32")
            for name, branch in self._branches().items()
        }
        mean, log_variance = features["image"], self.log_variance(features["image"])
        drawn = mean + ops.exp(log_variance / 2) * keras.random.normal(ops.shape(mean), seed=self._seeds)
        return {
            "image": self.image_branch.codes_of(drawn),
            "text": self.text_branch.codes_of(features["text"]),
            "image_labels": self.image_labels(drawn),
            "text_labels": self.text_labels(features["text"]),
            "prediction": self.prediction(drawn),
            "text_feature": features["text"],
            "mean": mean,
            "log_variance": log_variance,
        }

    @property
    def needs_index(self) -> bool:
        """Whether training reads the samples' rows, by which codes are stored."""
        return True

    def _prepare(self, pairs: PairDataset | LoaderPairs) -> None:
        super()._prepare(pairs)
        self.all_labels = sample_variable(
            self, self.all_labels, (pairs.num_samples, self.num_classes), "labels"
        )
        self.all_labels.assign(np.asarray(pairs.labels, "float32"))
        for name in _STORES.values():
            before, shape = getattr(self, name), (pairs.num_samples, self.bits)
            store = sample_variable(self, before, shape, name)
            if store is not before:
                store.assign(keras.random.normal(shape, seed=self._seeds))
            setattr(self, name, store)

    def objective(
        self, x: Any, labels: Tensor, outputs: dict[str, Tensor], sample_weight: Tensor | None, training: bool
    ) -> Mapping[str, tuple[Any, Any]]:
        """The terms of J; see `CrossModalHashing.objective`."""
        codes = {name: self.bits**0.5 * outputs[name] for name in ("image", "text")}
        codes["labels"] = self.label_rate * self.label_network(labels)
        weight, _ = weights(labels, sample_weight)
        binary, stored, sharing = self._stored(x, labels, codes, training)
        pairs = sum(
            ops.mean(weight * pair_loss(stored[of], codes[name], sharing, self.pair_term))
            for name, others in (
                ("labels", ("image before", "text before")),
                ("text", ("labels", "text")),
                ("image", ("labels", "image")),
            )
            for of in others
        ) / ops.cast(ops.shape(sharing)[0], "float32")
        gaps = sum(
            share * ops.mean(weight * squared_distance(binary, codes[name]))
            for name, share in (("image", _IMAGE), ("text", _TEXT), ("labels", _LABELS))
        )
        wrong = told = ops.zeros((), "float32")
        if training:
            wrong = sum(
                ops.mean(weight * squared_distance(labels, ops.sigmoid(outputs[f"{name}_labels"])))
                for name in ("image", "text")
            )
            of_each = information_bound(
                outputs["prediction"],
                outputs["text_feature"],
                outputs["mean"],
                outputs["log_variance"],
                self.prior,
            )
            told = ops.mean(weight * of_each) * (_FEATURES / outputs["mean"].shape[1])
        return {
            "pairs": (1.0, pairs),
            "quantization": (1 / _SAMPLES, gaps),
            "classification": (_CLASSIFICATION / _SAMPLES, wrong),
            "information": (self.information / _SAMPLES, told),
        }

    def _stored(
        self, x: Any, labels: Tensor, codes: dict[str, Tensor], training: bool
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """B of the batch, the codes to compare with, and which of them share a label (N, n)."""
        if not training:
            stored = {name: ops.stop_gradient(values) for name, values in codes.items()}
            of_batch, all_labels = stored, labels
        else:
            rows = sample_rows(self.image_store, x)
            # Values, not the variables, which are written below.
            stored = {name: self._values(name) for name in _STORES}
            of_batch = {name: ops.take(values, rows[:, 0], axis=0) for name, values in stored.items()}
            all_labels = ops.convert_to_tensor(self.all_labels)
        stored = {**stored, **{f"{name} before": values for name, values in stored.items()}}
        if training:
            for name, attribute in _STORES.items():
                write_rows(getattr(self, attribute), rows, codes[name])
                stored[name] = self._values(name)
        blend = _IMAGE * of_batch["image"] + _TEXT * of_batch["text"] + _LABELS * of_batch["labels"]
        common = ops.matmul(all_labels, ops.transpose(labels)) > 0
        return ops.where(blend > 0, 1.0, -1.0), stored, ops.where(common, _SHARING, 0.0)

    def _values(self, name: str) -> Tensor:
        return ops.copy(ops.convert_to_tensor(getattr(self, _STORES[name])))

    def save_own_variables(self, store: Any) -> None:
        """The stored codes and the state of the draws, without which training cannot go on where it was."""
        if self.image_store is not None:
            for name in _STORES.values():
                store[name] = ops.convert_to_numpy(getattr(self, name))
            store["draws"] = ops.convert_to_numpy(self._seeds.state)

    def load_own_variables(self, store: Any) -> None:
        """See `save_own_variables`."""
        if "draws" in store:
            for name in _STORES.values():
                setattr(self, name, stored_variable(self, store, name))
            self._seeds.state.assign(np.asarray(store["draws"]))


def pair_loss(stored: Tensor, codes: Tensor, sharing: Tensor, pair_term: PairTerm) -> Tensor:
    """How far the codes of a batch are from telling which stored codes share a label with them (MIAN).

    Args:
        stored: (N, bits), codes without a gradient.
        codes: (n, bits).
        sharing: (N, n), S, 0.999 or 0.
        pair_term: "reference": sum (S theta - softplus theta)^2; "likelihood": sum softplus theta - S theta.

    Returns:
        (n,) >= 0: the sum over the stored codes, with theta = stored . code / 2.
    """
    theta = ops.matmul(stored, ops.transpose(codes)) / 2
    unlikely = ops.softplus(theta) - sharing * theta
    return ops.sum(ops.square(unlikely) if pair_term == "reference" else unlikely, axis=0)


def information_bound(
    prediction: Tensor, text_feature: Tensor, mean: Tensor, log_variance: Tensor, prior: float
) -> Tensor:
    """How badly an image's feature tells of its text's, a variational bound on their mutual information (MIAN).

    No gradient flows into the text feature.

    Args:
        prediction: (n, e), logits.
        text_feature: (n, e).
        mean: (n, d), of the image feature.
        log_variance: (n, d), of it.
        prior: float, weight of the divergence.

    Returns:
        (n,) >= 0: sum BCE(prediction, sigmoid(text feature)) + prior KL(N(mean, variance) || N(0, 1)).
    """
    target = ops.sigmoid(ops.stop_gradient(text_feature))
    errors = ops.sum(ops.softplus(prediction) - target * prediction, axis=1)
    divergence = ops.sum(ops.square(mean) + ops.exp(log_variance) - 1 - log_variance, axis=1) / 2
    return errors + prior * divergence


def _dense(inputs: int, units: int, name: str, use_bias: bool = True) -> keras.layers.Dense:
    # PyTorch's default, which the authors train from.
    start = keras.initializers.RandomUniform(-(inputs**-0.5), inputs**-0.5)
    layer = keras.layers.Dense(
        units,
        use_bias=use_bias,
        kernel_initializer=start,
        bias_initializer=start.clone(),
        dtype="float32",
        name=name,
    )
    layer.build((None, inputs))
    return layer
