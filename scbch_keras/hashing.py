"""Two hash branches trained together on image-text pairs: what every objective shares."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from scbch_keras import backend
from scbch_keras.arrays import Tensor
from scbch_keras.callbacks import ConfidenceRefresh
from scbch_keras.checks import number, share, whole
from scbch_keras.data import LoaderPairs, PairDataset, for_keras
from scbch_keras.device_data import on_device
from scbch_keras.devices import StepsTogether, callbacks_of_process, check_devices, check_processes
from scbch_keras.features import shape_of
from scbch_keras.fit_arguments import (
    check_compile,
    check_epochs,
    check_optimizer,
    ordered_callbacks,
    pair_arrays,
    refuse_arrays,
    set_monitor_modes,
    split,
    validation_set,
)
from scbch_keras.labels.matrix import check_labels
from scbch_keras.loader_batches import own_errors
from scbch_keras.network import Branch, HashNetwork
from scbch_keras.sample_state import sample_variable
from scbch_keras.skips import NAMED, SkippedUpdates, SkipWatch, describe_samples, update_finite


class CrossModalHashing(StepsTogether, HashNetwork):
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

    A subclass keeps its own constructor arguments under their names; they are saved.

    Raises:
        ValueError: an argument out of range, a branch whose code length is not `bits`, or branches that share a
            layer.
    """

    def __init__(
        self,
        bits: int,
        num_classes: int,
        image_branch: Branch = None,
        text_branch: Branch = None,
        l2: float = 1e-5,
        *,
        terms: Sequence[str],
        confidence_weighting: bool = False,
        warmup_epochs: int = 0,
        soft_labels: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(bits, num_classes, image_branch, text_branch, **kwargs)
        self.l2 = number("l2", l2, 0)
        self.confidence_weighting = confidence_weighting
        self.warmup_epochs = whole("warmup_epochs", warmup_epochs, 0)
        self.soft_labels = soft_labels
        # (N,) once fit knows N. Not part of a saved model: each epoch computes it anew.
        self.confidence: Any = None
        self._term_means = {name: keras.metrics.Mean(name=name) for name in terms}
        if confidence_weighting:
            self._confidence_mean = keras.metrics.Mean(name="confidence")
        self._skipped = SkippedUpdates()

    # The objective

    def objective(
        self, x: Any, labels: Tensor, outputs: dict[str, Tensor], sample_weight: Any, training: bool
    ) -> Mapping[str, tuple[Any, Any]]:
        """Weight and value of each term of the objective, scalars.

        Args:
            x: the batch, with `index` (n,) while training.
            labels: (n, C) float32.
            outputs: of `call`, with codes (n, bits) float32 under "image" and "text".
            sample_weight: (n,) or None.
            training: False in validation, which reads no confidence weights.

        Returns:
            (weight, value) by the names passed to the constructor as `terms`.

        Raises:
            NotImplementedError: a subclass must define it.
        """
        raise NotImplementedError(f"{type(self).__name__} has no objective.")

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """The whole objective, a scalar. The mean of each term goes into the logs."""
        labels = ops.cast(y, "float32")
        with backend.full_precision():
            terms = self.objective(x, labels, y_pred, sample_weight, training)
        for name, mean in self._term_means.items():
            update_finite(mean, terms[name][1], labels)
        return sum(weight * term for weight, term in terms.values()) + sum(self.losses)

    @property
    def lowest_confidence(self) -> float:
        """Weight of a sample that cannot be estimated."""
        return 0.0

    @property
    def fewest_samples(self) -> int:
        """Samples that an estimate needs."""
        return 1

    def reads_codes(self, epoch: int) -> bool:
        """Whether the codes of the training set are read as this epoch begins, from 0."""
        return self.confidence_weighting and epoch >= self.warmup_epochs

    def estimate_confidence(self, pairs: PairDataset | LoaderPairs) -> NDArray[np.floating]:
        """Confidence weights (N,) of the training set by the model as it is; `fit` calls it as an epoch begins.

        A sample whose codes are not finite is left out of the estimate and has the lowest weight.
        """
        codes = self.codes_of(pairs)
        finite = np.asarray(np.isfinite(np.concatenate(codes, axis=1)).all(axis=1))
        if finite.all():
            return self.weights_of(pairs.labels, *codes)
        left_out = np.flatnonzero(~finite)
        samples = describe_samples(len(left_out), left_out[:NAMED].tolist())
        warnings.warn(
            f"{samples} left out of the confidence estimate: their codes are not finite.", stacklevel=2
        )
        weights = np.full(len(finite), self.lowest_confidence, "float32")
        if finite.sum() >= self.fewest_samples:
            weights[finite] = self.weights_of(pairs.labels[finite], *(values[finite] for values in codes))
        return weights

    def weights_of(
        self, labels: NDArray[Any], image_codes: NDArray[np.float32], text_codes: NDArray[np.float32]
    ) -> NDArray[np.floating]:
        """Confidence weights of samples from their labels and their codes.

        Args:
            labels: (n, C).
            image_codes: (n, bits), finite.
            text_codes: (n, bits), finite.

        Returns:
            (n,).

        Raises:
            NotImplementedError: the method has no confidence weights.
        """
        raise NotImplementedError(f"{type(self).__name__} has no confidence weights.")

    @property
    def needs_index(self) -> bool:
        """Whether training reads the samples' rows in the training set."""
        return self.confidence_weighting

    def begin_epoch(self, pairs: PairDataset | LoaderPairs, epoch: int, epochs: int) -> None:
        """What a subclass does as an epoch begins, `epoch` from 0, of `epochs`; nothing here."""

    def confidence_of(self, x: Any) -> Tensor:
        """The confidence weights (n,) of a training batch, by its `index`; their mean goes into the logs."""
        if self.confidence is None or "index" not in x:
            raise ValueError(
                "Training with confidence weights needs the samples' index and a training set: call fit, with "
                "arrays, a PairDataset, or a loader that yields 'index' beside 'image' and 'text'; or turn the "
                "weights off with confidence_weighting=False."
            )
        confidence = ops.take(self.confidence, ops.cast(x["index"], "int32"), axis=0)
        self._confidence_mean.update_state(confidence)
        return confidence

    def train_step(self, *args: Any) -> Any:
        """One update, skipped and counted if the loss or a gradient is not finite; see `scbch_keras.backend`."""
        return backend.train_step(self, *args)

    def track_step(self, loss: Tensor, finite: Tensor, x: Any, y: Any, sample_weight: Any) -> None:
        """Log a step's loss, and whether its update was skipped and by which samples."""
        update_finite(self._loss_tracker, loss, y)
        self._skipped.update_state(finite, x, y, sample_weight)

    def test_step(self, *args: Any) -> Any:
        """Keras' own, without the metrics that have a meaning in training only."""
        result = super().test_step(*args)
        logs, *state = result if isinstance(result, tuple) else (result,)
        logs = {name: value for name, value in logs.items() if name not in ("confidence", "skipped")}
        return (logs, *state) if state else logs

    # Training

    def compile(
        self, optimizer: Any = "adam", loss: Any = None, jit_compile: Any = "auto", **kwargs: Any
    ) -> None:
        """Configure training; see `keras.Model.compile`. The loss is the model's own.

        Args:
            optimizer: the authors train with Adam at 1e-4.
            loss: must be None.
            jit_compile: "auto" compiles the step where that pays: on TensorFlow and JAX. On PyTorch a CUDA card
                replays recorded ones in `fit` where the optimizer is plain Adam. With "auto", steps on an accelerator
                do not wait for Python: the logs of a batch are those of the batch before; the epoch's are its own.
            **kwargs: the others of `keras.Model.compile`, but for metrics: retrieval is measured on whole sets, by
                `RetrievalMetrics`.

        Raises:
            ValueError: a loss, its weights or metrics are passed.
        """
        check_compile(type(self).__name__, loss=loss, **kwargs)
        self._jit_requested = jit_compile
        if jit_compile == "auto":
            jit_compile = backend.JIT and not kwargs.get("run_eagerly", False)
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
        rate = float(ops.convert_to_numpy(self.optimizer.learning_rate))
        number("the optimizer's learning_rate", rate, 0)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: None = None,
        sample_weight: Any = None,
        max_skipped: int = 100,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Train; see `keras.Model.fit`. All data is checked before the first step.

        Args:
            x: {"image": (N, ...), "text": (N, ...)} arrays with `y`, a dict of arrays by the names of its inputs for a
                branch with several; or a `PairDataset`; or a
                `tf.data.Dataset`, torch `DataLoader` or other re-iterable loader of
                ({"image", "text", "index"}, labels[, sample_weight]), `index` being the sample's row 0..N-1. With
                confidence weights it yields each sample once a pass; without them it needs no index, may drop or
                repeat samples, and may be endless if `steps_per_epoch` is set.
            y: (N, num_classes), 0/1, possibly wrong, or probabilities where the objective takes them. None with a
                dataset or loader.
            batch_size: int; None: 128. For arrays only.
            epochs: int, number of the last epoch.
            verbose: Keras' progress bar.
            callbacks: Keras callbacks; `RetrievalMetrics` among them run first, so the others see its values. Those
                that monitor mAP, a loss or a term find their mode themselves.
            validation_split: float in [0, 1), the last share of the arrays, not trained on.
            validation_data: ({"image", "text"}, labels[, sample_weight]), or a loader. Its loss is the same
                objective with all confidence weights at 1.
            shuffle: for arrays only. The order follows from `keras.utils.set_random_seed` and the epoch.
            class_weight: must be None: a multi-label sample has no one class.
            sample_weight: (N,) >= 0: weighs single samples, and pairs by the product of their two.
            max_skipped: int >= 1, updates skipped in a row that end the training.
            **kwargs: `initial_epoch`, `steps_per_epoch`, `validation_steps`, `validation_batch_size`,
                `validation_freq`.

        Returns:
            `keras.callbacks.History` with loss, its terms, mean confidence where samples are weighed, and
            skipped (updates an epoch that were left out for a non-finite loss or gradient).

        Raises:
            ValueError: data that cannot be trained on; the message names the argument, what was expected and
                what came.
            RuntimeError: several processes, or a distribution over devices that would not train this model.
            FloatingPointError: every update of an epoch, or `max_skipped` updates in a row, were skipped.
        """
        check_devices(self)
        max_skipped = whole("max_skipped", max_skipped, 1)
        if class_weight is not None:
            raise ValueError("class_weight has no meaning for multi-labels; use sample_weight.")
        epochs = whole("epochs", epochs, 0)
        check_epochs(**kwargs)
        refuse_arrays(x)
        if isinstance(x, Mapping):
            x, y, sample_weight = pair_arrays(x, y, sample_weight)
            if share("validation_split", validation_split, below=True) and validation_data is None:
                (x, y, sample_weight), validation_data = split(x, y, sample_weight, validation_split)
            pairs: Any = PairDataset(
                **x,
                labels=y,
                batch_size=128 if batch_size is None else batch_size,
                shuffle=shuffle,
                sample_weight=sample_weight,
                soft_labels=self.soft_labels,
            )
            if backend.several_processes():
                pairs.seed = backend.processes.of_first(pairs.seed)
        else:
            for name, value in (("y", y), ("sample_weight", sample_weight), ("batch_size", batch_size)):
                if value is not None:
                    raise ValueError(f"{name} goes with arrays; a dataset or loader brings its own.")
            if validation_split:
                raise ValueError("validation_split goes with arrays; pass validation_data.")
            pairs = (
                x
                if isinstance(x, PairDataset)
                else LoaderPairs(
                    x, self.needs_index, self.soft_labels, kwargs.get("steps_per_epoch"), self.check_batch
                )
            )
        if isinstance(pairs, PairDataset):
            self.check_batch({"image": pairs.image, "text": pairs.text})
        self.check_training_set(pairs)
        if validation_data is not None:
            batch_size = kwargs.pop("validation_batch_size", None)
            validation_data = validation_set(
                self,
                validation_data,
                32 if batch_size is None else batch_size,
                kwargs.get("validation_steps"),
            )
        with backend.placed(self):
            self._prepare(pairs)
            train_data = for_keras(pairs)
            callbacks = ordered_callbacks(callbacks, SkipWatch(max_skipped), pairs, train_data)
            set_monitor_modes(callbacks, terms=tuple(self._term_means))
            if backend.several_processes():
                check_processes(self, pairs, callbacks)
                callbacks = callbacks_of_process(callbacks)
                verbose = verbose if backend.processes.rank() == 0 else 0
            validation_data = for_keras(validation_data)
            with own_errors(train_data, validation_data):
                try:
                    return super().fit(
                        on_device(train_data),
                        epochs=epochs,
                        verbose=verbose,
                        callbacks=[ConfidenceRefresh(pairs), *callbacks],
                        validation_data=validation_data,
                        shuffle=False,  # of whole batches, by Keras; the pairs shuffle their samples themselves
                        **kwargs,
                    )
                finally:
                    backend.end_fit(self)

    def check_training_set(self, pairs: PairDataset | LoaderPairs) -> None:
        """Raise ValueError for a training set that the objective cannot be trained on."""
        check_labels("labels", pairs.labels, self.num_classes, self.soft_labels)

    def _prepare(self, pairs: PairDataset | LoaderPairs) -> None:
        """Everything that fit's callbacks need before its first batch: weights, slots, confidence."""
        if isinstance(pairs, PairDataset):
            shapes = {"image": shape_of(pairs.image), "text": shape_of(pairs.text)}
        else:
            shapes = pairs.shapes
        self.build(shapes)
        if getattr(self, "optimizer", None) is not None:
            check_optimizer(self)
            if not self.optimizer.built:
                self.optimizer.build(self.trainable_variables)
        if self.confidence_weighting:
            shape = (pairs.num_samples,)
            self.confidence = sample_variable(self, self.confidence, shape, "confidence_weights", "ones")

    def variables_restored(self) -> None:
        """What a subclass keeps beside its variables, which are now those of a training under way; nothing here."""

    def get_compile_config(self) -> dict[str, Any]:
        """What compile was given, readable under every backend."""
        config = super().get_compile_config()
        if config:
            config["jit_compile"] = self._jit_requested
            optimizer = config["optimizer"]
            if isinstance(optimizer, dict) and optimizer["module"].startswith("keras.src.backend."):
                # PyTorch's variants of the optimizers name a module that other backends do not have.
                config["optimizer"] = {**optimizer, "module": "keras.optimizers", "registered_name": None}
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as a saved model was, with its optimizer's state."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)
