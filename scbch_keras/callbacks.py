"""Callbacks: the epoch switch, and retrieval metrics while training."""

import keras
import numpy as np

from scbch_keras.codes import pack_codes
from scbch_keras.data import ROWS_AT_ONCE, FeatureBatches, as_array, check_pairs
from scbch_keras.metrics import cross_modal_map


class ConfidenceRefresh(keras.callbacks.Callback):
    """The epoch switch: ones through warm-up, then the model's own estimate as each epoch begins.

    `fit` adds it itself. It also sets the data's order of the epoch and watches the skipped updates.

    Args:
        pairs: the training set, a `PairDataset` or `LoaderPairs`.
    """

    def __init__(self, pairs):
        super().__init__()
        self.pairs = pairs

    def on_epoch_begin(self, epoch, logs=None):
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

    def on_epoch_end(self, epoch, logs=None):
        """Stop with an error where an epoch changed nothing."""
        skipped, updates = (logs or {}).get("skipped", 0), self.params["steps"]
        if updates and skipped >= updates:
            raise FloatingPointError(
                f"Every update of epoch {epoch + 1} had a non-finite loss or gradient and was skipped: the weights "
                "did not change. Lower the learning rate or look at the scale of the features."
            )


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

    def __init__(self, query, database, k: int | None = None, every: int = 1):
        super().__init__()
        self.query, self.database = _check_set("query", query), _check_set("database", database)
        if not isinstance(every, int) or every < 1:
            raise ValueError(f"every must be an int of at least 1; got {every!r}.")
        self.k, self.every = k, every

    def on_epoch_end(self, epoch, logs=None):
        """Encode both sets and add the two values to the logs."""
        if (epoch + 1) % self.every and epoch + 1 < self.params["epochs"]:
            return
        result = cross_modal_map(
            self._codes(self.query),
            self._codes(self.database),
            self.query[1],
            self.database[1],
            bits=self.model.bits,
            k=self.k,
        )
        logs["i2t_map"], logs["t2i_map"] = result.i2t, result.t2i

    def _codes(self, pairs):
        outputs = self.model.predict(FeatureBatches(pairs[0], ROWS_AT_ONCE), verbose=0)
        return {name: pack_codes(outputs[name]) for name in ("image", "text")}


def _check_set(name, pairs):
    if (
        not isinstance(pairs, (tuple, list))
        or len(pairs) != 2
        or not isinstance(pairs[0], dict)
        or set(pairs[0]) != {"image", "text"}
    ):
        raise ValueError(
            f'{name} must be ({{"image": ..., "text": ...}}, labels); got {type(pairs).__name__}.'
        )
    x, labels = {key: as_array(value) for key, value in pairs[0].items()}, as_array(pairs[1])
    try:
        check_pairs(x["image"], x["text"], labels)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return x, labels
