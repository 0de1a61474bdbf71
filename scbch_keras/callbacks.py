"""Callbacks: the epoch switch, retrieval metrics while training, and the backup of a training."""

from typing import Any

import keras
import numpy as np

from scbch_keras.checks import whole
from scbch_keras.resumable_backup import ResumableBackup
from scbch_keras.retrieval_sets import check_set

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

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Tell the model, and write the epoch's confidence weights into it."""
        self.pairs.set_epoch(epoch)
        model = self.model
        model.begin_epoch(self.pairs, epoch, self.params["epochs"])
        if not model.confidence_weighting:
            return
        if epoch < model.warmup_epochs:
            weights = np.ones(self.pairs.num_samples, "float32")
        else:
            weights = model.estimate_confidence(self.pairs)
        # Through self.model: on JAX a write through another reference is lost.
        model.confidence.assign(weights)


class RetrievalMetrics(keras.callbacks.Callback):
    """Mean average precision in both directions as an epoch ends, in its logs as `i2t_map` and `t2i_map`.

    `i2t_map`: image queries against the text codes of the database; `t2i_map`: the other way. Relevant is what
    shares a label; equal distances count with their expected value over random orders. `SCBCH.fit` runs this
    callback before the others, so that EarlyStopping, ModelCheckpoint and CSVLogger see the values.

    Args:
        query: ({"image": (q, ...), "text": (q, ...)}, labels (q, C)), with clean labels where there are any.
        database: the same for the database.
        k: int, mAP@k, or None for the whole ranking.
        every: int >= 1, epochs from one evaluation to the next; the last epoch is always evaluated.

    Raises:
        ValueError: a set that is not ({"image", "text"}, labels), or whose arrays do not fit.
    """

    def __init__(self, query: Any, database: Any, k: int | None = None, every: int = 1) -> None:
        super().__init__()
        self.query, self.database = check_set("query", query), check_set("database", database)
        self.k, self.every = whole("k", k, 1, optional=True), whole("every", every, 1)

    def on_train_begin(self, logs: Any = None) -> None:
        """See that the branches take both sets."""
        for name, (x, _) in (("query", self.query), ("database", self.database)):
            try:
                for modality, features in x.items():
                    self.model.check_encodable(modality, features)
            except ValueError as error:
                raise ValueError(f"RetrievalMetrics: {name}: {error}") from error

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Encode both sets and add the two values to the logs."""
        if (epoch + 1) % self.every and epoch + 1 < self.params["epochs"]:
            return
        logs.update(self.model.retrieval_maps(self.query, self.database, self.k))
