"""Callbacks: the epoch switch, retrieval metrics while training, and the backup of a training."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from scbch_keras import backend
from scbch_keras.checks import whole
from scbch_keras.codes import NaNCodesError
from scbch_keras.data import PairDataset
from scbch_keras.resumable_backup import ResumableBackup
from scbch_keras.retrieval_sets import MAP_NAMES, check_set
from scbch_keras.shared_codes import packed_codes, shared_rows, weights_mark

__all__ = ["ConfidenceRefresh", "ResumableBackup", "RetrievalMetrics"]


class ConfidenceRefresh(keras.callbacks.Callback):
    """The epoch switch: ones through warm-up, then the model's own estimate as each epoch begins.

    `fit` adds it itself. It also sets the data's order of the epoch.

    Args:
        pairs: the training set, a `PairDataset` or `LoaderPairs`.
    """

    def __init__(self, pairs: Any) -> None:
        super().__init__()
        self.pairs = pairs

    def on_train_begin(self, logs: Any = None) -> None:
        """Let steps run ahead, where the backend does that; `fit` ends it."""
        backend.begin_fit(self.model)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Tell the model, and write the epoch's confidence weights into it."""
        self.pairs.set_epoch(epoch)
        model = self.model
        backend.begin_epoch(model)
        model.begin_epoch(self.pairs, epoch, self.params["epochs"])
        if model.confidence_weighting:
            if model.reads_codes(epoch):
                weights = model.estimate_confidence(self.pairs)
            else:
                weights = np.ones(self.pairs.num_samples, "float32")
            # Through self.model: on JAX a write through another reference is lost.
            model.confidence.assign(weights)
        # Steps move the weights, and workers may be given the data set.
        self.pairs.shared = None


class RetrievalMetrics(keras.callbacks.Callback):
    """Mean average precision in both directions as an epoch ends, in its logs as `i2t_map` and `t2i_map`.

    `i2t_map`: image queries against the text codes of the database; `t2i_map`: the other way. Relevant is what
    shares a label; equal distances count with their expected value over random orders. `SCBCH.fit` runs this
    callback before the others, so that EarlyStopping, ModelCheckpoint and CSVLogger see the values.

    Rows of the database that are samples of the training set, bit for bit, are encoded once for the evaluation and for
    the confidence weights of the next epoch.

    Args:
        query: ({"image": (q, ...), "text": (q, ...)}, labels (q, C)), with clean labels where there are any.
        database: the same for the database.
        k: int, mAP@k, or None for the whole ranking.
        every: int >= 1, epochs from one evaluation to the next; the last epoch is always evaluated.

    Raises:
        ValueError: a set that is not ({"image", "text"}, labels), or whose arrays do not fit.
    """

    _pairs: Any = None
    _samples: Any = None
    _evaluated: Any = None
    loggers: Sequence[keras.callbacks.CSVLogger] = ()
    """The others that write tables; `fit` sets them."""

    def __init__(self, query: Any, database: Any, k: int | None = None, every: int = 1) -> None:
        super().__init__()
        self.query, self.database = check_set("query", query), check_set("database", database)
        self.k, self.every = whole("k", k, 1, optional=True), whole("every", every, 1)

    def attach(self, pairs: Any) -> None:
        """Get to know the training set, a `PairDataset` or `LoaderPairs`; `fit` calls it."""
        self._pairs = pairs if isinstance(pairs, PairDataset) and not backend.several_processes() else None

    def on_train_begin(self, logs: Any = None) -> None:
        """See that the branches take both sets, and which rows of the database train."""
        for name, (x, _) in (("query", self.query), ("database", self.database)):
            try:
                for modality, features in x.items():
                    self.model.check_encodable(modality, features)
            except ValueError as error:
                raise ValueError(f"RetrievalMetrics: {name}: {error}") from error
        self._evaluated = self._samples = None
        if self._pairs is not None:
            samples = shared_rows({"image": self._pairs.image, "text": self._pairs.text}, self.database[0])
            self._samples = samples if (samples >= 0).any() else None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Encode both sets and add the two values to the logs. FloatingPointError: codes are NaN."""
        last = epoch + 1 == self.params["epochs"]
        if (epoch + 1) % self.every and not last:
            self._announce(logs)
            return
        labels = self.query[1], self.database[1]
        try:
            codes = self._encoded(for_training=not last and self.model.reads_codes(epoch + 1))
        except NaNCodesError as error:
            raise FloatingPointError(
                f"The model diverged, by the evaluation after epoch {epoch + 1}: {error}. Lower the learning rate or "
                "look at the scale of the features."
            ) from error
        logs.update(self.model.maps_of(codes["query"], codes["database"], *labels, self.k))
        # Nobody asks for those of an epoch that another one follows.
        self._evaluated = (self._mark(), codes) if last else None

    def _announce(self, logs: dict[str, Any]) -> None:
        """Tell each `CSVLogger` of columns that this epoch has not: it has those of its first epoch, and no others."""
        for logger in self.loggers:
            if logger.keys is None:
                keys = sorted([*logs, *MAP_NAMES])
                validated = any(key.startswith("val_") for key in keys)
                logger.keys = keys if validated else [*keys, *(f"val_{key}" for key in logs)]

    def codes(self) -> dict[str, dict[str, Any]]:
        """Packed codes by modality of "query" and "database" by the model as `fit` left it.

        They are those of the evaluation after the last epoch; where training ended before, or the weights have changed
        since, they are made anew.
        """
        if self._evaluated is not None and self._evaluated[0] == weights_mark(self.model):
            codes: dict[str, dict[str, Any]] = self._evaluated[1]
            return codes
        return self._encoded(for_training=False)

    def _encoded(self, for_training: bool) -> dict[str, dict[str, Any]]:
        model, samples, (database, _) = self.model, self._samples, self.database
        # Where the database has all samples, their codes cost nothing more, whoever reads them next.
        if samples is not None and (
            for_training or len(np.unique(samples[samples >= 0])) == self._pairs.num_samples
        ):
            codes = packed_codes(model, database, self._pairs, samples)
        else:
            codes = model.packed_codes(database)
        return {"query": model.packed_codes(self.query[0]), "database": codes}

    def _mark(self) -> tuple[int, ...]:
        shared = None if self._pairs is None else self._pairs.shared
        mark: tuple[int, ...] = weights_mark(self.model) if shared is None else shared.weights
        return mark

    def get_state(self) -> dict[str, Any]:
        """Nothing: what it keeps can be made anew."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Nothing; see `get_state`."""
