"""What the labels of one's own data probably are, before any training: from features, words, or both."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scbch_keras.labels.audit import PosteriorAudit
from scbch_keras.labels.posterior import LabelPosterior, estimate
from scbch_keras.labels.posterior_audit import audit_by_posterior
from scbch_keras.preprocessing.normalization import CURRENT
from scbch_keras.training.data.own.arrays import ArrayPairs
from scbch_keras.training.data.own.groups import agreeing
from scbch_keras.training.data.own.pictures import RawPairs
from scbch_keras.training.features.sentences import fitted
from scbch_keras.training.features.text import TextFeatures

FEWEST_ROWS = 50
"""With fewer rows, what probabilities say rests on next to nothing."""
# Operations, and those that the noise model's rounds cost a label of a row: together a few seconds of one core.
_SECONDS = 2e11
_A_LABEL = 1e6
_SHOWN = 5


class OwnAudit(NamedTuple):
    """An audit of data without a run."""

    audit: PosteriorAudit
    posterior: LabelPosterior
    basis: str
    """What the probabilities rest on, in words."""


def audit_own(
    own: RawPairs | ArrayPairs,
    text_features: str = "bow",
    image: NDArray[Any] | None = None,
    image_features: str | None = None,
    checked: tuple[NDArray[np.integer], NDArray[Any]] | None = None,
) -> OwnAudit:
    """Estimate what the labels of all rows probably are.

    Args:
        own: the data.
        text_features: of pictures with texts: "bow", "tfidf", "doc2vec" or the folder of an encoder.
        image: features (n, d) of the pictures; None: the texts alone speak.
        image_features: what made these, in words.
        checked: rows and their true labels, as for `posterior.estimate`.

    Raises:
        ValueError: nothing can be learned from the texts, or the features are the same in all rows.
    """
    image, text, basis = _features(own, text_features, image, image_features)
    posterior = estimate(image, text, own.labels, groups=groups_of(own), checked=checked)
    return OwnAudit(audit_by_posterior(own.ids, own.labels, posterior, own.label_names), posterior, basis)


def groups_of(own: RawPairs | ArrayPairs) -> NDArray[np.int64] | None:
    """(n,), the rows of each item, where they have the same labels."""
    return agreeing(None if own.groups is None else own.groups.numbers, own.labels)


def why_not_in_seconds(own: RawPairs | ArrayPairs, text_features: str = "bow") -> str:
    """What keeps `audit_own`, by texts alone where there are pictures, from ending in seconds or saying anything."""
    rows, classes = own.labels.shape
    if rows < FEWEST_ROWS:
        return f"{rows} rows are too few to learn from: {FEWEST_ROWS} at least"
    if not own.labels.any():
        return "there are no labels"
    if isinstance(own, ArrayPairs):
        columns = int(np.prod(own.image.shape[1:])) + own.text.shape[1]
    elif text_features not in ("bow", "tfidf"):
        return f"{text_features} takes longer"
    else:
        try:
            columns = TextFeatures(text_features).fit(own.texts).dimensions
        except ValueError as error:
            return str(error)
    if not takes_seconds(rows, columns, classes):
        return f"{rows:,} rows of {columns:,} features and {classes:,} labels take longer than seconds"
    return ""


def takes_seconds(rows: int, columns: int, classes: int) -> bool:
    """Whether a posterior of so many rows, features and labels is estimated in seconds."""
    least = min(rows, columns)
    return 9.0 * least**3 + 4.0 * rows * columns * least + _A_LABEL * rows * classes <= _SECONDS


def doubts_in_words(own: RawPairs | ArrayPairs, text_features: str = "bow") -> tuple[str, ...]:
    """The estimated noise and the most doubtful labels, a few lines; or a line that says why they are left out."""
    if reason := why_not_in_seconds(own, text_features):
        return (f"Doubtful labels: left out, since {reason}; scbch audit looks for them",)
    try:
        found = audit_own(own, text_features)
    except ValueError as error:
        return (f"Doubtful labels: left out, since {error}",)
    audit = found.audit
    wrong, missing = int(audit.contradicted().sum()), int(audit.suggested().sum())
    lines = [
        f"Doubtful labels, by {found.basis}: {wrong:,} given ones are probably wrong, {missing:,} are probably missing",
        f"Estimated noise: {found.posterior.in_words(own.label_names)}",
    ]
    for sample in audit.samples(audit.suspects(_SHOWN)):
        doubts = [f"{name} wrong at {1 - soft:.0%}" for name, soft in sample.contradicted]
        doubts += [f"{name} missing at {soft:.0%}" for name, soft in sample.suggested]
        if doubts:
            lines.append(f"  {sample.id}: {', '.join(doubts)}")
    return (*lines, "scbch audit lists all of them, with a page to decide on each")


def _features(
    own: RawPairs | ArrayPairs, text_features: str, image: NDArray[Any] | None, image_features: str | None
) -> tuple[NDArray[Any], NDArray[Any], str]:
    if isinstance(own, ArrayPairs):
        return own.image.reshape(len(own), -1), own.text, "the features of image and text in the file"
    text = fitted(text_features, CURRENT, own.texts)(own.texts)
    words = f"the texts ({text_features})"
    if image is not None:
        return image, text, f"the pictures ({image_features}) and {words}"
    # A column that is the same in all rows says nothing of any.
    return np.zeros((len(own), 1), np.float32), text, f"{words} alone, no picture was looked at"
