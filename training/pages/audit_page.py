"""The page of a label audit: the samples whose labels are most doubtful, to look through and to correct."""

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from numpy.typing import NDArray

from scbch_keras.files import replaced
from scbch_keras.labels.audit import AuditScore, LabelAudit, PosteriorAudit, SampleAudit
from scbch_keras.preprocessing.pictures import thumbnail
from scbch_keras.training.pages import plots
from scbch_keras.training.pages.frame import percent, render

LONGEST_SIDE = 480
"""Of a picture on the page, in pixels: it is shown small, and can be enlarged."""
_QUALITY = 82
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


NEIGHBORS = "the labels of its nearest neighbours"
KEYS = {
    "A": "accept the doubt: the label goes, or comes",
    "K": "keep the label as it is",
    "E": "edit all labels of the sample",
    "U": "undo what was decided on the sample",
    "N": "next doubt",
    "P": "previous doubt",
    "Z": "enlarge the picture",
    "S": "save corrections.csv",
}
"""What a key does on the page; after A and K the next doubt that is undecided is at hand."""
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
    lead="For each label of each sample it was estimated, from what the sample shows and from the labels of all other "
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
    basis: str | None = None,
    agreement: str = NEIGHBORS,
) -> None:
    """Write the page of an audit: one HTML file that loads nothing, for light and dark and for a phone.

    On the page each doubt is accepted or kept, or the labels of a sample are edited, by mouse or by `KEYS`; what was
    decided stays in the browser's storage and is saved as a CSV file, which `scbch fix` takes.

    Args:
        audit: the audit.
        path: the file; one that is there is replaced as a whole.
        title: what was audited, such as the name of the data; the page is headed "Label audit: " and this.
        pictures: a picture file a sample, n, such as `scbch_keras.preprocessing.pictures.decoded` reads; those of
            the samples shown are opened, and go onto the page with at most `LONGEST_SIDE` pixels on a side.
        texts: a text a sample, n.
        score: what `audit.score` gave, where the true labels are known.
        noise: how the labels went wrong, in words, where it was estimated: `LabelPosterior.noise_in_words`.
        limit: how many samples are shown, the most suspicious first.
        basis: what the audit rests on, in words that follow "It rests on".
        agreement: what a sample's confidence compares its labels with, in words.

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
    samples = list(audit.samples(rows))
    script = Markup((Path(__file__).parent / "templates" / "audit.js").read_text(encoding="utf-8"))  # noqa: S704 (ours)
    html = render(
        "audit.html",
        title=f"Label audit: {title}",
        words=words,
        noise=noise,
        basis=basis,
        agreement=agreement,
        keys=KEYS.items(),
        content=_content(audit, samples),
        script=script,
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        facts=_facts(audit, words, score),
        by_label=_by_label(audit),
        shown=[
            (
                sample,
                None if pictures is None else picture_uri(Path(pictures[sample.row])),
                None if texts is None else shortened(texts[sample.row]),
                None if score is None else bool(score.corrupted[sample.row]),
            )
            for sample in samples
        ],
        **_confidence(audit, rows, score, agreement),
        **({"score": None} if score is None else _scores(score)),
    )
    with replaced(Path(path)) as file:
        file.write(html.encode())


def _content(audit: LabelAudit, samples: Sequence[SampleAudit]) -> Markup:
    """What the page's script works on, as JSON that no HTML parser takes for a tag."""
    shown: list[dict[str, Any]] = [
        {
            "id": sample.id,
            "confidence": sample.confidence,
            "given": [label.label for label in sample.given],
            "doubts": [
                *({"label": label.label, "kind": "added"} for label in sample.contradicted),
                *({"label": label.label, "kind": "missing"} for label in sample.suggested),
            ]
            or [{"label": "", "kind": "whole"}],
        }
        for sample in samples
    ]
    content: dict[str, Any] = {"names": list(audit.label_names), "samples": shown}
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    text = json.dumps({"key": f"scbch-audit-{digest}", **content})
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 (ASCII without signs of markup)


def picture_uri(path: Path, side: int = LONGEST_SIDE) -> str:
    """A picture file as a small JPEG in a data URI.

    side: at most so many pixels wide and high.

    Raises:
        ValueError: the file is not there, or no picture that `decoded` takes.
    """
    try:
        content, kind = thumbnail(path, side, _QUALITY)
    except ValueError as error:
        raise ValueError(f"pictures: {error}") from error
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


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


def _confidence(
    audit: LabelAudit, rows: NDArray[np.int64], score: AuditScore | None, agreement: str
) -> dict[str, Any]:
    """The histogram and its legend: groups of (name, style, how it is drawn, samples)."""
    if score is None:
        marked, names = np.isin(np.arange(len(audit)), rows), ("all others", "shown below")
    else:
        marked, names = score.corrupted, ("clean", "corrupted")
    looks = ("filled, solid outline", "hatched, dashed outline")
    counts = (int((~marked).sum()), int(marked.sum()))
    return {
        "groups": list(zip(names, ("plain", "marked"), looks, counts, strict=True)),
        "histogram": confidence_histogram(audit.confidence, marked, f"Agreement with {agreement}"),
    }


def confidence_histogram(confidence: NDArray[np.floating], marked: NDArray[np.bool_], title: str) -> str:
    """Shares of two groups of samples by confidence (n,), as SVG: marked (n,) hatched, the others filled."""

    def plot(axes: Axes) -> None:
        low, high = float(confidence.min()), float(confidence.max())
        spare = 0.05 if high - low < 1e-3 else 0.0  # bins need a width where all are as good as equal
        edges = np.linspace(low - spare, high + spare, 27)
        plots.two_histograms(axes, confidence, marked, edges)
        axes.set(xlabel="confidence", ylabel="share of samples", xlim=(edges[0], edges[-1]))

    return plots.draw("audit-confidence", title, plot)


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


def shortened(text: str, length: int = TEXT_LENGTH) -> str:
    """The first characters of a text."""
    return text if len(text) <= length else f"{text[:length].rstrip()} …"


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
