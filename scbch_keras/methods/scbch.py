"""SCBCH: hashing learned from image-text pairs whose labels are partly wrong."""

from typing import Any, Literal, get_args

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from scbch_keras import losses
from scbch_keras.arrays import Tensor
from scbch_keras.checks import check_neighbors, flag, number, one_of, refuse, share, whole
from scbch_keras.confidence import confidence_weights
from scbch_keras.data import LoaderPairs, PairDataset
from scbch_keras.hashing import CrossModalHashing
from scbch_keras.labels.audit import LabelAudit, PosteriorAudit
from scbch_keras.labels.matrix import check_labels
from scbch_keras.layers import ConceptClassifier
from scbch_keras.methods.paper import BENCHMARKS
from scbch_keras.names import PACKAGE
from scbch_keras.neighbors import EXACT_UP_TO
from scbch_keras.network import Branch


@keras.saving.register_keras_serializable(PACKAGE)
class SCBCH(CrossModalHashing):
    """Semantic-Consistent Bidirectional Contrastive Hashing (Peng et al., AAAI 2026).

    Inputs {"image": (n, ...), "text": (n, ...)}, either of them alone too; outputs for each modality that came
    in: continuous codes (n, bits) float32 under "image" / "text", and label logits (n, num_classes) under
    "image_logits" / "text_logits". Trained on labels (n, num_classes) of 0 and 1, some of them wrong.

    The objective (Eq. 9): classification weighted by confidence, attraction and repulsion between the
    modalities, quantization.

    - `dialect="reference"`: L = L_cls + alpha * (L_att + L_rep) + beta * Q, as the authors' code has it;
    - `dialect="paper"`: L = L_cls + alpha * (L_att + L_rep + beta * Q).

    Args:
        bits: int >= 1, code length.
        num_classes: int >= 1, number of labels.
        image_branch: a `HashBranch`, a `keras.Model` with one output (n, d) (it becomes the body of a
            `HashBranch`), or None for the paper's: two dense layers of 8192 units.
        text_branch: the same; None: one dense layer of 8192 units.
        margin: float, mu of Eq. 6: how close to the anchor's own pair a negative is hard.
        shift: float, xi of Eq. 5-6.
        alpha: float >= 0, weight of attraction and repulsion.
        beta: float >= 0, weight of quantization.
        gamma: float in [0, 1], the lowest confidence weight (Eq. 2).
        neighbors: int >= 1, k of Eq. 1; training needs at least k + 1 samples.
        warmup_epochs: int >= 0, first epochs with all confidence weights at 1.
        dialect: "reference" or "paper"; see `scbch_keras.losses`.
        classification: whether the classification loss is part of the objective (False: SCBCH-1 of Table 3).
        contrastive: whether attraction and repulsion are (False: SCBCH-2).
        confidence_weighting: whether confidence weighs the classification loss (False: SCBCH-3, w = 1).
        attraction: whether attraction is (False: SCBCH-4).
        l2: float >= 0, coupled L2: l2 * weight is added to the gradient of every weight.
        labels: "noisy": 0/1 as given, the paper's objective. "posterior": trained on probabilities of the labels
            (`scbch_keras.labels.posterior.estimate`, or one's own) without confidence weights; beyond the paper.
        intra_modal: whether attraction and repulsion inside each modality are part of the objective, with weight
            alpha; None: with `labels="posterior"`.
        attraction_by: what weighs the attraction of two samples, between the modalities and inside each. "sharing":
            [R > 0] as in Eq. 5, or the probability of sharing a label. "similarity": R itself, so that pairs with more
            labels in common, of those that either has, are pulled more; beyond the paper.

    Raises:
        ValueError: an argument out of range, or a branch whose code length is not `bits`.
    """

    exact_up_to = EXACT_UP_TO
    """Samples up to which neighbours are exact, see `confidence_weights`; set it on a model. It is not saved."""

    def __init__(
        self,
        bits: int,
        num_classes: int,
        image_branch: Branch = None,
        text_branch: Branch = None,
        margin: float = 0.15,
        shift: float = 0.8,
        alpha: float = 0.7,
        beta: float = 0.3,
        gamma: float = 0.5,
        neighbors: int = 20,
        warmup_epochs: int = 5,
        dialect: losses.Dialect = "reference",
        classification: bool = True,
        contrastive: bool = True,
        confidence_weighting: bool = True,
        attraction: bool = True,
        l2: float = 1e-5,
        labels: Literal["noisy", "posterior"] = "noisy",
        intra_modal: bool | None = None,
        attraction_by: Literal["sharing", "similarity"] = "sharing",
        **kwargs: Any,
    ) -> None:
        gamma, neighbors = share("gamma", gamma), whole("neighbors", neighbors, 1)
        margin, shift = number("margin", margin), number("shift", shift)
        alpha, beta = number("alpha", alpha, 0), number("beta", beta, 0)
        one_of("dialect", dialect, get_args(losses.Dialect))
        one_of("labels", labels, ("noisy", "posterior"))
        one_of("attraction_by", attraction_by, ("sharing", "similarity"))
        classification, contrastive = (
            flag("classification", classification),
            flag("contrastive", contrastive),
        )
        attraction = flag("attraction", attraction)
        confidence_weighting = flag("confidence_weighting", confidence_weighting)
        if not classification and not contrastive:
            raise ValueError("classification and contrastive are both False: nothing would be learned.")
        intra_modal = labels == "posterior" if intra_modal is None else flag("intra_modal", intra_modal)
        terms = {
            "classification": classification,
            "intra_modal": intra_modal,
            "attraction": contrastive and attraction,
            "repulsion": contrastive,
            "quantization": True,
        }
        super().__init__(
            bits,
            num_classes,
            image_branch,
            text_branch,
            l2,
            terms=[name for name, chosen in terms.items() if chosen],
            # Confidence weighs the classification loss alone; probabilities say the same better.
            confidence_weighting=flag("confidence_weighting", confidence_weighting)
            and classification
            and labels == "noisy",
            warmup_epochs=warmup_epochs,
            soft_labels=labels == "posterior",
            **kwargs,
        )
        self.margin = margin
        self.shift = shift
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.neighbors = neighbors
        self.dialect = dialect
        self.classification = classification
        self.contrastive = contrastive
        self.attraction = attraction
        self.labels = labels
        self.intra_modal = intra_modal
        self.attraction_by = attraction_by
        if classification:
            self.image_classifier = ConceptClassifier(num_classes, name="image_classifier")
            self.text_classifier = ConceptClassifier(num_classes, name="text_classifier")

    @classmethod
    def for_benchmark(cls, name: str, bits: int = 64, **settings: Any) -> "SCBCH":
        """A model with the authors' settings for a benchmark.

        Args:
            name: "mirflickr", "nus-wide", "ms-coco" or "iapr-tc12".
            bits: int >= 1, code length.
            **settings: other arguments of `SCBCH`, which replace the authors'.

        Returns:
            A model that is not compiled.

        Raises:
            ValueError: another name, or a wrong argument.
        """
        one_of("name", name, BENCHMARKS)
        return cls(bits=bits, **{**BENCHMARKS[name], **settings})

    def build_heads(self, modality: str) -> None:
        """Build the label classifier of a modality."""
        if self.classification:
            self._classifier(modality).build((None, self.bits))

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> dict[str, Tensor]:
        """Codes and label logits of the modalities in `inputs`.

        Args:
            inputs: {"image": (n, ...), "text": (n, ...)}, or one of them.
            training: whether the branches train.

        Returns:
            Codes (n, bits) by modality, and with `classification` logits (n, C) as "image_logits" and "text_logits".
        """
        codes = super().call(inputs, training)
        if not self.classification:
            return codes
        return {
            **codes,
            **{f"{name}_logits": self._classifier(name)(values) for name, values in codes.items()},
        }

    def _classifier(self, modality: str) -> ConceptClassifier:
        return self.image_classifier if modality == "image" else self.text_classifier

    def objective(
        self,
        x: Any,
        labels: Any,
        outputs: dict[str, Tensor],
        sample_weight: Tensor | None,
        training: bool | None,
    ) -> dict[str, tuple[float, Tensor]]:
        """The terms of Eq. 9 with their weights; see `CrossModalHashing.objective`."""
        image, text = outputs["image"], outputs["text"]
        beta = self.beta * self.alpha if self.dialect == "paper" else self.beta
        terms = {"quantization": (beta, losses.quantization(image, text, sample_weight))}
        if self.classification:
            weight = sample_weight
            if training and self.confidence_weighting:
                confidence = self.confidence_of(x)
                weight = confidence if sample_weight is None else confidence * sample_weight
            terms["classification"] = (
                1.0,
                losses.classification(labels, outputs["image_logits"], outputs["text_logits"], weight),
            )
        if self.contrastive or self.intra_modal:
            similarity, sharing = self._label_relations(labels)
        if self.contrastive:
            repulsion = losses.repulsion(
                image, text, similarity, self.margin, self.shift, self.dialect, sample_weight
            )
            terms["repulsion"] = (self.alpha, repulsion)
            if self.attraction:
                attraction = losses.attraction(image, text, similarity, self.shift, sample_weight, sharing)
                terms["attraction"] = (self.alpha, attraction)
        if self.intra_modal:
            intra_modal = sum(
                losses.intra_modal(codes, similarity, sharing, self.shift, sample_weight)
                for codes in (image, text)
            )
            terms["intra_modal"] = (self.alpha, intra_modal)
        return terms

    def _label_relations(self, labels: Any) -> tuple[Tensor, Tensor]:
        """R, and what weighs attraction: (n, n) each."""
        soft = self.labels == "posterior"
        similarity = losses.soft_label_similarity(labels) if soft else losses.label_similarity(labels)
        if self.attraction_by == "similarity":
            return similarity, similarity
        if soft:
            return similarity, losses.sharing_probability(labels)
        return similarity, ops.cast(similarity > 0, "float32")

    def check_training_set(self, pairs: PairDataset | LoaderPairs) -> None:
        """Raise ValueError for labels of another width, or too few samples for `neighbors`."""
        super().check_training_set(pairs)
        if self.confidence_weighting:
            check_neighbors(self.neighbors, pairs.num_samples)

    @property
    def lowest_confidence(self) -> float:
        """The gamma of Eq. 2."""
        return self.gamma

    @property
    def fewest_samples(self) -> int:
        """Neighbours and the sample itself."""
        return self.neighbors + 1

    def weights_of(self, labels: Any, image_codes: Any, text_codes: Any) -> NDArray[np.floating]:
        """Eq. 1-2: (n,), in [gamma, 1]."""
        return confidence_weights(
            image_codes,
            text_codes,
            labels,
            self.neighbors,
            self.gamma,
            self.dialect,
            exact_up_to=self.exact_up_to,
        ).weights

    def audit(
        self,
        pairs: PairDataset,
        ids: Any = None,
        label_names: Any = None,
        probabilities: NDArray[np.floating] | None = None,
    ) -> LabelAudit:
        """Which labels of a training set are probably wrong, by the neighbours' labels (Eq. 1-2) or by a posterior.

        Args:
            pairs: the training set with its given labels.
            ids: (N,), array of text, each once; None: the row numbers.
            label_names: C texts, each once; None: the column numbers.
            probabilities: (N, C), in [0, 1], that each label is true: what `posterior.estimate` gave, or one's
                own. None: the neighbours are asked.

        Returns:
            `LabelAudit`: confidence and soft labels of every sample from the model's codes as they are now; with
            probabilities a `PosteriorAudit`.

        Raises:
            ValueError: no PairDataset, fewer samples than neighbors + 1, labels of another width, or a branch without
                weights.
        """
        if not isinstance(pairs, PairDataset):
            refuse("pairs", "a PairDataset(image, text, labels)", pairs)
        check_labels("labels", pairs.labels, self.num_classes)
        check_neighbors(self.neighbors, pairs.num_samples)
        image = self.encode_image(pairs.image, packed=False, verbose=0)
        text = self.encode_text(pairs.text, packed=False, verbose=0)
        weights, soft_labels = confidence_weights(
            image,
            text,
            pairs.labels,
            self.neighbors,
            self.gamma,
            self.dialect,
            exact_up_to=self.exact_up_to,
        )
        if ids is None:
            ids = np.arange(pairs.num_samples).astype(str)
        if label_names is None:
            label_names = tuple(map(str, range(self.num_classes)))
        fields = (ids, weights, pairs.labels, soft_labels, tuple(label_names))
        return LabelAudit(*fields) if probabilities is None else PosteriorAudit(*fields, probabilities)
