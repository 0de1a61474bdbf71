"""Methods of the field on the branches and data of SCBCH: what its objective has to be compared with.

Each follows the code its authors published; the texts of the papers were not at hand, so that the docstrings give
no equation numbers. Branches, batches, optimizer and L2 are those of `CrossModalHashing`, not the papers' own.
"""

from typing import Any, TypeAlias

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from scbch_keras.checks import number, share, whole, widths
from scbch_keras.data import ROWS_AT_ONCE
from scbch_keras.hashing import CrossModalHashing
from scbch_keras.layers import ConceptClassifier, HashBranch
from scbch_keras.losses import quantization
from scbch_keras.methods import baseline_losses as terms
from scbch_keras.methods.dgcpn import DGCPN
from scbch_keras.methods.dhrl import DHRL
from scbch_keras.methods.djsrh import DJSRH
from scbch_keras.methods.mixture import lower_component
from scbch_keras.methods.nacd import NACD
from scbch_keras.methods.ucch_bank import bank_contrast, moved_rows
from scbch_keras.registration import PACKAGE
from scbch_keras.sample_state import sample_rows, sample_variable, write_rows

Branch: TypeAlias = keras.Model | HashBranch | None


@keras.saving.register_keras_serializable(PACKAGE)
class DCMH(CrossModalHashing):
    """Deep Cross-Modal Hashing (Jiang and Li, CVPR 2017), supervised, without a defence against wrong labels.

    J = sum_ij [log(1 + exp(Theta_ij)) - S_ij Theta_ij] + gamma (|B - F|^2 + |B - G|^2) + eta (|F 1|^2 + |G 1|^2)
    with Theta = F G^T / 2, S_ij = 1 where two samples share a label, and B = sign(F + G). Source: the authors'
    code (jiangqy/DCMH-CVPR2017).

    What differs from it:

    - A batch stands for the training set, and J is divided by n^2. The authors keep F, G and B of all N samples,
      compare a batch with all of them, and divide by n N: their quantization has n / N of the weight it has here.
    - Both branches learn in one step. The authors alternate: image branch, text branch, then B.
    - F and G are sqrt(bits) times the branches' codes of unit norm, so that their values are near -1 and 1; the
      authors' are linear outputs without a norm.
    - The branches take features; the authors train a CNN-F on pictures. Adam takes the place of plain SGD.

    Args:
        bits: int >= 1, code length.
        num_classes: int >= 1, number of labels.
        image_branch: see `CrossModalHashing`.
        text_branch: see `CrossModalHashing`.
        gamma: float >= 0, weight of quantization.
        eta: float >= 0, weight of bit balance. The authors' 1 needs their many steps: in a few hundred, the balance
            draws the codes to 0 before the likelihood has grown, and nothing is learned; 0.01 does not.
        l2: see `CrossModalHashing`.

    Raises:
        ValueError: an argument out of range.
    """

    SETTINGS = ("gamma", "eta")

    def __init__(
        self,
        bits: int = 64,
        num_classes: int = 24,
        image_branch: Branch = None,
        text_branch: Branch = None,
        gamma: float = 1.0,
        eta: float = 1.0,
        l2: float = 1e-5,
        **kwargs,
    ):
        gamma = number("gamma", gamma, 0)
        eta = number("eta", eta, 0)
        names = ("likelihood", "quantization", "balance")
        super().__init__(bits, num_classes, image_branch, text_branch, l2, terms=names, **kwargs)
        self.gamma = gamma
        self.eta = eta

    def objective(self, x, labels, outputs, sample_weight, training):
        """The terms of J; see `CrossModalHashing.objective`."""
        image, text = (self.bits**0.5 * outputs[name] for name in ("image", "text"))
        likelihood = terms.pairwise_likelihood(image, text, terms.shares_label(labels), sample_weight)
        return {
            "likelihood": (1.0, likelihood),
            "quantization": (self.gamma, terms.unified_quantization(image, text, sample_weight)),
            "balance": (self.eta, terms.bit_balance(image, text, sample_weight)),
        }


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
        image_branch: see `CrossModalHashing`.
        text_branch: see `CrossModalHashing`.
        alpha: float in [0, 1], share of contrastive hashing.
        temperature: float > 0, of contrastive hashing.
        margin: float >= 0: how close to the own pair's score a negative is hard.
        shift: float >= 0, by which the scores of easy negatives are lowered.
        draws: int >= 1, codes drawn from the bank for each sample, beside its own; None: no bank.
        momentum: float in [0, 1], what a step keeps of a code in the bank.
        l2: see `CrossModalHashing`.

    Raises:
        ValueError: an argument out of range.
    """

    SETTINGS = ("alpha", "temperature", "margin", "shift", "draws", "momentum")

    def __init__(
        self,
        bits: int = 64,
        num_classes: int = 24,
        image_branch: Branch = None,
        text_branch: Branch = None,
        alpha: float = 0.9,
        temperature: float = 0.9,
        margin: float = 0.2,
        shift: float = 1.0,
        draws: int | None = None,
        momentum: float = 0.4,
        l2: float = 1e-5,
        **kwargs,
    ):
        alpha, momentum = share("alpha", alpha), share("momentum", momentum)
        temperature = number("temperature", temperature, 0, above=True)
        margin = number("margin", margin, 0)
        shift = number("shift", shift, 0)
        draws = whole("draws", draws, 1, optional=True)
        names = ("contrast", "ranking")
        super().__init__(bits, num_classes, image_branch, text_branch, l2, terms=names, **kwargs)
        self.alpha = alpha
        self.temperature = temperature
        self.margin = margin
        self.shift = shift
        self.draws = draws
        self.momentum = momentum
        # The bank, (N, bits) once fit knows N, and whether an epoch has written it.
        self.memory: Any = None
        self._written = False
        if draws is not None:
            self._seeds = keras.random.SeedGenerator()
            self.banked = self.add_weight(
                shape=(), initializer="zeros", trainable=False, dtype="float32", autocast=False, name="banked"
            )

    @property
    def needs_index(self):
        """Whether training reads the samples' rows: with a bank, which has one a sample."""
        return self.draws is not None

    def _prepare(self, pairs):
        super()._prepare(pairs)
        if self.draws is None:
            return
        before = self.memory
        self.memory = sample_variable(self, before, (pairs.num_samples, self.bits), "memory")
        self._written = self._written and self.memory is before

    def begin_epoch(self, pairs, epoch, epochs):
        """Choose from the batch in the first epoch, which writes the bank, and from the bank then."""
        if self.draws is not None:
            self.banked.assign(float(epoch > 0 and self._written))
            self._written = True

    def objective(self, x, labels, outputs, sample_weight, training):
        """The two terms; see `CrossModalHashing.objective`."""
        image, text = outputs["image"], outputs["text"]
        contrast = terms.instance_contrast(image, text, self.temperature, sample_weight)
        if training and self.draws is not None:
            contrast = ops.where(
                self.banked > 0, self._bank_contrast(x, image, text, sample_weight), contrast
            )
        ranking = terms.cross_modal_ranking(image, text, self.margin, self.shift, sample_weight)
        return {"contrast": (self.alpha, contrast), "ranking": (1 - self.alpha, ranking)}

    def _bank_contrast(self, x, image, text, sample_weight):
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

    def save_own_variables(self, store):
        """The bank and the state of its draws, without which training cannot go on where it was."""
        if self._written:
            store["memory"] = ops.convert_to_numpy(self.memory)
            store["draws"] = ops.convert_to_numpy(self._seeds.state)

    def load_own_variables(self, store):
        """See `save_own_variables`."""
        if "memory" in store:
            memory = np.asarray(store["memory"])
            self.memory = sample_variable(self, None, memory.shape, "memory")
            self.memory.assign(memory)
            self._seeds.state.assign(np.asarray(store["draws"]))
            self._written = True


@keras.saving.register_keras_serializable(PACKAGE)
class InfoNCE(CrossModalHashing):
    """The symmetric contrastive loss of CLIP (Radford et al., Learning Transferable Visual Models From Natural
    Language Supervision, ICML 2021, Fig. 3), and the quantization term of SCBCH. Labels are not read.

    L = L_nce + beta Q. What differs from CLIP: quantization is added, since codes are wanted; the temperature is
    fixed at what CLIP's, which is learned, starts from.

    Args:
        bits: int >= 1, code length.
        num_classes: int >= 1, number of labels.
        image_branch: see `CrossModalHashing`.
        text_branch: see `CrossModalHashing`.
        temperature: float > 0.
        beta: float >= 0, weight of quantization.
        l2: see `CrossModalHashing`.

    Raises:
        ValueError: an argument out of range.
    """

    SETTINGS = ("temperature", "beta")

    def __init__(
        self,
        bits: int = 64,
        num_classes: int = 24,
        image_branch: Branch = None,
        text_branch: Branch = None,
        temperature: float = 0.07,
        beta: float = 0.3,
        l2: float = 1e-5,
        **kwargs,
    ):
        temperature = number("temperature", temperature, 0, above=True)
        beta = number("beta", beta, 0)
        names = ("contrast", "quantization")
        super().__init__(bits, num_classes, image_branch, text_branch, l2, terms=names, **kwargs)
        self.temperature = temperature
        self.beta = beta

    def objective(self, x, labels, outputs, sample_weight, training):
        """The two terms; see `CrossModalHashing.objective`."""
        image, text = outputs["image"], outputs["text"]
        return {
            "contrast": (1.0, terms.info_nce(image, text, self.temperature, sample_weight)),
            "quantization": (self.beta, quantization(image, text, sample_weight)),
        }


@keras.saving.register_keras_serializable(PACKAGE)
class NRCH(CrossModalHashing):
    """Robust Contrastive Cross-modal Hashing with Noisy Labels (Wang et al., ACM MM 2024).

    L = alpha L_r + (1 - alpha) Q + L_w on the samples that pass for clean. L_r attracts a sample's own pair alone and
    repels those that share no label (robust contrastive hashing); Q draws magnitudes to 1 / sqrt(bits); L_w teaches
    class centers to predict the labels from the codes, which get no gradient of it. The dynamic noise separator: as
    an epoch begins, the largest error of L_w among each sample's labels, scaled to [0, 1], is modelled by two
    Gaussians; a sample passes whose probability to be of the lower one is at least `threshold`. Its confidence is
    1, that of the others 0. Source: the authors' code (LonganWANG-cs/NRCH).

    What differs from it:

    - The code takes the image anchors' negatives in both halves of L_r; here a text anchor has its own.
    - The code applies tanh to the codes, already of unit norm, once more for L_r and Q; left out.
    - The mixture starts from two means without chance, in place of k-means++.
    - Adam takes the place of RMSprop at 1e-5.

    Args:
        bits: int >= 1, code length.
        num_classes: int >= 1, number of labels.
        image_branch: see `CrossModalHashing`.
        text_branch: see `CrossModalHashing`.
        alpha: float in [0, 1], share of L_r, lambda in the code.
        margin: float >= 0: how close to the own pair's score a negative is hard.
        shift: float >= 0, by which the scores of easy negatives are lowered.
        threshold: float in [0, 1], the lowest probability of being clean that passes.
        warmup_epochs: int >= 0, first epochs with all samples; the authors': 19 of 100. With so few steps that the
            centers have hardly moved, the separator's choice is close to chance.
        selection: whether the separator chooses at all; False trains on all samples.
        l2: see `CrossModalHashing`.

    Raises:
        ValueError: an argument out of range.
    """

    SETTINGS = ("alpha", "margin", "shift", "threshold", "warmup_epochs", "selection")

    def __init__(
        self,
        bits: int = 64,
        num_classes: int = 24,
        image_branch: Branch = None,
        text_branch: Branch = None,
        alpha: float = 0.6,
        margin: float = 0.2,
        shift: float = 1.0,
        threshold: float = 0.3,
        warmup_epochs: int = 19,
        selection: bool = True,
        l2: float = 1e-5,
        **kwargs,
    ):
        alpha = share("alpha", alpha)
        threshold = share("threshold", threshold)
        margin = number("margin", margin, 0)
        shift = number("shift", shift, 0)
        super().__init__(
            bits,
            num_classes,
            image_branch,
            text_branch,
            l2,
            terms=("contrast", "quantization", "centers"),
            confidence_weighting=selection,
            warmup_epochs=warmup_epochs,
            **kwargs,
        )
        self.alpha = alpha
        self.margin = margin
        self.shift = shift
        self.threshold = threshold
        self.selection = selection
        self.centers = ConceptClassifier(num_classes, name="centers")

    def build_heads(self, modality):
        """Build the class centers, which both modalities have in common."""
        if not self.centers.built:
            self.centers.build((None, self.bits))

    def objective(self, x, labels, outputs, sample_weight, training):
        """The terms over the samples that pass; see `CrossModalHashing.objective`."""
        image, text = outputs["image"], outputs["text"]
        weight, share = sample_weight, 1.0
        if training and self.selection:
            passing = self.confidence_of(x)
            weight = passing if sample_weight is None else passing * sample_weight
            # Means over those that pass, as in a batch of them alone.
            share = ops.maximum(ops.mean(passing), 1e-6)
        contrast = terms.robust_contrast(
            image, text, terms.shares_label(labels), self.margin, self.shift, weight
        )
        errors = ops.mean(terms.center_errors(labels, image, text, self._centers()), axis=1)
        return {
            "contrast": (self.alpha, contrast / share),
            "quantization": (1 - self.alpha, terms.magnitude_gap(image, text, weight) / share),
            "centers": (1.0, ops.mean(errors if weight is None else weight * errors) / share),
        }

    def _centers(self):
        return ops.tanh(self.centers.kernel)

    def weights_of(self, labels, image_codes, text_codes):
        """The dynamic noise separator: (n,), 1 for samples that pass and 0 for the others."""
        centers = self._centers()
        largest = _by_block(
            lambda labels, image, text: ops.max(
                labels * terms.center_errors(labels, image, text, centers), axis=1
            ),
            labels,
            image_codes,
            text_codes,
        )
        scaled = (largest - largest.min() + 1e-8) / (largest.max() - largest.min() + 1e-8)
        return (lower_component(scaled) >= self.threshold).astype("float32")


@keras.saving.register_keras_serializable(PACKAGE)
class RSHNL(CrossModalHashing):
    """Robust Self-Paced Hashing for Cross-Modal Retrieval with Noisy Labels (Pu et al., AAAI 2025).

    L = 1/n sum_i w_i l_i + alpha L_c. L_c is contrastive hashing learning: each code finds its pair's other one in
    the batch. l_i is center aggregation learning: the probability of the sample's labels by its codes' products with
    learned class centers; both with a robust loss between cross-entropy and mean absolute error (q). Noise-tolerance
    self-paced hashing: w_i = max(0, 1 - l_i / gamma) after warm-up, so that a sample too hard to be clean has
    weight 0. Source: the authors' code (perquisite/RSHNL).

    What differs from it:

    - w is taken of the whole training set as an epoch begins; the code takes it of each batch.
    - The self-paced regularizer gamma (w^2 / 2 - w), a constant to the branches, is left out of the value.
    - The data sets of the code have one label a sample. Its formula adds up the probabilities of several labels, so
      that a sample with many is an easy one; kept. A sample without labels, which it does not know, has l = 0.

    Args:
        bits: int >= 1, code length.
        num_classes: int >= 1, number of labels.
        image_branch: see `CrossModalHashing`.
        text_branch: see `CrossModalHashing`.
        alpha: float >= 0, weight of L_c. The code's comments have 0.05, 0.1, 0.3 and 0.05 for its four data sets.
        gamma: float > 0, the pace: the loss l from which on a sample counts nothing; the code's comments have 3, 5,
            8 and 9. Untrained centers give about 2 log(C / number of labels); a logged `confidence` of 0 says that the
            pace lets no sample in.
        q: float in (0, 1], of the robust loss.
        temperature: float > 0, of L_c.
        warmup_epochs: int >= 0, first epochs with w = 1.
        center_units: widths of the network that makes the centers from the classes.
        l2: see `CrossModalHashing`.

    Raises:
        ValueError: an argument out of range.
    """

    SETTINGS = ("alpha", "gamma", "q", "temperature", "warmup_epochs", "center_units")

    def __init__(
        self,
        bits: int = 64,
        num_classes: int = 24,
        image_branch: Branch = None,
        text_branch: Branch = None,
        alpha: float = 0.05,
        gamma: float = 4.0,
        q: float = 0.01,
        temperature: float = 1.0,
        warmup_epochs: int = 5,
        center_units: tuple[int, ...] = (4096, 4096),
        l2: float = 1e-5,
        **kwargs,
    ):
        alpha = number("alpha", alpha, 0)
        gamma = number("gamma", gamma, 0, above=True)
        temperature = number("temperature", temperature, 0, above=True)
        q = share("q", q, above=True)
        center_units = widths("center_units", center_units)
        super().__init__(
            bits,
            num_classes,
            image_branch,
            text_branch,
            l2,
            terms=("aggregation", "contrast"),
            confidence_weighting=True,
            warmup_epochs=warmup_epochs,
            **kwargs,
        )
        self.alpha = alpha
        self.gamma = gamma
        self.q = q
        self.temperature = temperature
        self.center_units = center_units
        self.centers = HashBranch(bits, self.center_units, name="centers", dtype=self.dtype_policy)

    def build_heads(self, modality):
        """Build the network of the class centers, which both modalities have in common."""
        if not self.centers.built:
            self.centers.build((None, self.num_classes))

    def objective(self, x, labels, outputs, sample_weight, training):
        """The two terms; see `CrossModalHashing.objective`."""
        image, text = outputs["image"], outputs["text"]
        aggregation = terms.center_aggregation(labels, image, text, self._centers(), self.q)
        if sample_weight is not None:
            aggregation = sample_weight * aggregation
        if training:
            aggregation = self.confidence_of(x) * aggregation
        contrast = terms.pair_contrast(image, text, self.temperature, self.q, sample_weight)
        return {"aggregation": (1.0, ops.mean(aggregation)), "contrast": (self.alpha, contrast)}

    def _centers(self):
        """(C, bits), unit norm."""
        return self.centers(ops.eye(self.num_classes))

    def weights_of(self, labels, image_codes, text_codes):
        """The self-paced weights w: (n,), in [0, 1]."""
        centers = self._centers()
        difficulty = _by_block(
            lambda labels, image, text: terms.center_aggregation(labels, image, text, centers, self.q),
            labels,
            image_codes,
            text_codes,
        )
        return np.maximum(0, 1 - difficulty / self.gamma)


BASELINES: dict[str, type[CrossModalHashing]] = {
    "dcmh": DCMH,
    "ucch": UCCH,
    "infonce": InfoNCE,
    "nrch": NRCH,
    "rshnl": RSHNL,
    "nacd": NACD,
    "dhrl": DHRL,
    "djsrh": DJSRH,
    "dgcpn": DGCPN,
}


def _by_block(per_sample: Any, *arrays: NDArray) -> NDArray[np.float32]:
    """What a function of keras.ops says of each row, (N,), computed in blocks of rows."""
    values = np.empty(len(arrays[0]), "float32")
    for start in range(0, len(values), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        block = (ops.convert_to_tensor(array[rows], dtype="float32") for array in arrays)
        values[rows] = ops.convert_to_numpy(per_sample(*block))
    return values
