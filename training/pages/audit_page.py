"""The page of a label audit: the samples whose labels are most doubtful, to look through and to correct."""

import base64
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from PIL import Image

from scbch_keras.files import replaced
from scbch_keras.labels.audit import AuditScore, LabelAudit, PosteriorAudit
from scbch_keras.preprocessing.pictures import decoded
from scbch_keras.training.pages import plots
from scbch_keras.training.pages.frame import percent, render

THUMBNAIL = 160
"""Longest side of a picture on the page, in pixels."""
TEXT_LENGTH = 280
"""Characters of a text that are shown."""
RANKED = {
    "by_suspicion": "samples by suspicion",
    "by_confidence": "samples by confidence",
    "given_labels": "given labels that are wrong",
    "missing_labels": "missing labels that are true",
}
"""What an `AuditScore` ranks, in words."""


class _Words(NamedTuple):
    """What an audit rests on, in words."""

    lead: str
    contradicted: str
    suggested: str
    given: str
    struck: str
    coloured: str
    order: str
    footer: str


_BY_NEIGHBORS = _Words(
    lead="Each sample was compared with its nearest neighbours, by picture and by text. Where its labels disagree "
    "with theirs, one of its labels may be wrong, or one may be missing.",
    contradicted="given labels that the neighbours contradict",
    suggested="labels that are not given and that they suggest",
    given=f"{percent(0.62)} of the neighbours, weighted by their similarity, carry it too",
    struck="less than half as frequent among the neighbours as among all samples. It may be wrong",
    coloured="to be without it is less than half as frequent among the neighbours as among all samples. It may be "
    "missing",
    order="The order also counts how strongly they speak for the exchange of one label.",
    footer="The neighbours of a sample are those with the most similar codes of picture and text. A doubt is a hint "
    "where to look, not a proof: a rare but true label is doubted too.",
)
_BY_POSTERIOR = _Words(
    lead="For each label of each sample it was estimated, from picture and text and from the labels of all other "
    "samples, how probable it is that the label is true.",
    contradicted="given labels that are probably wrong",
    suggested="labels that are not given and are probably missing",
    given=f"with a probability of {percent(0.62)} it is true",
    struck=f"probably wrong: it is true with a probability below {percent(0.5)}",
    coloured=f"probably missing: it is true with a probability above {percent(0.5)}",
    order="The order is by the expected number of labels that are wrong or missing.",
    footer="A probability is an estimate: where pictures and texts say nothing of a label, or mislead about it, so "
    "does the probability.",
)


def write_audit_page(
    audit: LabelAudit,
    path: str | os.PathLike[str],
    title: str,
    pictures: Sequence[str | os.PathLike[str]] | None = None,
    texts: Sequence[str] | None = None,
    score: AuditScore | None = None,
    noise: str | None = None,
    limit: int = 100,
) -> None:
    """Write the page of an audit: one HTML file that loads nothing, for light and dark and for a phone.

    Args:
        audit: the audit.
        path: the file; one that is there is replaced as a whole.
        title: what was audited, such as the name of the data; the page is headed "Label audit: " and this.
        pictures: a picture file a sample, n, such as `scbch_keras.preprocessing.pictures.decoded` reads; those of
            the samples shown are opened, and go onto the page with 160 pixels on their longer side.
        texts: a text a sample, n.
        score: what `audit.score` gave, where the true labels are known.
        noise: how the labels went wrong, in words, where it was estimated: `LabelPosterior.noise_in_words`.
        limit: how many samples are shown, the most suspicious first.

    Raises:
        ValueError: an argument that does not fit the audit, or a picture that cannot be read. Nothing is
            written then.
    """
    if score is not None and len(score.corrupted) != len(audit):
        raise ValueError(
            f"score must be of the same {len(audit)} samples; its own are {len(score.corrupted)}"
        )
    _check_entries("pictures", pictures, len(audit), str | os.PathLike)
    _check_entries("texts", texts, len(audit), str)
    rows = audit.suspects(limit)
    words = _BY_POSTERIOR if isinstance(audit, PosteriorAudit) else _BY_NEIGHBORS
    html = render(
        "audit.html",
        title=f"Label audit: {title}",
        words=words,
        noise=noise,
        facts=_facts(audit, words, score),
        by_label=_by_label(audit),
        shown=[
            (
                sample,
                None if pictures is None else thumbnail(Path(pictures[sample.row])),
                None if texts is None else _shortened(texts[sample.row]),
                None if score is None else bool(score.corrupted[sample.row]),
            )
            for sample in audit.samples(rows)
        ],
        **_confidence(audit, rows, score),
        **({"score": None} if score is None else _scores(score)),
    )
    with replaced(Path(path)) as file:
        file.write(html.encode())


def thumbnail(path: Path) -> str:
    """A picture file as a small JPEG in a data URI, as `decoded` reads it: upright, transparent parts white.

    Raises:
        ValueError: the file is not there, or no picture that `decoded` takes.
    """
    try:
        picture = Image.fromarray(decoded(path))
    except ValueError as error:
        raise ValueError(f"pictures: {error}") from error
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    content = io.BytesIO()
    picture.save(content, "jpeg", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def _facts(audit: LabelAudit, words: _Words, score: AuditScore | None) -> list[tuple[str, str]]:
    count = int((audit.labels != 0).sum())
    facts = [
        (f"{len(audit):,}", f"samples with {count:,} labels of {len(audit.label_names)} kinds"),
        (f"{int(audit.contradicted().sum()):,}", words.contradicted),
        (f"{int(audit.suggested().sum()):,}", words.suggested),
    ]
    if score is not None and score.by_suspicion.auroc is not None:
        meaning = (
            f"of the time a corrupted sample is more suspicious than a clean one; a coin: {percent(0.5)}"
        )
        facts.append((percent(score.by_suspicion.auroc), meaning))
    return facts


def _confidence(audit: LabelAudit, rows: NDArray[np.int64], score: AuditScore | None) -> dict[str, Any]:
    """The histogram and its legend: groups of (name, style, how it is drawn, samples)."""
    if score is None:
        marked, names = np.isin(np.arange(len(audit)), rows), ("all others", "shown below")
    else:
        marked, names = score.corrupted, ("clean", "corrupted")
    looks = ("filled, solid outline", "hatched, dashed outline")
    counts = (int((~marked).sum()), int(marked.sum()))
    return {
        "groups": list(zip(names, ("plain", "marked"), looks, counts, strict=True)),
        "histogram": confidence_histogram(audit.confidence, marked),
    }


def confidence_histogram(confidence: NDArray[np.floating], marked: NDArray[np.bool_]) -> str:
    """Shares of two groups of samples by confidence (n,), as SVG: marked (n,) hatched, the others filled."""

    def plot(axes: Axes) -> None:
        low, high = float(confidence.min()), float(confidence.max())
        spare = 0.05 if high - low < 1e-3 else 0.0  # bins need a width where all are as good as equal
        edges = np.linspace(low - spare, high + spare, 27)
        plots.two_histograms(axes, confidence, marked, edges)
        axes.set(xlabel="confidence", ylabel="share of samples", xlim=(edges[0], edges[-1]))

    return plots.draw("audit-confidence", "Agreement with the neighbours", plot)


def _scores(score: AuditScore) -> dict[str, Any]:
    present, missing = score.given_reliability, score.missing_reliability
    curves = {"labels that are given": present, "labels that are not": missing}
    known = {name: curve for name, curve in curves.items() if curve is not None}
    return {
        "score": score,
        "rankings": [(title, getattr(score, name)) for name, title in RANKED.items()],
        "firsts": sorted({k for name in RANKED for k, _ in getattr(score, name).first}),
        "reliability": plots.reliability(known) if len(known) == len(curves) else None,
    }


def _by_label(audit: LabelAudit) -> list[tuple[str, list[int]]]:
    """(label, [given, contradicted, suggested]) with the most doubts first."""
    masks = (audit.labels != 0, audit.contradicted(), audit.suggested())
    counts = np.stack([mask.sum(axis=0) for mask in masks], axis=1)
    order = np.argsort(-counts[:, 1:].sum(axis=1), kind="stable")
    return [(audit.label_names[column], counts[column].tolist()) for column in order.tolist()]


def _shortened(text: str) -> str:
    return text if len(text) <= TEXT_LENGTH else f"{text[:TEXT_LENGTH].rstrip()} …"


def _check_entries(name: str, values: object, samples: int, kind: object) -> None:
    if values is None:
        return
    what = "text" if kind is str else "paths"
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ValueError(f"{name} must be a sequence of {what}; got {type(values).__name__}")
    if len(values) != samples:
        raise ValueError(f"{name} must have one entry a sample, {samples}; got {len(values)}")
    for row, value in enumerate(values):
        if not isinstance(value, kind):  # type: ignore[arg-type]
            raise ValueError(f"{name} must be a sequence of {what}; row {row} is {type(value).__name__}")
