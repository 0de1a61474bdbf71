"""The page of a reproduction grid: its tables, mAP against noise, settings and versions, in one HTML file."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from scbch_keras.files import replaced
from scbch_keras.safe_text import html_text as escape
from scbch_keras.training.grid.published import BENCHMARKS
from scbch_keras.training.grid.tables import (
    BEST,
    LAST,
    NOT_A_BENCHMARK,
    VARIANTS,
    Cell,
    Row,
    Table,
    method_name,
    percent,
    summarize,
    tables,
    to_csv,
    to_markdown,
)
from scbch_keras.training.pages import plots as figures
from scbch_keras.training.pages.frame import document, fact_list, figure, table


class _Series(NamedTuple):
    """How one line of a plot looks: colour on light and on dark, marker and dashes, so that no colour is needed."""

    light: str
    dark: str
    marker: str
    dashes: tuple[float, ...]


_FAR = 0.1
"""How far, in mAP, a variant is below the best one to be left out of a second plot."""
_PUBLISHED = "published"
_STYLES = (
    _Series("#1f5fbf", "#82b1ff", "o", ()),
    _Series("#b8460a", "#ff9a5c", "s", (4.0, 1.6)),
    _Series("#666c78", "#a4abb8", "v", (1.0, 1.4)),
    _Series("#8a6100", "#f0c756", "^", (6.0, 1.6, 1.0, 1.6)),
    _Series("#00735c", "#5fd6b4", "P", (2.5, 1.2)),
    _Series("#9a3d7d", "#f09ad0", "X", (8.0, 2.0)),
    _Series("#4a3fb5", "#b3a6ff", ">", (10.0, 1.2)),
    _Series("#a11d33", "#ff8b98", "<", (2.0, 2.0, 8.0, 2.0)),
    _Series("#5b4a12", "#cbb46a", "p", (1.0, 1.0)),
    _Series("#0d6986", "#70cbe8", "d", (3.0, 1.0, 1.0, 1.0)),
    _Series("#7a3b0a", "#d9a37a", "8", (5.0, 3.0)),
    _Series("#2e6b1f", "#9ad97f", "h", (1.0, 2.5)),
    _Series("#8f1d6a", "#f27fce", "*", (12.0, 2.0, 2.0, 2.0)),
)


def _style_of(number: int) -> _Series:
    """The style of a variant by its place: once all colours are taken, again with other markers and dashes."""
    around, place = divmod(number, len(_STYLES))
    marker, dashes = (_STYLES[(place + turn * around) % len(_STYLES)] for turn in (1, 2))
    return _STYLES[place]._replace(marker=marker.marker, dashes=dashes.dashes)


_SERIES = {
    **{variant: _style_of(number) for number, variant in enumerate(VARIANTS)},
    _PUBLISHED: _Series("#1d2026", "#e9e7e2", "D", ()),
}
# Stand for the page's colours in the drawing, as in `figures`; the text gets CSS variables.
_STAND_INS = {name: f"#0a0c{number:02x}" for number, name in enumerate(_SERIES, 16)}
_FOOTER = (
    '<p class="soft">Made by scbch_keras. Published numbers: Peng et al., Semantic-Consistent Bidirectional '
    "Contrastive Hashing for Noisy Multi-Label Cross-Modal Retrieval, AAAI 2026, Tables 1-3.</p>"
)


def write_grid(cells: Sequence[Cell], folder: Path) -> list[Path]:
    """Write table.csv, table.md and page.html of a grid into an existing folder, each whole or not at all.

    Raises:
        ValueError: there are no cells, or cells that differ in their seed alone do not fit each other.
    """
    rows = summarize(cells)
    contents = {"table.csv": to_csv(rows), "table.md": to_markdown(rows), "page.html": draw_page(cells)}
    for name, content in contents.items():
        with replaced(Path(folder) / name) as file:
            file.write(content.encode())
    return [Path(folder) / name for name in contents]


def draw_page(cells: Sequence[Cell]) -> str:
    """The page as one HTML document that loads nothing, the same text for the same cells.

    Raises:
        ValueError: as `write_grid`.
    """
    rows = summarize(cells)
    made = tables(rows)
    body = "\n".join((_reading(rows), *map(_section, made), _plots(rows), _details(made), _settings(cells)))
    return document("SCBCH: measured and published", _header(cells, rows), body, _FOOTER, _style())


def _header(cells: Sequence[Cell], rows: list[Row]) -> str:
    benchmarks = dict.fromkeys(row.benchmark for row in rows if row.benchmark)
    others = dict.fromkeys(f"{row.title} ({NOT_A_BENCHMARK})" for row in rows if not row.benchmark)
    title = "SCBCH beside its published numbers" if benchmarks else "SCBCH, measured"
    lead = f"Measured on {'; '.join((*benchmarks, *others))}."
    seeds = sorted({len(row.seeds) for row in rows})
    hours = sum(cell.seconds for cell in cells) / 3600
    facts = [
        (f"{len(cells):,}", "trainings, each evaluated on the test set while it was trained"),
        (
            " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1])))),
            "seeds for each number of these tables",
        ),
        (f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min", "of training and evaluation in all"),
    ]
    return f'<h1>{title}</h1>\n<p class="lead">{escape(lead)}</p>\n{fact_list(facts)}'


def _reading(rows: list[Row]) -> str:
    one = (
        " A number without a deviation comes from one seed."
        if any(len(row.seeds) == 1 for row in rows)
        else ""
    )
    return f"""<h2>How to read the numbers</h2>
<p><strong>{_capital(LAST)}</strong> is what a training gives whose length was fixed beforehand.
<strong>{_capital(BEST)}</strong> picks for each seed the epoch with the highest mean of both directions on the
test set itself. Published tables of the field often do so, the paper's among them. It cannot be known without the
test labels, so only the first is to be expected of new data.</p>
<p>Below a number stands its standard deviation over seeds.{one}</p>"""


def _section(content: Table) -> str:
    return "" if content.detail else f"<h2>{escape(content.title)}</h2>\n{_table(content)}"


def _details(made: Iterable[Table]) -> str:
    parts = [
        f"<details><summary>{escape(content.title)}</summary>{_table(content)}</details>"
        for content in made
        if content.detail
    ]
    return "\n".join(("<h2>Image queries and text queries</h2>", *parts))


def _table(content: Table) -> str:
    groups = "".join(
        f'<th scope="colgroup" colspan="{width}">{escape(words)}</th>' for words, width in content.groups
    )
    columns = "".join(f'<th scope="col">{escape(column)}</th>' for column in content.columns)
    body = "".join(
        f'<tr{" class=ours" if line.ours else ""}><th scope="row">{escape(line.name)}</th>'
        + "".join(_value(*percent(value)) for value in line.values)
        + "</tr>"
        for line in content.lines
    )
    head = f"<thead><tr><td></td>{groups}</tr><tr><td></td>{columns}</tr></thead>"
    shown = table(content.title, f"{head}<tbody>{body}</tbody>")
    return f'<p class="soft">{escape(content.note)}</p>\n<div class="grid">{shown}</div>'


def _value(number: str, spread: str) -> str:
    return f"<td>{escape(number)}{f'<small>{escape(spread)}</small>' if spread else ''}</td>"


def _plots(rows: list[Row]) -> str:
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.dataset, row.stand_in, row.backend), []).append(row)
    text = f"""<h2>mAP against noise</h2>
<p>Mean of I2T and T2I at the {LAST}; bars reach one standard deviation over seeds to both sides. Marks that would
cover each other are moved aside a little.</p>
{_legend(rows)}"""
    for number, group in enumerate(groups.values()):
        first = group[0]
        name = first.benchmark or f"{first.title}, {NOT_A_BENCHMARK}"
        drawn = "".join(
            figure(_map_by_noise(shown, title, f"noise-{number}-{place}"), _in_words(shown))
            for place, (title, shown) in enumerate(_views(group))
        )
        text += f'\n<h3>{escape(f"{name} ({first.backend})")}</h3>\n<div class="figures">{drawn}</div>'
    return text


def _views(rows: list[Row]) -> Iterator[tuple[str, list[Row]]]:
    """A plot a code length, and one more without the variants so far below that the others run together."""
    for bits in sorted({row.bits for row in rows}):
        shown = [row for row in rows if row.bits == bits]
        yield f"{bits} bits", shown
        best: dict[str, float] = {}
        for row in shown:
            best[row.variant] = max(row.last.mean.mean, best.get(row.variant, 0.0))
        far = [variant for variant, score in best.items() if score < max(best.values()) - _FAR]
        if far and len(best) - len(far) > 1:
            without = " and ".join(VARIANTS[variant].method for variant in far)
            yield f"{bits} bits, without {without}", [row for row in shown if row.variant not in far]


def _variants(rows: list[Row]) -> list[str]:
    return [variant for variant in VARIANTS if any(row.variant == variant for row in rows)]


def _map_by_noise(rows: list[Row], title: str, name: str) -> str:
    there = _variants(rows)
    noises = sorted({row.noise for row in rows})
    step = 0.014 * max(noises[-1] - noises[0], 0.2)

    def plot(axes: Axes) -> None:
        for place, variant in enumerate(there):
            shown = [row for row in rows if row.variant == variant]
            scores, series = [row.last.mean for row in shown], _SERIES[variant]
            axes.errorbar(
                np.array([row.noise for row in shown]) + step * (place - (len(there) - 1) / 2),
                [100 * score.mean for score in scores],
                [100 * (score.deviation or 0) for score in scores],
                color=_STAND_INS[variant],
                marker=series.marker,
                markersize=6.5,
                dashes=series.dashes,
                capsize=3,
                elinewidth=1.4,
            )
        known = [
            (row.noise, row.published) for row in rows if row.variant == "full" and row.published is not None
        ]
        if known:
            axes.plot(
                *zip(*known, strict=True), color=_STAND_INS[_PUBLISHED], marker="D", ls="", fillstyle="none"
            )
        axes.set(xlabel="noise rate", ylabel="mAP (%)", xticks=noises)
        axes.margins(0.08, 0.12)

    svg = figures.draw(name, title, plot)
    for series_name, stand_in in _STAND_INS.items():
        svg = svg.replace(stand_in, f"var(--grid-{series_name})")
    return svg


def _in_words(rows: list[Row]) -> str:
    parts = []
    for row in rows:
        number, spread = percent(row.last.mean)
        parts.append(f"{method_name(row.variant)} at noise {row.noise:g} {number} {spread}".rstrip())
    return f"mAP in percent against noise, {rows[0].bits} bits, {LAST}: {'; '.join(parts)}."


def _legend(rows: list[Row]) -> str:
    there = _variants(rows)
    names = {variant: method_name(variant) for variant in there}
    if any(row.variant == "full" and row.published is not None for row in rows):
        names[_PUBLISHED] = f"SCBCH as published, {BEST}"
    items = "".join(f"<li>{_mark(name)}{escape(words)}</li>" for name, words in names.items())
    return f'<ul class="legend">{items}</ul>'


# SVG paths of the markers, about (18, 5)
_MARKS = {
    ">": "M15 2L21 5L15 8Z",
    "<": "M21 2L15 5L21 8Z",
    "o": "M14.5 5a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0Z",
    "s": "M14.8 1.8h6.4v6.4h-6.4Z",
    "v": "M14 1.8h8l-4 7Z",
    "^": "M14 8.2h8l-4-7Z",
    "P": "M16.7 1h2.6v2.7h2.7v2.6h-2.7v2.7h-2.6V6.3h-2.7V3.7h2.7Z",
    "X": "M15.9 1.3 18 3.4 20.1 1.3 21.7 2.9 19.6 5 21.7 7.1 20.1 8.7 18 6.6 15.9 8.7 14.3 7.1 16.4 5 14.3 2.9Z",
    "p": "M18 1l3.8 2.8-1.5 4.4h-4.6l-1.5-4.4Z",
    "d": "M18 .6l2.6 4.4-2.6 4.4-2.6-4.4Z",
    "8": "M16.6 1.5h2.8l2 2v3l-2 2h-2.8l-2-2v-3Z",
    "h": "M18 1l3.5 2v4L18 9l-3.5-2V3Z",
    "*": "M18 .8l1.2 2.7 3 .3-2.3 2 .7 2.9L18 7.2l-2.6 1.5.7-2.9-2.3-2 3-.3Z",
    "D": "M18 1l4 4-4 4-4-4Z",
}


def _mark(name: str) -> str:
    """The line and the marker of `name`, for the legend."""
    series, colour = _SERIES[name], f"var(--grid-{name})"
    dashes = " ".join(str(2 * length) for length in series.dashes) or "none"
    line = f'<path d="M0 5H36" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>'
    fill = f'fill="{colour}"'
    if name == _PUBLISHED:
        line, fill = "", f'stroke="{colour}" stroke-width="1.4"'
    return (
        f'<svg viewBox="0 0 36 10" aria-hidden="true">{line}<path d="{_MARKS[series.marker]}" {fill}/></svg>'
    )


def _settings(cells: Sequence[Cell]) -> str:
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.dataset, cell.stand_in), []).append(cell)
    parts = [
        "<h2>Settings and versions</h2>",
        "<p>Where trainings differ, all values that occur are listed.</p>",
    ]
    for group in groups.values():
        first = group[0]
        name = first.title if first.stand_in else BENCHMARKS.get(first.dataset, first.title)
        pairs = [
            ("trainings", f"{len(group):,}"),
            ("seeds", _all(sorted({cell.seed for cell in group}))),
            ("data, SHA-256", _all(cell.data_checksum for cell in group)),
            *_merged(cell.settings for cell in group),
            *_merged(cell.versions for cell in group),
        ]
        items = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in pairs)
        parts.append(f"<details open><summary>{escape(name)}</summary><dl>{items}</dl></details>")
    return "\n".join(parts)


def _merged(records: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    """All values of each name but the seed, which has its own line, in order of appearance."""
    values: dict[str, list[Any]] = {}
    for record in records:
        for name, value in record.items():
            values.setdefault(name, []).append(value)
    return [(name, _all(found)) for name, found in values.items() if name != "seed"]


def _all(values: Iterable[Any]) -> str:
    texts = (value if isinstance(value, str) else json.dumps(value) for value in values)
    return ", ".join(dict.fromkeys(texts))


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _style() -> str:
    light = " ".join(f"--grid-{name}: {series.light};" for name, series in _SERIES.items())
    dark = " ".join(f"--grid-{name}: {series.dark};" for name, series in _SERIES.items())
    return f"""
:root {{ {light} }}
@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}
.grid th, .grid td {{ padding: 0.45rem 0.9rem 0.45rem 0; line-height: 1.35; vertical-align: top; }}
.grid thead th {{ white-space: nowrap; vertical-align: bottom; }}
.grid thead tr:first-child > * {{ border-bottom: 0; padding-bottom: 0; color: var(--ink); }}
.grid tbody th {{ min-width: min(17rem, 45vw); max-width: 25rem; font-size: 0.925rem; }}
.grid tbody th, .grid thead td {{ position: sticky; left: 0; background: var(--paper); }}
.grid table {{ width: auto; }}
.figures > figure {{ max-width: 34rem; }}
.grid small {{ display: block; white-space: nowrap; font-size: 0.8rem; font-weight: 400; color: var(--soft); }}
"""
