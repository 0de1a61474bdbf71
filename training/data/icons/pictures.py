"""The embedded data set: the Phosphor icons as pictures, words and categories.

1,512 icons of the MIT-licensed Phosphor family come with the package `py-phosphor-icons`: each in six
weights (thin to bold, filled, duotone), with a name, tags and up to four of 18 categories. That is
a small real image-text data set with real multi-labels that needs no download: a picture is the
icon drawn at 32 x 32 grey pixels, a text is the bag of words of its name and tags.

The split is by icon. Two weights of one icon are nearly the same picture with the same words, so a
split by picture would ask the model for what it has already seen.
"""

import io
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scbch_keras.labels.noise import NoisyLabels, mixed_symmetric
from scbch_keras.training.data.own.vocabulary import label_matrix

try:
    import py_phosphor_icons
    import resvg_py as resvg_py
except ImportError as error:
    raise ImportError(f"the icons need {error.name}: pip install py-phosphor-icons resvg-py") from error

phosphor = py_phosphor_icons
WEIGHTS = ("thin", "light", "regular", "bold", "fill", "duotone")
REGULAR = WEIGHTS.index("regular")
QUERIES = 300
"""Icons held out, of all."""

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Gaps:
    """What the icon family lacks, so that a count that looks odd can be explained.

    Attributes:
        unlabelled: names of icons without a category; left out, they can be neither right nor wrong.
        undrawable: names of icons without a usable regular picture; left out.
        missing: (name, weight) of pictures that the family does not have.
        broken: (name, weight) of pictures that could not be drawn, or that have no ink at all.
        wordless: held-out icons without one word of the vocabulary; kept, as rows of zeros.
    """

    unlabelled: tuple[str, ...] = ()
    undrawable: tuple[str, ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    broken: tuple[tuple[str, str], ...] = ()
    wordless: tuple[str, ...] = ()


@dataclass(frozen=True)
class IconPairs:
    """Pictures with their texts and labels, row by row.

    Attributes:
        image: (n, size * size) float32 in [0, 1], 1 is ink.
        text: (n, words) float32, 0 or 1.
        labels: (n, 18) uint8, 0 or 1.
        icon: (n,) int64, the row of each in the `IconSet`.
    """

    image: NDArray[np.float32]
    text: NDArray[np.float32]
    labels: NDArray[np.uint8]
    icon: NDArray[np.int64]

    @property
    def inputs(self) -> dict[str, NDArray[np.float32]]:
        """What `fit` and `RetrievalMetrics` take: {"image": ..., "text": ...}."""
        return {"image": self.image, "text": self.text}


@dataclass(frozen=True)
class IconSet:
    """All usable icons, split into held-out queries and the rest.

    Attributes:
        names: of the icons, sorted.
        descriptions: name and tags of each, as a person reads them.
        categories: the 18 label names, sorted.
        vocabulary: the words of the text features, sorted: all those of the training icons.
        pictures: (icons, 6, size * size) float32 in [0, 1]; NaN where the family lacks the picture.
        text: (icons, words) float32, 0 or 1.
        labels: (icons, 18) uint8, 0 or 1; every row has at least one 1.
        query: (q,) int64, rows of the held-out icons, sorted.
        train: (t,) int64, rows of all others, sorted.
        gaps: what was left out, and why.
    """

    names: tuple[str, ...]
    descriptions: tuple[str, ...]
    categories: tuple[str, ...]
    vocabulary: tuple[str, ...]
    pictures: NDArray[np.float32]
    text: NDArray[np.float32]
    labels: NDArray[np.uint8]
    query: NDArray[np.int64]
    train: NDArray[np.int64]
    gaps: Gaps

    def pairs(self, rows: NDArray[np.int64], weights: Sequence[str] = WEIGHTS) -> IconPairs:
        """Every picture of the icons `rows` in `weights`, each with its icon's text and labels.

        Args:
            rows: (n,) rows of the set.
            weights: which of `WEIGHTS`; pictures that the family lacks are left out.

        Returns:
            Pairs in the order of `rows`, the weights of one icon side by side.
        """
        unknown = [weight for weight in weights if weight not in WEIGHTS]
        if unknown:
            raise ValueError(f"weights: expected some of {WEIGHTS}, got {unknown[0]!r}")
        pictures = self.pictures[np.asarray(rows)][:, [WEIGHTS.index(weight) for weight in weights]]
        drawn = ~np.isnan(pictures[:, :, 0])
        icon = np.repeat(np.asarray(rows, np.int64), len(weights))[drawn.ravel()]
        return IconPairs(pictures[drawn], self.text[icon], self.labels[icon], icon)

    @property
    def training(self) -> IconPairs:
        """All weights of the training icons."""
        return self.pairs(self.train)

    @property
    def queries(self) -> IconPairs:
        """The regular weight of the held-out icons."""
        return self.pairs(self.query, ("regular",))

    @property
    def database(self) -> IconPairs:
        """The regular weight of the training icons: what is searched."""
        return self.pairs(self.train, ("regular",))


def load_icons(
    seed: int = 0,
    queries: int = 300,
    limit: int | None = None,
    size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> IconSet:
    """Draw the icons, read their words and split them by icon.

    Drawing takes about ten seconds for the 9,072 pictures, too little to keep a hidden cache for.

    Args:
        seed: of the split (and of which icons stay, with `limit`).
        queries: how many icons are held out, at least 1.
        limit: use only this many icons, drawn at random; for a run of seconds. None: all.
        size: pixels a side.
        progress: called with (pictures drawn, pictures in all) now and then.

    Returns:
        The set. The same arguments give the same arrays.

    Raises:
        ValueError: a count is out of range.
    """
    for name, value in (("queries", queries), ("size", size)):
        if value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")

    entries = sorted(phosphor.all_icons(), key=lambda entry: entry.name)
    unlabelled = tuple(entry.name for entry in entries if not entry.categories)
    entries = [entry for entry in entries if entry.categories]
    rng = np.random.default_rng(seed)
    if limit is not None:
        if not 1 <= limit <= len(entries):
            raise ValueError(f"limit: expected 1 to {len(entries)} icons, got {limit}")
        entries = [entries[row] for row in np.sort(rng.permutation(len(entries))[:limit])]

    pictures, missing, broken = draw([entry.name for entry in entries], size, progress)
    drawable = ~np.isnan(pictures[:, REGULAR, 0])
    undrawable = tuple(entry.name for entry, keep in zip(entries, drawable.tolist(), strict=True) if not keep)
    entries = [entry for entry, keep in zip(entries, drawable.tolist(), strict=True) if keep]
    pictures = pictures[drawable]
    if queries >= len(entries):
        raise ValueError(f"queries: expected fewer than the {len(entries)} usable icons, got {queries}")

    order = rng.permutation(len(entries))
    query, train = np.sort(order[:queries]), np.sort(order[queries:])

    words = [words_of(entry.name, *entry.tags) for entry in entries]
    vocabulary = tuple(sorted(frozenset[str]().union(*(words[row] for row in train))))
    text = bag_of_words(words, vocabulary)
    wordless = tuple(entries[row].name for row in np.flatnonzero(~text.any(axis=1)))

    categories = phosphor.categories()
    labels = np.array(
        [[category in entry.categories for category in categories] for entry in entries], np.uint8
    )
    return IconSet(
        names=tuple(entry.name for entry in entries),
        descriptions=tuple(", ".join((entry.name.replace("-", " "), *entry.tags)) for entry in entries),
        categories=categories,
        vocabulary=vocabulary,
        pictures=pictures,
        text=text,
        labels=labels,
        query=query,
        train=train,
        gaps=Gaps(unlabelled, undrawable, missing, broken, wordless),
    )


def corrupted(
    icons: IconSet, pairs: IconPairs, noise: float, seed: int
) -> tuple[NoisyLabels, NDArray[np.uint8]]:
    """Wrong labels for a share of the training icons: of `icons.train`, and of pairs of theirs.

    All pictures of an icon have the same labels, wrong ones too.
    """
    noisy = mixed_symmetric(icons.labels[icons.train], noise, seed)
    return noisy, noisy.labels[np.searchsorted(icons.train, pairs.icon)]


def words_of(*phrases: str) -> frozenset[str]:
    """The words of `phrases`: NFKC, case folded, split at everything that is no letter or digit."""
    return frozenset(_WORD.findall(unicodedata.normalize("NFKC", " ".join(phrases)).casefold()))


def bag_of_words(words: Sequence[Iterable[str]], vocabulary: Sequence[str]) -> NDArray[np.float32]:
    """(n, len(vocabulary)) float32: 1 where a row's words hold the vocabulary's; other words are ignored."""
    return label_matrix(words, vocabulary).astype(np.float32)


def draw(
    names: Sequence[str], size: int = 32, progress: Callable[[int, int], None] | None = None
) -> tuple[NDArray[np.float32], tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """Draw the icons `names` in all six weights.

    Returns:
        pictures (len(names), 6, size * size) float32 in [0, 1] with 1 for ink and NaN for a picture
        that there is not; the (name, weight) of those missing; and of those that are broken.
    """
    pictures = np.full((len(names), len(WEIGHTS), size * size), np.nan, np.float32)
    missing: list[tuple[str, str]] = []
    broken: list[tuple[str, str]] = []
    for row, name in enumerate(names):
        for column, weight in enumerate(WEIGHTS):
            if not phosphor.exists(name, weight):
                missing.append((name, weight))
                continue
            ink = rasterize(phosphor.get_svg(name, weight), size)
            if ink is None or not ink.any():
                broken.append((name, weight))
                continue
            pictures[row, column] = ink.ravel()
        if progress is not None:
            progress((row + 1) * len(WEIGHTS), len(names) * len(WEIGHTS))
    return pictures, tuple(missing), tuple(broken)


def rasterize(svg: str, size: int) -> NDArray[np.float32] | None:
    """(size, size) float32 in [0, 1], 1 for ink; None for a text that is no drawable square SVG."""
    try:
        png = resvg_py.svg_to_bytes(
            svg_string=svg, width=size, height=size, background="white", skip_system_fonts=True
        )
    except ValueError:
        return None
    with Image.open(io.BytesIO(png)) as picture:
        ink = 1 - np.asarray(picture.convert("L")).astype(np.float32) / np.float32(255)
    return ink if ink.shape == (size, size) else None
