"""The page of a label audit: the samples whose labels are most doubtful, to look through and to correct."""

import base64
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from PIL import Image, ImageOps

from scbch_keras.files import replaced
from scbch_keras.labels.audit import AuditScore, LabelAudit, PosteriorAudit, Ranking, SampleAudit, SoftLabel
from scbch_keras.safe_text import html_text as escape
from scbch_keras.training.pages import plots as figures
from scbch_keras.training.pages.frame import document, fact_list, figure, percent, table

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

_STYLE = """
.doubts {
  list-style: none; padding: 0; margin: 1.5rem 0; display: grid; gap: 0.8rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr));
}
.doubt {
  display: flex; gap: 1rem; max-width: none; padding: 0.9rem 1rem; break-inside: avoid;
  background: var(--card); border: 1px solid var(--line); border-radius: 0.75rem;
  font-size: 0.925rem; line-height: 1.45;
}
.doubt > div { flex: 1; min-width: 0; overflow-wrap: anywhere; }
.doubt p { margin: 0 0 0.35rem; }
.doubt p:last-child { margin: 0; }
.doubt h3 { margin: 0 0 0.25rem; font-size: 1rem; }
.thumb { filter: none; width: 7rem; height: 7rem; object-fit: contain; flex: none; border-radius: 0.4rem; }
.gauge { display: flex; align-items: center; gap: 0.6rem; color: var(--soft); font-size: 0.85rem; }
.gauge i { flex: 1; max-width: 9rem; height: 0.45rem; border-radius: 0.25rem; background: var(--line); }
.gauge b { display: block; height: 100%; border-radius: inherit; background: var(--full); }
.labels { display: flex; flex-wrap: wrap; gap: 0.3rem; align-items: baseline; }
.labels > :first-child { color: var(--soft); font-size: 0.85rem; min-width: 4.6rem; }
.chip { border: 1px solid var(--line); border-radius: 0.4rem; padding: 0 0.45rem; text-decoration: none; }
.chip small { font-size: 0.8em; font-variant-numeric: tabular-nums; opacity: 0.85; }
del.chip { background: var(--wrong-paper); border: 1px dashed var(--wrong); }
del.chip span { text-decoration: line-through; text-decoration-thickness: 2px; }
ins.chip { background: var(--right-paper); border-color: var(--right); }
.verdict { font-weight: 600; color: var(--right); }
.verdict.alarm { color: var(--wrong); }
td.number, th.number { text-align: right; }
.figures.single { display: block; max-width: 34rem; }
@media (max-width: 30rem) { .thumb { width: 5rem; height: 5rem; } .doubt { gap: 0.75rem; } }
"""


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
        title: heading of the page.
        pictures: a picture file a sample, n, in any format that Pillow reads; those of the samples shown are
            opened, and go onto the page with 160 pixels on their longer side.
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
    cards = "\n".join(
        _card(
            rank,
            sample,
            None if pictures is None else thumbnail(Path(pictures[sample.row])),
            None if texts is None else texts[sample.row],
            None if score is None else bool(score.corrupted[sample.row]),
        )
        for rank, sample in enumerate(audit.samples(rows), 1)
    )
    words = _BY_POSTERIOR if isinstance(audit, PosteriorAudit) else _BY_NEIGHBORS
    body = f"""{_explained(words)}
{_confidence(audit, rows, score)}
{"" if score is None else _scores(score)}
{_by_label(audit)}
<h2>The most suspicious {f"{len(rows)} samples" if len(rows) > 1 else "sample"}</h2>
<ol class="doubts">{cards}</ol>"""
    footer = f'<p class="soft">Made by scbch_keras. {words.footer}</p>'
    html = document(title, _header(audit, words, title, score, noise), body, footer, _STYLE)
    with replaced(Path(path)) as file:
        file.write(html.encode())


def thumbnail(path: Path) -> str:
    """A picture file as a small JPEG in a data URI: upright, transparent parts white.

    Raises:
        ValueError: the file is not there, or no picture.
    """
    try:
        with Image.open(path) as file:
            file.draft("RGB", (2 * THUMBNAIL, 2 * THUMBNAIL))
            picture = ImageOps.exif_transpose(file)
            if picture.has_transparency_data:
                above = picture.convert("RGBA")
                picture = Image.new("RGBA", above.size, "white")
                picture.alpha_composite(above)
            picture = picture.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"pictures: {path} cannot be read as a picture ({error})") from error
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    content = io.BytesIO()
    picture.save(content, "jpeg", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def _header(audit: LabelAudit, words: _Words, title: str, score: AuditScore | None, noise: str | None) -> str:
    given = int((audit.labels != 0).sum())
    facts = [
        (f"{len(audit):,}", f"samples with {given:,} labels of {len(audit.label_names)} kinds"),
        (f"{int(audit.contradicted().sum()):,}", words.contradicted),
        (f"{int(audit.suggested().sum()):,}", words.suggested),
    ]
    if score is not None and score.by_suspicion.auroc is not None:
        told = f"of the time a corrupted sample is more suspicious than a clean one; a coin: {percent(0.5)}"
        facts.append((percent(score.by_suspicion.auroc), told))
    return f"""<h1>{escape(title)}</h1>
<p class="lead">{words.lead}{"" if noise is None else f" Estimated noise: {escape(noise)}"}</p>
{fact_list(facts)}"""


def _explained(words: _Words) -> str:
    return f"""<h2>How to read it</h2>
<ul>
<li>{_chip(SoftLabel("label", 0.62))} is a given label; {words.given}.</li>
<li>{_chip(SoftLabel("label", 0.02), "del")}, struck, dashed: given, but {words.struck}.</li>
<li>{_chip(SoftLabel("label", 0.91), "ins")}, coloured: not given, but {words.coloured}.</li>
<li>Confidence says how well all labels of a sample agree with those of its nearest neighbours. {words.order}</li>
</ul>"""


def _confidence(audit: LabelAudit, rows: NDArray[np.int64], score: AuditScore | None) -> str:
    if score is None:
        marked, names = np.isin(np.arange(len(audit)), rows), ("all others", "shown below")
    else:
        marked, names = score.corrupted, ("clean", "corrupted")
    legend = "".join(
        f'<li><span class="swatch {style}" aria-hidden="true"></span>{name}: {look}, '
        f"{int(chosen.sum()):,} samples</li>"
        for name, style, look, chosen in zip(
            names,
            ("clean", "corrupted"),
            ("filled, solid outline", "hatched, dashed outline"),
            (~marked, marked),
            strict=True,
        )
        if chosen.any()
    )
    label = f"Histogram of the confidence of {' and of '.join(names)}"
    return f"""<h2>Confidence</h2>
<ul class="legend">{legend}</ul>
<div class="figures single">{figure(confidence_histogram(audit.confidence, marked), label)}</div>"""


def confidence_histogram(confidence: NDArray[np.floating], marked: NDArray[np.bool_]) -> str:
    """Shares of two groups of samples by confidence (n,), as SVG: marked (n,) hatched, the others filled."""

    def plot(axes: Axes) -> None:
        low, high = float(confidence.min()), float(confidence.max())
        spare = 0.05 if high - low < 1e-3 else 0.0  # bins need a width where all are as good as equal
        edges = np.linspace(low - spare, high + spare, 27)
        figures.two_histograms(axes, confidence, marked, edges)
        axes.set(xlabel="confidence", ylabel="share of samples", xlim=(edges[0], edges[-1]))

    return figures.draw("audit-confidence", "Agreement with the neighbours", plot)


def _scores(score: AuditScore) -> str:
    firsts = sorted({k for name in RANKED for k, _ in getattr(score, name).first})
    head = _numbers_head(
        "of", "wrong", "AUROC", "precision", "by chance", *(f"of the first {k:,}" for k in firsts)
    )
    rows = "".join(_score_row(title, getattr(score, name), firsts) for name, title in RANKED.items())
    content = f"<thead><tr><th>ranked</th>{head}</tr></thead><tbody>{rows}</tbody>"
    return f"""<h2>How much it finds</h2>
<p>The true labels of these samples are known; the audit did not see them. AUROC is the share of all pairs of a
wrong and a right item in which the wrong one is doubted more (a coin: 0.5). Precision is the share of wrong ones
among as many of the first as there are wrong ones.</p>
{table("Scores against the true labels", content)}
{_reliability(score)}"""


def _reliability(score: AuditScore) -> str:
    given, missing = score.given_reliability, score.missing_reliability
    if given is None or missing is None:
        return ""
    drawn = figures.reliability({"labels that are given": given, "labels that are not": missing})
    return f"""<h3>What a probability is worth</h3>
<p>Of all labels with a probability of {percent(0.7)}, {percent(0.7)} should be true: that is the diagonal. In the
mean over the labels, the probabilities of given labels are off by {given.error:.3f}, those of labels that are not
given by {missing.error:.3f}.</p>
<div class="figures single">{figure(drawn, "Share of true labels over their probability")}</div>"""


def _score_row(name: str, ranking: Ranking, firsts: Sequence[int]) -> str:
    counts = "".join(f'<td class="number">{count:,}</td>' for count in (ranking.items, ranking.wrong))
    if ranking.auroc is None or ranking.precision is None:
        values = f'<td colspan="{3 + len(firsts)}">no value: {escape(ranking.reason or "")}</td>'
    else:
        first = dict(ranking.first)
        cells = [ranking.auroc, ranking.precision, ranking.chance, *(first.get(k) for k in firsts)]
        values = "".join(
            f'<td class="number">{"" if value is None else format(value, ".3f")}</td>' for value in cells
        )
    return f'<tr><th scope="row">{escape(name)}</th>{counts}{values}</tr>'


def _by_label(audit: LabelAudit) -> str:
    given, contradicted, suggested = (
        mask.sum(axis=0) for mask in (audit.labels != 0, audit.contradicted(), audit.suggested())
    )
    rows = "".join(
        f'<tr><th scope="row">{escape(audit.label_names[column])}</th>'
        + "".join(
            f'<td class="number">{counts[column]:,}</td>' for counts in (given, contradicted, suggested)
        )
        + "</tr>"
        for column in np.argsort(-(contradicted + suggested), kind="stable").tolist()
    )
    head = _numbers_head("given", "contradicted", "suggested")
    content = f"<thead><tr><th>label</th>{head}</tr></thead><tbody>{rows}</tbody>"
    return f"<details><summary>Doubts by label</summary>{table('Doubts by label', content)}</details>"


def _numbers_head(*names: str) -> str:
    return "".join(f'<th class="number">{name}</th>' for name in names)


def _card(
    rank: int, sample: SampleAudit, source: str | None, text: str | None, corrupted: bool | None
) -> str:
    image = f'<img class="thumb" src="{source}" alt="" loading="lazy">' if source else ""
    doubted = {label for label, _ in sample.contradicted}
    given = [_chip(label, "del" if label.label in doubted else "span") for label in sample.given]
    lines = [
        f"<h3>{rank}. {escape(sample.id)}</h3>",
        '<p class="gauge"><span>confidence</span>'
        f'<i><b style="width:{100 * min(max(sample.confidence, 0), 1):.1f}%"></b></i>'
        f"<span>{sample.confidence:.2f}</span></p>",
        _labels("given", given or ["none"]),
    ]
    if sample.suggested:
        lines.append(_labels("suggested", [_chip(label, "ins") for label in sample.suggested]))
    if text:
        shown = text if len(text) <= TEXT_LENGTH else f"{text[:TEXT_LENGTH].rstrip()} …"
        lines.append(f'<p class="soft">{escape(shown)}</p>')
    if corrupted is not None:
        verdict = "✓ found: its labels are wrong" if corrupted else "✗ false alarm: its labels are true"
        lines.append(f'<p class="verdict{"" if corrupted else " alarm"}">{verdict}</p>')
    return f'<li class="doubt">{image}<div>{"".join(lines)}</div></li>'


def _labels(name: str, items: Sequence[str]) -> str:
    return f'<p class="labels"><span>{name}</span>{" ".join(items)}</p>'


def _chip(label: SoftLabel, tag: str = "span") -> str:
    soft = percent(min(max(label.soft, 0), 1))
    return f'<{tag} class="chip"><span>{escape(label.label)}</span> <small>{soft}</small></{tag}>'


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
