"""What the quickstart asks of its trained models: retrieval, trust, and single searches."""

import base64
import io
import re

import numpy as np
import py_phosphor_icons as phosphor
from numpy.typing import NDArray
from PIL import Image

from scbch_keras.labels.audit import auroc
from scbch_keras.labels.noise import NoisyLabels
from scbch_keras.labels.posterior import LabelPosterior
from scbch_keras.metrics import mean_average_precision, precision_recall_curve
from scbch_keras.modalities import DIRECTIONS, Direction
from scbch_keras.training.data.icons.pictures import WEIGHTS, IconPairs, IconSet
from scbch_keras.training.quickstart.fresh_search import FreshSearch
from scbch_keras.training.quickstart.results import (
    Confidence,
    DataSummary,
    Example,
    Hit,
    Icon,
    Posterior,
    Search,
    Served,
    Suspect,
)
from scbch_keras.training.runs.evaluate import random_order

Codes = dict[str, NDArray[np.uint8]]

# Where a coordinate is nearer to zero than this, float error may decide the bit.
ZERO_TOLERANCE = 1e-5


def retrieval(
    query_codes: Codes, database_codes: Codes, query: IconPairs, database: IconPairs, bits: int
) -> tuple[dict[str, float], dict[str, tuple[float, ...]], dict[str, tuple[float, ...]]]:
    """mAP, precision and recall of each direction, against clean labels, ties counted as expected.

    The curve has a point for 1, 2, 3, 5, ... and at last all of the database retrieved.
    """
    ranks = np.unique(np.geomspace(1, len(database.labels), 40).round().astype(int)).tolist()
    scores: dict[str, float] = {}
    precision: dict[str, tuple[float, ...]] = {}
    recall: dict[str, tuple[float, ...]] = {}
    for direction, (source, target) in DIRECTIONS.items():
        both = (query_codes[source], database_codes[target], query.labels, database.labels)
        scores[direction] = mean_average_precision(*both, bits=bits)
        curve = precision_recall_curve(*both, bits=bits, ranks=ranks)
        precision[direction], recall[direction] = (tuple(values.tolist()) for values in curve)
    return scores, precision, recall


def random_ranking(query: IconPairs, database: IconPairs) -> tuple[dict[str, float], dict[str, float]]:
    """MAP and precision of a random order; both directions have the same items and so the same value."""
    chance = random_order(query.labels, database.labels)
    return dict.fromkeys(DIRECTIONS, chance.map), dict.fromkeys(DIRECTIONS, chance.precision)


def trust(
    icons: IconSet,
    training: IconPairs,
    noisy: NoisyLabels,
    first: NDArray[np.float32],
    last: NDArray[np.float32],
    first_epoch: int,
    suspects: int = 24,
) -> Confidence:
    """What the confidence weights (n,) of the training pictures knew about the corrupted icons.

    An icon's confidence is the mean over its pictures. `noisy` has a row for each of `icons.train`.
    """
    row = np.searchsorted(icons.train, training.icon)
    by_icon = np.bincount(row, last) / np.bincount(row)
    corrupted = noisy.corrupted
    order = np.argsort(by_icon, kind="stable")

    def categories(labels: NDArray[np.uint8]) -> tuple[str, ...]:
        return tuple(icons.categories[column] for column in np.flatnonzero(labels))

    separation = found = None
    if corrupted.any() and not corrupted.all():
        clean, wrong = by_icon[~corrupted], by_icon[corrupted][:, None]
        separation = float((wrong < clean).mean() + (wrong == clean).mean() / 2)
        found = float(corrupted[order[: corrupted.sum()]].mean())
    return Confidence(
        corrupted=tuple(corrupted[row].tolist()),
        first=_rounded(first),
        last=_rounded(last),
        first_epoch=first_epoch,
        separation=separation,
        found=found,
        suspects=tuple(
            Suspect(
                icon=icons.names[icons.train[place]],
                confidence=round(float(by_icon[place]), 4),
                given=categories(noisy.labels[place]),
                true=categories(icons.labels[icons.train[place]]),
                corrupted=bool(corrupted[place]),
            )
            for place in order[:suspects]
        ),
    )


def posterior(icons: IconSet, training: IconPairs, noisy: NoisyLabels, estimate: LabelPosterior) -> Posterior:
    """What the posterior knows of the wrong labels, an icon counted once."""
    rows = np.unique(training.icon, return_index=True)[1]
    probabilities, present, true = (
        estimate.probabilities[rows],
        noisy.labels != 0,
        icons.labels[icons.train] != 0,
    )

    def separation(doubt: NDArray[np.float32], wrong: NDArray[np.bool_]) -> float | None:
        return round(auroc(doubt, wrong), 4) if 0 < wrong.sum() < len(wrong) else None

    return Posterior(
        noise_rate=round(estimate.noise_rate, 4),
        wrong=separation(-probabilities[present], ~true[present]),
        missing=separation(probabilities[~present], true[~present]),
    )


def draw_queries(icons: IconSet, seed: int, each: int = 10) -> dict[Direction, NDArray[np.int64]]:
    """Rows of `icons.query` for the shown searches, drawn at random; those by words need a known word."""
    rng = np.random.default_rng([seed, 1])
    order = rng.permutation(len(icons.query))
    with_words = [place for place in order if icons.text[icons.query[place]].any()]
    by_words = np.sort(np.array(with_words[:each], np.int64))
    by_picture = np.sort(np.array([place for place in order if place not in set(by_words)][:each], np.int64))
    return {"t2i": by_words, "i2t": by_picture}


def searches(
    icons: IconSet, query: IconPairs, database: IconPairs, fresh: FreshSearch, seed: int
) -> tuple[Search, ...]:
    """The shown searches with their hits, right ones told by the categories that they share."""
    shown = []
    for direction, places in draw_queries(icons, seed).items():
        for place in places:
            hits = []
            nearest = zip(fresh.ids[direction][place], fresh.distances[direction][place], strict=True)
            for answer, distance in nearest:
                shared = np.flatnonzero(query.labels[place] & database.labels[answer])
                name = icons.names[database.icon[answer]]
                hits.append(Hit(name, int(distance), tuple(icons.categories[column] for column in shared)))
            shown.append(
                Search(
                    direction,
                    icons.names[query.icon[place]],
                    _known_words(icons, query.icon[place]),
                    tuple(hits),
                )
            )
    return tuple(shown)


def _known_words(icons: IconSet, row: int) -> tuple[str, ...]:
    known = {icons.vocabulary[column] for column in np.flatnonzero(icons.text[row])}
    ordered = re.findall(r"\w+", icons.descriptions[row].casefold())
    return tuple(dict.fromkeys(word for word in ordered if word in known))


def compare_codes(
    release: str, fresh: FreshSearch, packed: Codes, continuous: dict[str, NDArray[np.float32]], bits: int
) -> Served:
    """The fresh process's codes beside the model's own.

    Raises:
        RuntimeError: a bit differs whose coordinate is not within `ZERO_TOLERANCE` of zero.
    """
    total = equal = near_zero = codes = 0
    for name, mine in packed.items():
        differ = np.unpackbits(mine ^ fresh.codes[name], axis=1, count=bits).astype(bool)
        excused = differ & (np.abs(continuous[name]) <= ZERO_TOLERANCE)
        wrong = int(differ.sum() - excused.sum())
        if wrong:
            raise RuntimeError(
                f"{name}: {wrong} of {differ.size} bits from the release {release} differ from the model's"
            )
        codes += len(mine)
        total += differ.size
        equal += int((~differ).sum())
        near_zero += int(excused.sum())
    return Served(release, codes, total, equal, near_zero, ZERO_TOLERANCE, round(fresh.seconds, 3))


def summary(icons: IconSet, training: IconPairs, corrupted: int) -> DataSummary:
    """Counts of the data set."""
    return DataSummary(
        icons=len(icons.names),
        training_icons=len(icons.train),
        training_pictures=len(training.icon),
        database_icons=len(icons.train),
        query_icons=len(icons.query),
        words=len(icons.vocabulary),
        categories=icons.categories,
        labels_per_icon=round(float(icons.labels.sum(axis=1).mean()), 3),
        corrupted_icons=corrupted,
        unlabelled=icons.gaps.unlabelled,
        undrawable=icons.gaps.undrawable,
        missing_pictures=len(icons.gaps.missing),
        broken_pictures=len(icons.gaps.broken),
        wordless_icons=len(icons.gaps.wordless),
    )


def example(icons: IconSet, seed: int) -> Example:
    """One training icon as the model sees it, drawn at random among those with three known words or more."""
    rng = np.random.default_rng([seed, 2])
    known = icons.text[icons.train].sum(axis=1)
    row = int(rng.choice(icons.train[known >= min(3, known.max())]))
    side = int(icons.pictures.shape[2] ** 0.5)
    pictures = {}
    for weight, ink in zip(WEIGHTS, icons.pictures[row], strict=True):
        if np.isnan(ink[0]):
            continue
        buffer = io.BytesIO()
        grey = ((1 - ink.reshape(side, side)) * 255).round().astype(np.uint8)
        Image.fromarray(grey).save(buffer, "png")
        pictures[weight] = base64.b64encode(buffer.getvalue()).decode()
    words = tuple(icons.vocabulary[column] for column in np.flatnonzero(icons.text[row]))
    return Example(icons.names[row], pictures, words)


def shown_icons(
    icons: IconSet, shown: tuple[Search, ...], confidence: Confidence, sample: Example
) -> dict[str, Icon]:
    """The drawings that the report needs, by name."""
    names = {search.icon for search in shown} | {hit.icon for search in shown for hit in search.hits}
    names |= {suspect.icon for suspect in confidence.suspects} | {sample.icon}
    rows = {name: row for row, name in enumerate(icons.names) if name in names}
    return {
        name: Icon(
            svg=phosphor.get_svg(name),
            description=icons.descriptions[row],
            categories=tuple(icons.categories[column] for column in np.flatnonzero(icons.labels[row])),
        )
        for name, row in rows.items()
    }


def _rounded(weights: NDArray[np.float32]) -> tuple[float, ...]:
    return tuple(np.asarray(weights, float).round(4).tolist())
