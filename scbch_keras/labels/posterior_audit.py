"""An audit by a posterior alone: no training, no neighbours. numpy only."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.labels.audit import PosteriorAudit
from scbch_keras.labels.posterior import LabelPosterior


def audit_by_posterior(
    ids: NDArray[np.str_], labels: NDArray[Any], posterior: LabelPosterior, label_names: Sequence[str]
) -> PosteriorAudit:
    """What a posterior says of the labels that it was estimated from.

    Its confidence is sum min(p, y) / sum max(p, y) of a sample's probabilities p and given labels y, 1 where both are
    0: how well they agree. Its soft labels are the leave-one-out predictions.

    Args:
        ids: (n,), numpy array of text, each once.
        labels: (n, C), 0/1, as `posterior.estimate` had them.
        posterior: what it gave.
        label_names: C texts, each once.

    Raises:
        ValueError: shapes that do not fit; the message names the argument.
    """
    given, probabilities = np.asarray(labels) != 0, np.asarray(posterior.probabilities, np.float64)
    if given.shape != probabilities.shape:
        raise ValueError(
            f"labels must have the shape of the probabilities, {probabilities.shape}; got {given.shape}."
        )
    shared = np.where(given, probabilities, 0).sum(axis=1)
    either = np.where(given, 1, probabilities).sum(axis=1)
    confidence = np.where(either > 0, shared / np.maximum(either, 1e-12), 1.0)
    return PosteriorAudit(
        ids, confidence, labels, posterior.scores, label_names, probabilities=posterior.probabilities
    )
