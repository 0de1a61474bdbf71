"""Example searches of a run, drawn at random from its queries: what was found, by picture, text and labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scbch_keras.export import HammingIndex
from scbch_keras.modalities import DIRECTIONS, Direction
from scbch_keras.training.data.pairs import Pairs, RetrievalData
from scbch_keras.training.pages.audit_page import picture_uri, shortened
from scbch_keras.training.runs.folder import RunFolder

SEARCHES, HITS = 5, 8
_SIDE = 160
"""Pixels of a picture: it is shown small."""
_LENGTH = 90


@dataclass(frozen=True)
class Item:
    """A query or a database item: id, picture as a data URI and text where the data has them, and labels."""

    id: str
    picture: str | None
    text: str | None
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Hit:
    """An item that was found, with its labels parted into those of the query and others."""

    item: Item
    distance: int
    shared: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(frozen=True)
class Search:
    """A query and the nearest items."""

    direction: Direction
    query: Item
    hits: tuple[Hit, ...]


def example_searches(run: RunFolder, data: RetrievalData, seed: int = 0) -> list[Search]:
    """Up to `SEARCHES` queries a direction, of those that have labels; no query is shown twice while there are others.

    Raises:
        RunError, ValueError: codes that are missing, damaged or do not fit the data; a picture that cannot be read.
    """
    labelled = np.flatnonzero(data.query.labels.any(axis=1))
    order = np.random.default_rng([seed, 1]).permutation(labelled)
    each = min(SEARCHES, max(1, len(order) // len(DIRECTIONS)))
    drawn = {"t2i": order[:each], "i2t": order[-each:]}
    searches = []
    for direction, (source, target) in sorted(DIRECTIONS.items(), reverse=True):
        index = HammingIndex(run.recipe.bits)
        index.add(run.array(f"database_{target}_codes"))
        rows = np.sort(drawn[direction])
        found = index.search(run.array(f"query_{source}_codes")[rows], min(HITS, len(data.database)))
        for row, ids, distances in zip(rows.tolist(), *(array.tolist() for array in found), strict=True):
            query = _item(data, data.query, row)
            hits = tuple(
                _hit(query, _item(data, data.database, id), distance)
                for id, distance in zip(ids, distances, strict=True)
            )
            searches.append(Search(direction, query, hits))
    return searches


def _hit(query: Item, item: Item, distance: int) -> Hit:
    shared = tuple(label for label in item.labels if label in query.labels)
    return Hit(item, distance, shared, tuple(label for label in item.labels if label not in shared))


def _item(data: RetrievalData, pairs: Pairs, row: int) -> Item:
    return Item(
        id=str(pairs.ids[row]),
        picture=None if pairs.pictures is None else picture_uri(Path(pairs.pictures[row]), _SIDE),
        text=None if pairs.texts is None else shortened(pairs.texts[row], _LENGTH),
        labels=_names(data.label_names, pairs.labels[row]),
    )


def _names(names: tuple[str, ...], labels: NDArray[np.uint8]) -> tuple[str, ...]:
    return tuple(names[column] if names else str(column) for column in np.flatnonzero(labels).tolist())
