"""The page of a reproduction grid: its tables, mAP against noise, settings and versions, in one HTML file."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from scbch_keras.files import replaced
from scbch_keras.training.grid.published import BENCHMARKS
from scbch_keras.training.grid.tables import (
    BEST,
    LAST,
    NOT_A_BENCHMARK,
    VARIANTS,
    Cell,
    Row,
    method_name,
    percent,
    summarize,
    tables,
    to_csv,
    to_markdown,
)
from scbch_keras.training.pages.frame import render
from scbch_keras.training.pages.plots import CHANCE_DASHES, draw, page_colours


class _Series(NamedTuple):
    """How one line of a plot looks: colour on light and on dark, marker and dashes, so that no colour is needed."""

    light: str
    dark: str
    marker: str
    dashes: tuple[float, ...]

    @property
    def dasharray(self) -> str:
        """The dashes as SVG takes them, at the legend's line width."""
        return " ".join(str(2 * length) for length in self.dashes) or "none"


_FAR = 0.1
"""How far, in mAP, a variant is below the best one to be left out of a second plot."""
_SPAN = 10.0
"""The least that the axis of a plot spans, in points of mAP: less would turn noise into a trend."""
_PUBLISHED, _CHANCE = "published", "chance"
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
    _CHANCE: _Series("#666c78", "#a4abb8", "", CHANCE_DASHES),
}
_COLOURS = page_colours(*(f"grid-{name}" for name in _SERIES))


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
    benchmarks = dict.fromkeys(row.benchmark for row in rows if row.benchmark)
    others = dict.fromkeys(f"{row.title} ({NOT_A_BENCHMARK})" for row in rows if not row.benchmark)
    beside = "SCBCH beside its published numbers" if benchmarks else "SCBCH, measured"
    return render(
        "grid.html",
        title=f"Reproduction grid: {beside}",
        measured=[*benchmarks, *others],
        facts=_facts(cells, rows),
        single_seeds=any(len(row.seeds) == 1 for row in rows),
        last=LAST,
        best=BEST,
        tables=tables(rows),
        as_percent=percent,
        looks=_SERIES,
        marks=_MARKS,
        legend=_legend(rows),
        plots=list(_plots(rows)),
        settings=list(_settings(cells)),
    )


def _facts(cells: Sequence[Cell], rows: list[Row]) -> list[tuple[str, str]]:
    seeds = sorted({len(row.seeds) for row in rows})
    hours = sum(cell.seconds for cell in cells) / 3600
    return [
        (f"{len(cells):,}", "trainings, each evaluated on the test set while it was trained"),
        (
            " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1])))),
            "seeds for each number of these tables",
        ),
        (f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min", "of training and evaluation in all"),
    ]


def _plots(rows: list[Row]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """(data set and backend, its plots as (SVG, in words))."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.dataset, row.stand_in, row.backend), []).append(row)
    for number, group in enumerate(groups.values()):
        first = group[0]
        name = first.benchmark or f"{first.title}, {NOT_A_BENCHMARK}"
        yield (
            f"{name} ({first.backend})",
            [
                (_map_by_noise(shown, title, f"noise-{number}-{place}"), _in_words(shown))
                for place, (title, shown) in enumerate(_views(group))
            ],
        )


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
    present = _variants(rows)
    noises = sorted({row.noise for row in rows})
    step = 0.014 * max(noises[-1] - noises[0], 0.2)
    published = [(row.noise, row.published) for row in rows if _has_published(row)]

    def plot(axes: Axes) -> None:
        for place, variant in enumerate(present):
            shown = [row for row in rows if row.variant == variant]
            scores, series = [row.last.mean for row in shown], _SERIES[variant]
            axes.errorbar(
                np.array([row.noise for row in shown]) + step * (place - (len(present) - 1) / 2),
                [100 * score.mean for score in scores],
                [100 * (score.deviation or 0) for score in scores],
                color=_COLOURS[f"grid-{variant}"],
                marker=series.marker,
                markersize=6.5,
                dashes=series.dashes,
                capsize=3,
                elinewidth=1.4,
            )
        if published:
            colour = _COLOURS[f"grid-{_PUBLISHED}"]
            axes.plot(*zip(*published, strict=True), color=colour, marker="D", ls="", fillstyle="none")
        chance = _chance(rows)
        if chance is not None:
            axes.axhline(100 * chance, color=_COLOURS[f"grid-{_CHANCE}"], dashes=CHANCE_DASHES)
        axes.set(xlabel="noise rate", ylabel="mAP (%)", xticks=noises)
        axes.margins(0.08, 0.12)
        low, high = axes.get_ylim()
        spare = max(_SPAN - (high - low), 0) / 2
        axes.set_ylim(low - spare, high + spare)

    return draw(name, title, plot)


def _chance(rows: list[Row]) -> float | None:
    """Mean average precision of a random order in [0, 1], where the cells tell it."""
    known = [row.chance for row in rows if row.chance is not None]
    return sum(known) / len(known) if known else None


def _has_published(row: Row) -> bool:
    return row.variant == "full" and row.published is not None


def _in_words(rows: list[Row]) -> str:
    parts = []
    for row in rows:
        number, spread = percent(row.last.mean)
        parts.append(f"{method_name(row.variant)} at noise {row.noise:g} {number} {spread}".rstrip())
    chance = _chance(rows)
    if chance is not None:
        parts.append(f"a random order {100 * chance:.1f}")
    return f"mAP in percent against noise, {rows[0].bits} bits, {LAST}: {'; '.join(parts)}."


def _legend(rows: list[Row]) -> dict[str, str]:
    names = {variant: method_name(variant) for variant in _variants(rows)}
    if any(map(_has_published, rows)):
        names[_PUBLISHED] = f"SCBCH as published, {BEST}"
    if _chance(rows) is not None:
        names[_CHANCE] = "a random order"
    return names


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


def _settings(cells: Sequence[Cell]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """(data set, its settings as (name, values))."""
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.dataset, cell.stand_in), []).append(cell)
    for group in groups.values():
        first = group[0]
        yield (
            first.title if first.stand_in else BENCHMARKS.get(first.dataset, first.title),
            [
                ("trainings", f"{len(group):,}"),
                ("seeds", _all(sorted({cell.seed for cell in group}))),
                ("data, SHA-256", _all(cell.data_checksum for cell in group)),
                *_merged(cell.settings for cell in group),
                *_merged(cell.versions for cell in group),
            ],
        )


def _merged(records: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    """All values of each name but the seed, which has its own line, in order of appearance."""
    values: dict[str, list[Any]] = {}
    for record in records:
        for name, value in record.items():
            values.setdefault(name, []).append(value)
    return [(name, _all(choices)) for name, choices in values.items() if name != "seed"]


def _all(values: Iterable[Any]) -> str:
    texts = (value if isinstance(value, str) else json.dumps(value) for value in values)
    return ", ".join(dict.fromkeys(texts))
