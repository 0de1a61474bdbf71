"""The embedded icons as a data set like any other: what anybody can train on from the registry alone."""

import hashlib
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.training.data.icons.pictures import QUERIES, IconPairs, IconSet, corrupted, load_icons
from scbch_keras.training.data.pairs import Pairs, RetrievalData, SourceFile

PICTURE_SIZE = 32


def icon_data(noise: float, seed: int, limit: int | None = None, regular_only: bool = False) -> RetrievalData:
    """Icons of all weights to train on, held-out icons as queries, the regular weight of the others as database.

    Args:
        noise: share of the training icons whose labels are corrupted; all pictures of an icon share them.
        seed: of the split and of the noise.
        limit: use only this many icons, a fifth of them as queries.
        regular_only: train on the regular weight alone, a picture an icon.
    """
    icons = _icons(seed, limit)
    training = icons.database if regular_only else icons.training
    clean = _pairs(icons, training)
    _, labels = corrupted(icons, training, noise, seed)
    return RetrievalData(
        name="icons-regular" if regular_only else "icons",
        title="Phosphor icons, regular weight" if regular_only else "Phosphor icons",
        train=replace(clean, labels=labels, clean_labels=clean.labels, groups=training.icon),
        query=_pairs(icons, icons.queries),
        database=_pairs(icons, icons.database),
        label_names=icons.categories,
        sources=(_source(icons),),
        notes={"noise": f"generated: mixed symmetric, {noise:g} of the icons, seed {seed}"},
    )


@lru_cache(maxsize=8)
def _icons(seed: int, limit: int | None) -> IconSet:
    return load_icons(seed, QUERIES if limit is None else limit // 5, limit, PICTURE_SIZE)


def _source(icons: IconSet) -> SourceFile:
    """The drawn icons as if they were a file: the checksum is of their pictures, texts and labels."""
    arrays: dict[str, NDArray[Any]] = {"pictures": icons.pictures, "text": icons.text, "labels": icons.labels}
    digest = hashlib.sha256()
    for values in arrays.values():
        digest.update(np.ascontiguousarray(values).data)
    shapes = {name: f"{values.shape} {values.dtype}" for name, values in arrays.items()}
    size = sum(values.nbytes for values in arrays.values())
    return SourceFile("py-phosphor-icons", digest.hexdigest(), size, shapes)


def _pairs(icons: IconSet, pairs: IconPairs) -> Pairs:
    names = np.array(icons.names)[pairs.icon]
    seen: dict[str, int] = {}
    ids = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        ids.append(f"{name}/{seen[name]}")
    texts = tuple(icons.descriptions[row] for row in pairs.icon.tolist())
    return Pairs(pairs.image, pairs.text, pairs.labels, np.array(ids), texts=texts)
