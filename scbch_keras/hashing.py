"""Two hash branches trained together on image-text pairs: what every objective shares."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from scbch_keras import backend
from scbch_keras.callbacks import ConfidenceRefresh, RetrievalMetrics
from scbch_keras.codes import pack_codes
from scbch_keras.data import FeatureBatches, LoaderPairs, PairDataset, as_array, check_features, check_pairs
from scbch_keras.labels import check_labels
from scbch_keras.layers import HashBranch, check_positive_int
from scbch_keras.sample_state import sample_variable


class CrossModalHashing(keras.Model):
    """Two hash branches and an objective over their codes; a subclass brings the objective.

    Inputs {"image": (n, ...), "text": (n, ...)}, either of them alone too; outputs continuous codes (n, bits)
    float32 under the same names. A subclass implements `objective`, and `estimate_confidence` where it weighs
    the samples of the training set.

    Args:
        bits: int >= 1, code length.
        num_classes: int >= 1, number of labels.
        image_branch: a `HashBranch`, a `keras.Model` with one output (n, d) (it becomes the body of a
            `HashBranch`), or None for the paper's: two dense layers of 8192 units.
        text_branch: the same; None: one dense layer of 8192 units.
        l2: float >= 0, coupled L2: l2 * weight is added to the gradient of every weight.
        terms: names of the objective's terms, for the logs.
        confidence_weighting: whether the samples of the training set have weights of the model's own making.
        warmup_epochs: int >= 0, first epochs with all of these weights at 1.
        soft_labels: whether labels are probabilities.

    A subclass names its own constructor arguments in `SETTINGS`; they are kept under their names and saved.

    Raises:
        ValueError: an argument out of range, or a branch whose code length is not `bits`.
    """

    SETTINGS: tuple[str, ...] = ()

    def __init__(
        self,
        bits: int,
        num_classes: int,
        image_branch: keras.Model | HashBranch | None = None,
        text_branch: keras.Model | HashBranch | None = None,
        l2: float = 1e-5,
        *,
        terms: Sequence[str],
        confidence_weighting: bool = False,
        warmup_epochs: int = 0,
        soft_labels: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive_int("bits", bits)
        check_positive_int("num_classes", num_classes)
        check_not_negative(l2=l2, warmup_epochs=warmup_epochs)
        self.bits = bits
        self.num_classes = num_classes
        self.l2 = l2
        self.confidence_weighting = confidence_weighting
        self.warmup_epochs = warmup_epochs
        self.soft_labels = soft_labels
        self.image_branch = self._as_branch("image_branch", image_branch, (8192, 8192))
        self.text_branch = self._as_branch("text_branch", text_branch, (8192,))
        # (N,) once fit knows N. Not part of a saved model: each epoch computes it anew.
        self.confidence: Any = None
        self._input_shape: dict[str, tuple] = {}
        self._term_means = {name: keras.metrics.Mean(name=name) for name in terms}
        if confidence_weighting:
            self._confidence_mean = keras.metrics.Mean(name="confidence")
        self._skipped = keras.metrics.Sum(name="skipped")

    def _as_branch(self, name: str, branch: Any, units: tuple[int, ...]) -> HashBranch:
        if branch is None:
            return HashBranch(self.bits, units, name=name, dtype=self.dtype_policy)
        if isinstance(branch, HashBranch):
            if branch.bits != self.bits:
                raise ValueError(f"{name} makes codes of {branch.bits} bits; the model's are {self.bits}.")
            return branch
        if isinstance(branch, keras.Model):
            return HashBranch(self.bits, body=branch, name=name, dtype=self.dtype_policy)
        raise ValueError(f"{name} must be a HashBranch, a keras.Model or None; got {type(branch).__name__}.")

    # The network

    def build(self, input_shape):
        """Build the branches named in {"image": (None, ...), "text": (None, ...)}."""
        for name, branch in self._branches().items():
            if name not in input_shape or name in self._input_shape:
                continue
            self._input_shape[name] = (None, *input_shape[name][1:])
            if not branch.built:
                branch.build(self._input_shape[name])
            self.build_heads(name)

    def build_heads(self, modality: str) -> None:
        """Build what a subclass has beyond the branch of "image" or "text"."""

    def call(self, inputs, training=None):
        """Codes of the modalities in `inputs`."""
        return {
            name: branch(inputs[name], training=training)
            for name, branch in self._branches().items()
            if name in inputs
        }

    def _branches(self) -> dict[str, HashBranch]:
        return {"image": self.image_branch, "text": self.text_branch}

    # The objective

    def objective(self, x, labels, outputs, sample_weight, training) -> Mapping[str, tuple[Any, Any]]:
        """Weight and value of each term of the objective, scalars, by the names given as `terms`.

        Args:
            x: the batch, with `index` (n,) while training.
            labels: (n, C) float32.
            outputs: of `call`, with codes (n, bits) float32 under "image" and "text".
            sample_weight: (n,) or None.
            training: False in validation, which reads no confidence weights.
        """
        raise NotImplementedError(f"{type(self).__name__} has no objective.")

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The whole objective, a scalar. The mean of each term goes into the logs."""
        labels = ops.cast(y, "float32")
        terms = self.objective(x, labels, y_pred, sample_weight, training)
        for name, mean in self._term_means.items():
            _update_finite(mean, terms[name][1], labels)
        return sum(weight * term for weight, term in terms.values()) + sum(self.losses)

    def estimate_confidence(self, pairs: PairDataset | LoaderPairs) -> NDArray[np.floating]:
        """Weights (N,) of the training set by the model as it is, asked for as an epoch begins."""
        raise NotImplementedError(f"{type(self).__name__} has no confidence weights.")

    @property
    def needs_index(self) -> bool:
        """Whether training reads the samples' rows in the training set."""
        return self.confidence_weighting

    def begin_epoch(self, pairs: PairDataset | LoaderPairs, epoch: int, epochs: int) -> None:
        """What a subclass does as an epoch begins, `epoch` from 0, of `epochs`; nothing here."""

    def confidence_of(self, x):
        """The confidence weights (n,) of a training batch; their mean goes into the logs."""
        if self.confidence is None or "index" not in x:
            raise ValueError(
                "Training with confidence weights needs the samples' index and a training set: call fit, with "
                "arrays, a PairDataset, or a loader that yields 'index' beside 'image' and 'text'; or turn the "
                "weights off with confidence_weighting=False."
            )
        confidence = ops.take(self.confidence, ops.cast(x["index"], "int32"), axis=0)
        self._confidence_mean.update_state(confidence)
        return confidence

    def train_step(self, *args):
        """One update, skipped and counted if the loss or a gradient is not finite; see `scbch_keras.backend`."""
        return backend.train_step(self, *args)

    def track_step(self, loss, finite, y):
        """Log a step's loss, and whether its update was skipped."""
        _update_finite(self._loss_tracker, loss, y)
        self._skipped.update_state(1.0 - ops.cast(finite, "float32"))

    @property
    def optimizer_skips(self) -> bool:
        """Whether the optimizer itself skips non-finite gradients: loss scaling must see them to adapt."""
        return isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)

    def test_step(self, *args):
        """Keras' own, without the metrics that have a meaning in training only."""
        result = super().test_step(*args)
        logs, *state = result if isinstance(result, tuple) else (result,)
        logs = {name: value for name, value in logs.items() if name not in ("confidence", "skipped")}
        return (logs, *state) if state else logs

    # Training

    def compile(self, optimizer: Any = "adam", loss: Any = None, jit_compile: Any = "auto", **kwargs):
        """Configure training; see `keras.Model.compile`. The loss is the model's own.

        Args:
            optimizer: the authors train with Adam at 1e-4.
            loss: must be None.
            jit_compile: "auto" compiles the step where that pays: on TensorFlow and JAX, not on PyTorch.
            **kwargs: the others of `keras.Model.compile`.

        Raises:
            ValueError: a loss is given.
        """
        if loss is not None:
            raise ValueError(
                f"{type(self).__name__} brings its own loss; got loss={loss!r}. Its terms are set where it is made."
            )
        self._jit_requested = jit_compile
        if jit_compile == "auto":
            jit_compile = backend.JIT and not kwargs.get("run_eagerly", False)
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)

    def make_predict_function(self, force=False):
        """Keras' own, compiled only where that pays."""
        jit: bool = self.jit_compile  # type: ignore[has-type]
        self.jit_compile = jit and backend.JIT_PREDICT
        try:
            return super().make_predict_function(force)
        finally:
            self.jit_compile = jit

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        **kwargs,
    ):
        """Train; see `keras.Model.fit`. All data is checked before the first step.

        Args:
            x: {"image": (N, ...), "text": (N, ...)} arrays with `y`; or a `PairDataset`; or a finite
                `tf.data.Dataset`, torch `DataLoader` or other re-iterable loader of
                ({"image", "text", "index"}, labels[, sample_weight]), `index` being the sample's row 0..N-1.
            y: (N, num_classes), 0/1, possibly wrong, or probabilities where the objective takes them. None with a
                dataset or loader.
            batch_size: int; None: 128. For arrays only.
            epochs: int, number of the last epoch.
            verbose: Keras' progress bar.
            callbacks: Keras callbacks; `RetrievalMetrics` among them run first, so the others see its values.
            validation_split: float in [0, 1), the last share of the arrays, not trained on.
            validation_data: ({"image", "text"}, labels[, sample_weight]), or a loader. Its loss is the same
                objective with all confidence weights at 1.
            shuffle: for arrays only. The order follows from `keras.utils.set_random_seed` and the epoch.
            class_weight: must be None: a multi-label sample has no one class.
            sample_weight: (N,) >= 0: weighs single samples, and pairs by the product of their two.
            **kwargs: `initial_epoch`, `steps_per_epoch`, `validation_steps`, `validation_batch_size`,
                `validation_freq`.

        Returns:
            `keras.callbacks.History` with loss, its terms, mean confidence where samples are weighed, and
            skipped (updates an epoch that were left out for a non-finite loss or gradient).

        Raises:
            ValueError: data that cannot be trained on; the message names the argument, what was expected and
                what came.
            FloatingPointError: every update of an epoch was skipped.
        """
        if class_weight is not None:
            raise ValueError("class_weight has no meaning for multi-labels; use sample_weight.")
        if isinstance(x, dict):
            x, y = _arrays(x, y)
            sample_weight = None if sample_weight is None else as_array(sample_weight)
            if validation_split and validation_data is None:
                (x, y, sample_weight), validation_data = _split(x, y, sample_weight, validation_split)
            pairs: Any = PairDataset(
                **x,
                labels=y,
                batch_size=batch_size or 128,
                shuffle=shuffle,
                sample_weight=sample_weight,
                soft_labels=self.soft_labels,
            )
        else:
            for name, value in (("y", y), ("sample_weight", sample_weight), ("batch_size", batch_size)):
                if value is not None:
                    raise ValueError(f"{name} goes with arrays; a dataset or loader brings its own.")
            if validation_split:
                raise ValueError("validation_split goes with arrays; pass validation_data.")
            pairs = x if isinstance(x, PairDataset) else LoaderPairs(x, self.needs_index, self.soft_labels)
        self.check_training_set(pairs)
        if isinstance(validation_data, (tuple, list)):
            validation_data = self._checked_validation(*validation_data)

        self._prepare(pairs)
        callbacks = sorted(
            keras.tree.flatten(callbacks or []), key=lambda c: not isinstance(c, RetrievalMetrics)
        )
        return super().fit(
            pairs.loader if isinstance(pairs, LoaderPairs) else pairs,
            epochs=epochs,
            verbose=verbose,
            callbacks=[ConfidenceRefresh(pairs), *callbacks],
            validation_data=validation_data,
            shuffle=False,  # of whole batches, by Keras; the pairs shuffle their samples themselves
            **kwargs,
        )

    def check_training_set(self, pairs: PairDataset | LoaderPairs) -> None:
        """Raise ValueError for a training set that the objective cannot be trained on."""
        check_labels("labels", pairs.labels, self.num_classes, self.soft_labels)

    def _checked_validation(self, x, y, sample_weight=None):
        try:
            x, y = _arrays(x, y)
            sample_weight = None if sample_weight is None else as_array(sample_weight)
            check_pairs(x["image"], x["text"], y, sample_weight, soft_labels=self.soft_labels)
            check_labels("labels", y, self.num_classes, self.soft_labels)
        except ValueError as error:
            raise ValueError(f"validation_data: {error}") from error
        return (x, y) if sample_weight is None else (x, y, sample_weight)

    def _prepare(self, pairs) -> None:
        """Everything that fit's callbacks need before its first batch: weights, slots, confidence."""
        if isinstance(pairs, PairDataset):
            shapes = {"image": pairs.image.shape, "text": pairs.text.shape}
        else:
            shapes = pairs.shapes
        self.build(shapes)
        if getattr(self, "optimizer", None) is not None and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        if self.confidence_weighting:
            shape = (pairs.num_samples,)
            self.confidence = sample_variable(self, self.confidence, shape, "confidence_weights", "ones")

    # Encoding

    def encode_image(self, image, packed: bool = True, batch_size: int = 1024, verbose: Any = "auto"):
        """Codes of images, which need no texts.

        Args:
            image: (n, ...), features or pictures as in training, finite.
            packed: whether codes come packed.
            batch_size: rows at once.
            verbose: Keras' progress bar: "auto", 0, 1 or 2.

        Returns:
            Packed codes (n, ceil(bits / 8)) uint8, bit i being h_i > 0 (`numpy.packbits`' order); or continuous
            codes (n, bits) float32.

        Raises:
            ValueError: the branch is not built, or the features do not fit it.
        """
        return self._encode("image", image, packed, batch_size, verbose)

    def encode_text(self, text, packed: bool = True, batch_size: int = 1024, verbose: Any = "auto"):
        """Codes of texts, which need no images; see `encode_image`."""
        return self._encode("text", text, packed, batch_size, verbose)

    def _encode(self, modality, features, packed, batch_size, verbose):
        check_positive_int("batch_size", batch_size)
        features = as_array(features)
        check_features(modality, features)
        expected = self._input_shape.get(modality)
        if expected is None:
            raise ValueError(f"The {modality} branch has no weights yet: call fit, build, or load a model.")
        if any(want not in (None, came) for want, came in zip(expected, features.shape, strict=False)) or len(
            expected
        ) != len(features.shape):
            raise ValueError(f"{modality} must have shape {expected}; got {features.shape}.")
        if not len(features):
            codes = np.empty((0, self.bits), "float32")
        else:
            codes = self.predict(FeatureBatches({modality: features}, batch_size), verbose=verbose)[modality]
        return pack_codes(codes) if packed else codes

    def codes_of(self, pairs: PairDataset | LoaderPairs) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Continuous codes (N, bits) of a training set's images and texts, in the samples' order."""
        codes = {name: np.empty((pairs.num_samples, self.bits), "float32") for name in self._branches()}
        for rows, image, text in pairs.in_order():
            outputs = self.predict_on_batch({"image": image, "text": text})
            for name, batches in codes.items():
                batches[rows] = ops.convert_to_numpy(outputs[name])
        return codes["image"], codes["text"]

    # Saving

    def get_config(self):
        """The constructor's arguments."""
        branches = {
            f"{name}_branch": keras.saving.serialize_keras_object(branch)
            for name, branch in self._branches().items()
        }
        settings = {name: getattr(self, name) for name in ("bits", "num_classes", "l2", *self.SETTINGS)}
        return {**super().get_config(), **settings, **branches}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """The model of a config."""
        branches = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
            for name in ("image_branch", "text_branch")
        }
        return cls(**{**config, **branches})

    def get_build_config(self):
        """The shapes the branches are built with."""
        return {"input_shape": dict(self._input_shape)}

    def build_from_config(self, config):
        """Build the branches with the shapes of `get_build_config`."""
        self.build({name: tuple(shape) for name, shape in config["input_shape"].items()})

    def get_compile_config(self):
        """What compile was given, readable under every backend."""
        config = super().get_compile_config()
        if config:
            config["jit_compile"] = self._jit_requested
            optimizer = config["optimizer"]
            if isinstance(optimizer, dict) and optimizer["module"].startswith("keras.src.backend."):
                # PyTorch's variants of the optimizers name a module that other backends do not have.
                config["optimizer"] = {**optimizer, "module": "keras.optimizers", "registered_name": None}
        return config

    def compile_from_config(self, config):
        """Compile as a saved model was, with its optimizer's state."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def save_own_variables(self, store):
        """Nothing: the only variable outside of the layers is the confidence, which belongs to the data."""

    def load_own_variables(self, store):
        """Nothing; see `save_own_variables`."""


def check_not_negative(**values: float) -> None:
    """Raise ValueError, naming the argument, unless all are at least 0."""
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name} must be at least 0; got {value!r}.")


def _update_finite(mean, value, batch) -> None:
    """Count a batch into a mean unless the value is not finite: one bad batch must not blot out an epoch."""
    finite = ops.isfinite(value)
    size = ops.cast(ops.shape(batch)[0], "float32")
    mean.update_state(ops.where(finite, value, 0.0), sample_weight=ops.where(finite, size, 0.0))


def _arrays(x, y):
    if not isinstance(x, dict) or set(x) != {"image", "text"}:
        came = sorted(x) if isinstance(x, dict) else type(x).__name__
        raise ValueError(f'x must be {{"image": ..., "text": ...}}; got {came}.')
    if y is None:
        raise ValueError("y is missing: the labels (N, num_classes).")
    return {name: as_array(values) for name, values in x.items()}, as_array(y)


def _split(x, y, sample_weight, share):
    """The last share of the rows for validation, as Keras does it."""
    if not 0 < share < 1:
        raise ValueError(f"validation_split must be in [0, 1); got {share!r}.")
    parts = [x["image"], x["text"], y] + ([] if sample_weight is None else [sample_weight])
    cut = int(len(y) * (1 - share))
    image, text, labels, *weight = [part[:cut] for part in parts]
    held_image, held_text, held_labels, *held_weight = [part[cut:] for part in parts]
    training = ({"image": image, "text": text}, labels, weight[0] if weight else None)
    return training, ({"image": held_image, "text": held_text}, held_labels, *held_weight)
