"""The arguments of `compile` and `fit` as Keras users know them: checked, split for validation, or refused."""

import itertools
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import keras
import numpy as np

from scbch_keras.arrays import as_array
from scbch_keras.callbacks import ResumableBackup, RetrievalMetrics
from scbch_keras.checks import whole
from scbch_keras.data import LoaderPairs, PairDataset
from scbch_keras.features import as_features, take
from scbch_keras.labels.matrix import check_labels
from scbch_keras.retrieval_sets import MAP_NAMES


def check_compile(name: str, loss: Any = None, **arguments: Any) -> None:
    """Raise ValueError for a loss, weights of it, or metrics: the model `name` has its own objective."""
    if loss is not None:
        raise ValueError(
            f"{name} brings its own loss; got loss={loss!r}. Its terms are set where it is made."
        )
    if arguments.get("loss_weights") is not None:
        raise ValueError(
            f"{name} brings its own loss; got loss_weights={arguments['loss_weights']!r}. The weights of its terms are "
            "arguments of its constructor."
        )
    for metrics in ("metrics", "weighted_metrics"):
        if arguments.get(metrics):
            raise ValueError(
                f"{metrics} compares outputs with labels, and the outputs are hash codes; got "
                f"{arguments[metrics]!r}. Pass scbch_keras.RetrievalMetrics(query, database) to fit's callbacks, or "
                "call model.evaluate_retrieval(query, database)."
            )


def check_epochs(initial_epoch: Any = 0, validation_freq: Any = 1, **others: Any) -> None:
    """Raise ValueError for a first epoch or a frequency of validation that is none."""
    whole("initial_epoch", initial_epoch, 0)
    if not isinstance(validation_freq, Collection):
        whole("validation_freq", validation_freq, 1)


def refuse_arrays(x: Any) -> None:
    """Raise ValueError for arrays that are not named "image" and "text"."""
    named = 'Name them: fit({"image": image, "text": text}, labels).'
    if isinstance(x, (tuple, list)) and x and all(hasattr(part, "shape") for part in x):
        raise ValueError(
            f'x must be {{"image": ..., "text": ...}}; got a {type(x).__name__} of {len(x)} arrays. {named}'
        )
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        raise ValueError(
            f'x must be {{"image": ..., "text": ...}}; got one array of shape {tuple(x.shape)}. {named}'
        )
    if x is None or isinstance(x, (str, bytes, int, float)):
        raise ValueError(f'x must be {{"image": ..., "text": ...}}, a PairDataset or a loader; got {x!r}.')


def pair_arrays(x: Any, y: Any, sample_weight: Any) -> tuple[dict[str, Any], Any, Any]:
    """Features by "image" and "text", labels, and weights where there are any, as arrays."""
    if not isinstance(x, Mapping) or set(x) != {"image", "text"}:
        actual = sorted(x) if isinstance(x, Mapping) else type(x).__name__
        raise ValueError(f'x must be {{"image": ..., "text": ...}}; got {actual}.')
    if y is None:
        raise ValueError("y is missing: the labels (N, num_classes).")
    _refuse_listed_labels(y)
    weight = None if sample_weight is None else as_array("sample_weight", sample_weight)
    return {name: as_features(name, values) for name, values in x.items()}, as_array("labels", y), weight


def _refuse_listed_labels(y: Any) -> None:
    """Raise ValueError for labels that are names or lists of class numbers instead of rows of 0 and 1."""
    if isinstance(y, np.ndarray) and y.dtype.kind not in "OUST":
        return
    if hasattr(y, "dtype") and not isinstance(y, np.ndarray):
        return
    rows = list(itertools.islice(y, 1000)) if isinstance(y, Iterable) else []
    sets = [row for row in rows if isinstance(row, (list, tuple, set, frozenset))]
    if isinstance(y, np.ndarray) and y.dtype.kind in "UST":
        rows = y.ravel()[:1].tolist()
    values = [value for row in sets for value in row] + [row for row in rows if isinstance(row, (str, bytes))]
    if any(isinstance(value, (str, bytes)) for value in values):
        kind, columns = "names of labels", "label_names.index(name)"
    elif len({len(row) for row in sets}) > 1 or any(isinstance(row, (set, frozenset)) for row in sets):
        kind, columns = "lists of label numbers", "number"
    else:
        return
    raise ValueError(
        f"y must be an array (N, num_classes) of 0 and 1; got {kind}. Make it so: y = numpy.zeros((N, num_classes), "
        f'"uint8"), then y[row, {columns}] = 1 for each label of each row.'
    )


def split(x: dict[str, Any], y: Any, sample_weight: Any, share: float) -> tuple[Any, Any]:
    """The last share of the rows for validation, as Keras does it."""
    cut = int(len(y) * (1 - share))
    if not cut:
        raise ValueError(f"validation_split must leave rows to train on; got {share} of {len(y)} rows.")

    def cut_out(rows: slice) -> Any:
        features = {name: take(part, rows) for name, part in x.items()}
        return features, y[rows], None if sample_weight is None else sample_weight[rows]

    return cut_out(slice(cut)), cut_out(slice(cut, None))


def validation_set(model: Any, data: Any, batch_size: int, steps: int | None) -> PairDataset | LoaderPairs:
    """Validation data of a `CrossModalHashing`, checked as training data is.

    Args:
        model: whose `fit` it is for.
        data: ({"image", "text"}, labels[, sample_weight]), a `PairDataset` or a loader.
        batch_size: int, for arrays.
        steps: int or None, batches of a loader that has no end.

    Raises:
        ValueError: what training data is refused for, with "validation_data: " before it.
    """
    try:
        if isinstance(data, tuple) or (isinstance(data, list) and data and isinstance(data[0], Mapping)):
            if len(data) not in (2, 3):
                raise ValueError(
                    f"expected (x, labels) or (x, labels, sample_weight); got {len(data)} parts."
                )
            x, labels, sample_weight = pair_arrays(*data, *[None] * (3 - len(data)))
            data = PairDataset(
                **x,
                labels=labels,
                batch_size=batch_size,
                shuffle=False,
                seed=0,  # drawing one would change the order of the training set
                sample_weight=sample_weight,
                soft_labels=model.soft_labels,
            )
        if isinstance(data, PairDataset):
            model.check_batch({"image": data.image, "text": data.text})
        else:
            data = LoaderPairs(
                data, False, model.soft_labels, steps, model.check_batch, steps_name="validation_steps"
            )
        check_labels("labels", data.labels, model.num_classes, model.soft_labels)
    except ValueError as error:
        raise ValueError(f"validation_data: {error}") from error
    return data


def set_monitor_modes(callbacks: Iterable[Any], terms: tuple[str, ...]) -> None:
    """Set the mode of callbacks that left it to Keras, which knows the direction of compiled metrics alone.

    Mean average precision is better where it is higher, the loss and its terms where they are lower.
    """
    modes = {**dict.fromkeys(MAP_NAMES, "max"), **dict.fromkeys(terms, "min")}
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.Callback) and getattr(callback, "mode", None) == "auto":
            monitor = str(getattr(callback, "monitor", "")).removeprefix("val_")
            callback.mode = modes.get(monitor, "auto")


def check_optimizer(model: Any) -> None:
    """Raise ValueError for a built model that has nothing to train, or an optimizer of other weights."""
    weights, optimizer = model.trainable_variables, model.optimizer
    if not weights:
        raise ValueError(
            "The model has no weights to train: its layers have trainable=False. Set trainable = True where fit is to "
            "train, then call compile."
        )
    known = {id(variable) for variable in optimizer._trainable_variables} if optimizer.built else set()
    unknown = [weight.path for weight in weights if id(weight) not in known]
    if optimizer.built and (unknown or len(weights) != len(known)):
        reason = f"it does not know {unknown[0]}" if unknown else "fewer are trained now"
        raise ValueError(
            f"The optimizer was built for other weights: {reason}. After trainable has changed call compile again, "
            "with a new optimizer; and give each model an optimizer of its own."
        )


def ordered_callbacks(callbacks: Any, watch: Any, pairs: Any, train_data: Any) -> list[Any]:
    """The callbacks in the order in which they work: metrics before who reads them, a backup after all others.

    Args:
        callbacks: what `fit` was given.
        watch: runs first.
        pairs: the training set.
        train_data: what Keras trains on.

    Raises:
        ValueError: something that is no callback, or what a `ResumableBackup` cannot bring back.
    """
    flat = keras.tree.flatten(callbacks or [])
    for callback in flat:
        if not isinstance(callback, keras.callbacks.Callback | keras.callbacks.CallbackList):
            hint = f": call it, {callback.__name__}(...)" if isinstance(callback, type) else ""
            raise ValueError(
                f"callbacks must be instances of keras.callbacks.Callback; got {callback!r}{hint}."
            )
    backups = [callback for callback in flat if isinstance(callback, ResumableBackup)]
    others = [callback for callback in flat if callback not in backups]
    for callback in others:
        if isinstance(callback, RetrievalMetrics):
            callback.attach(pairs)
            callback.loggers = [one for one in others if isinstance(one, keras.callbacks.CSVLogger)]
    others = [watch, *sorted(others, key=lambda callback: not isinstance(callback, RetrievalMetrics))]
    if backups:
        others += (
            [] if any(isinstance(c, keras.callbacks.History) for c in others) else [keras.callbacks.History()]
        )
        backups[0].attach(pairs, [*others, *backups[1:]], train_data)
    return [*others, *backups]
