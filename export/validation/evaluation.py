"""Queries and a database with true labels: how well exported encoders retrieve. Numpy only."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from scbch_keras.features import Features, as_features, check_inputs, each, first_array, flat, grouped
from scbch_keras.files import replaced
from scbch_keras.labels.matrix import check_labels
from scbch_keras.metrics import CrossModalMAP, cross_modal_map
from scbch_keras.modalities import MODALITIES
from scbch_keras.npz import read_npz

Encode = Callable[[str, Features], NDArray[np.uint8]]
"""A modality and its features (n, ...) -> packed codes (n, ceil(bits / 8))."""


@dataclass(frozen=True)
class RetrievalSet:
    """Features (n, ...) of both modalities, or a dict of them each, and true labels 0/1 (n, C)."""

    features: Mapping[str, Features]
    labels: NDArray[Any]


@dataclass(frozen=True)
class Evaluation:
    """What mAP of a release is measured on."""

    query: RetrievalSet
    database: RetrievalSet

    @classmethod
    def of(cls, query: Any, database: Any) -> Self:
        """From ({"image": (n, ...), "text": (n, ...)}, labels 0/1 (n, C)), each, as `RetrievalMetrics` takes them.

        Raises ValueError for sets of another form, other row counts, or label sets of different widths.
        """
        sets = {"query": _checked("query", query), "database": _checked("database", database)}
        widths = {name: given.labels.shape[1] for name, given in sets.items()}
        if widths["query"] != widths["database"]:
            raise ValueError(
                f"query has {widths['query']} labels and database {widths['database']}; they must be the same"
            )
        return cls(**sets)

    def score(self, encode: Encode, bits: int) -> CrossModalMAP:
        """MAP@all in both directions of the codes that `encode` gives."""
        query, database = (
            {name: encode(name, given.features[name]) for name in MODALITIES}
            for given in (self.query, self.database)
        )
        return cross_modal_map(query, database, self.query.labels, self.database.labels, bits=bits)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as .npz, without pickle."""
        arrays: dict[str, NDArray[Any]] = {}
        for part in ("query", "database"):
            given: RetrievalSet = getattr(self, part)
            for name, features in given.features.items():
                arrays |= flat(f"{part}_{name}", each(np.asarray, features))
            arrays[f"{part}_labels"] = np.asarray(given.labels)
        with replaced(Path(path)) as file:
            np.savez(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """What `save` wrote. Raises ValueError if it is something else, FileNotFoundError if there is nothing."""
        needed = [f"{part}_{name}" for part in ("query", "database") for name in (*MODALITIES, "labels")]
        expected = "query_image, query_text, query_labels and the same of database in an .npz"
        try:
            stored = grouped(read_npz(Path(path), "file of Evaluation.save", ()))
            if missing := [name for name in needed if name not in stored]:
                raise ValueError(f"it has no {missing[0]!r}")
        except ValueError as error:
            raise ValueError(f"{path}: expected {expected}: {error}") from error
        query, database = (
            ({name: stored[f"{part}_{name}"] for name in MODALITIES}, stored[f"{part}_labels"])
            for part in ("query", "database")
        )
        try:
            return cls.of(query, database)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _checked(name: str, given: Any) -> RetrievalSet:
    is_pair = isinstance(given, tuple | list) and len(given) == 2 and isinstance(given[0], Mapping)
    if not is_pair or set(given[0]) != set(MODALITIES):
        raise ValueError(
            f'{name} must be ({{"image": ..., "text": ...}}, labels), got {type(given).__name__}'
        )
    try:
        labels = check_labels("labels", given[1])
        features = {modality: as_features(modality, given[0][modality]) for modality in MODALITIES}
        for modality, values in features.items():
            check_inputs(modality, values)
            if len(first_array(values)) != len(labels):
                raise ValueError(f"{modality} must have {len(labels)} rows; got {len(first_array(values))}.")
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return RetrievalSet(features, labels)
