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
from scbch_keras.npz import load_npz
from scbch_keras.stored import FileKind

Encode = Callable[[str, Features], NDArray[np.uint8]]
"""A modality and its features (n, ...) -> packed codes (n, ceil(bits / 8))."""


_STORED = FileKind("query_image, query_text, query_labels and the same of database in an .npz", "", ())


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
        """Queries and a database, as `RetrievalMetrics` takes them.

        Args:
            query: ({"image": (q, ...), "text": (q, ...)}, labels (q, C), 0/1).
            database: the same with n rows.

        Returns:
            The checked evaluation.

        Raises:
            ValueError: sets of another form, other row counts, or label sets of different widths.
        """
        sets = {"query": _checked("query", query), "database": _checked("database", database)}
        widths = {name: part.labels.shape[1] for name, part in sets.items()}
        if widths["query"] != widths["database"]:
            raise ValueError(
                f"query has {widths['query']} labels and database {widths['database']}; they must be the same"
            )
        return cls(**sets)

    def score(self, encode: Encode, bits: int) -> CrossModalMAP:
        """mAP@all of codes, in both directions.

        Args:
            encode: (modality, features (n, ...)) -> packed codes (n, ceil(bits / 8)).
            bits: int >= 1, code length.

        Returns:
            i2t and t2i, in [0, 1].
        """
        query, database = (
            {name: encode(name, part.features[name]) for name in MODALITIES}
            for part in (self.query, self.database)
        )
        return cross_modal_map(query, database, self.query.labels, self.database.labels, bits=bits)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the evaluation as .npz, without pickle.

        Args:
            path: of the file; an existing one is replaced as a whole.
        """
        arrays: dict[str, NDArray[Any]] = {}
        for part in ("query", "database"):
            chosen: RetrievalSet = getattr(self, part)
            for name, features in chosen.features.items():
                arrays |= flat(f"{part}_{name}", each(np.asarray, features))
            arrays[f"{part}_labels"] = np.asarray(chosen.labels)
        with replaced(Path(path)) as file:
            np.savez(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Args:
            path: of the file.

        Returns:
            The evaluation that was saved.

        Raises:
            ValueError: the file is something else, or damaged.
            FileNotFoundError: there is no such file.
        """
        Path(path).stat()
        with _STORED.reading(path):
            stored = grouped(load_npz(path))
            query, database = (
                ({name: stored[f"{part}_{name}"] for name in MODALITIES}, stored[f"{part}_labels"])
                for part in ("query", "database")
            )
            return cls.of(query, database)


def _checked(name: str, pair: Any) -> RetrievalSet:
    is_pair = isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], Mapping)
    if not is_pair or set(pair[0]) != set(MODALITIES):
        raise ValueError(f'{name} must be ({{"image": ..., "text": ...}}, labels), got {type(pair).__name__}')
    try:
        labels = check_labels("labels", pair[1])
        features = {modality: as_features(modality, pair[0][modality]) for modality in MODALITIES}
        for modality, values in features.items():
            check_inputs(modality, values)
            if len(first_array(values)) != len(labels):
                raise ValueError(f"{modality} must have {len(labels)} rows; got {len(first_array(values))}.")
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return RetrievalSet(features, labels)
