"""How well the encoders of a release retrieve. Numpy only, apart from what opens them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scbch_keras.export.validation.endpoints import Encode, Served
from scbch_keras.export.validation.evaluation import Evaluation
from scbch_keras.features import Features, first_array, take
from scbch_keras.modalities import MODALITIES

_ROWS = 256


class Scored(NamedTuple):
    """What one form of the encoders of features gave on an evaluation.

    map: {"i2t", "t2i", "mean"}.
    codes: modality -> packed codes of the queries, then of the database.
    """

    map: dict[str, float]
    codes: dict[str, NDArray[np.uint8]]


def scored(served: Served, form: str, evaluation: Evaluation) -> Scored:
    """The score of one of `served.forms()`."""
    opened: dict[str, Encode] = {
        point.encoder: point.open()
        for point in served.endpoints()
        if point.form == form and point.encoder in MODALITIES
    }
    codes: dict[str, list[NDArray[np.uint8]]] = {modality: [] for modality in MODALITIES}

    def encode(modality: str, features: Features) -> NDArray[np.uint8]:
        starts = range(0, len(first_array(features)), _ROWS)
        parts = (take(features, slice(at, at + _ROWS)) for at in starts)
        packed = np.concatenate([opened[modality](part)[0] for part in parts])
        codes[modality].append(packed)
        return packed

    score = evaluation.score(encode, served.manifest["bits"])
    return Scored(
        {"i2t": score.i2t, "t2i": score.t2i, "mean": score.mean},
        {modality: np.concatenate(parts) for modality, parts in codes.items()},
    )
