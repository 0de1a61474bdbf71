"""Cells of a reproduction grid -> mean and deviation over seeds, as CSV and as tables like the paper's."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scbch_keras.methods import VARIANTS
from scbch_keras.safe_text import csv_cell, markdown
from scbch_keras.training.grid.cells import Cell, read_cells
from scbch_keras.training.grid.published import Published, ablation, comparison
from scbch_keras.training.grid.summary import TABLE_3, Moments, Place, Row, Summary, summarize
from scbch_keras.training.runs.evaluate import GRADED

__all__ = [
    "BEST", "LAST", "NOT_A_BENCHMARK", "VARIANTS", "Cell", "Line", "Moments", "Row", "Summary", "Table",
    "method_name", "percent", "read_cells", "summarize", "tables", "to_csv", "to_markdown",
]  # fmt: skip

LAST = "last epoch"
BEST = "best epoch by test mAP (optimistic)"
NOT_A_BENCHMARK = "not a benchmark of the paper"

_DASH, _PLUS_MINUS = "\N{EN DASH}", "\N{PLUS-MINUS SIGN}\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Line:
    """One row of a table; a value is a share in [0, 1] over seeds, ready text, or None where there is none."""

    name: str
    values: tuple[Moments | str | None, ...]
    ours: bool


@dataclass(frozen=True)
class Table:
    """A table with two rows of head: `groups` are (words, columns under them)."""

    title: str
    note: str
    groups: tuple[tuple[str, int], ...]
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    detail: bool = False
    """Whether it only spells out the numbers of another table."""


def to_csv(rows: Iterable[Row]) -> str:
    """A line a row, mAP as shares in [0, 1]; empty where there is no deviation or no published number."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    plain = ("dataset", "title", "stand_in", "variant", "noise", "bits", "backend", "epochs")
    epochs = ("last_epoch", "best_epoch_by_test_map_optimistic")
    scores = [
        f"{epoch}_{score}{end}" for epoch in epochs for score in Summary._fields for end in ("", "_std")
    ]
    writer.writerow([*plain, "seeds", *scores, "published_benchmark", "published_mean"])
    for row in rows:
        numbers = [number for summary in (row.last, row.best) for moments in summary for number in moments]
        writer.writerow(
            [
                *(
                    csv_cell(cell) if isinstance(cell, str) else cell
                    for cell in (getattr(row, name) for name in plain)
                ),
                len(row.seeds),
                *("" if number is None else f"{number:.6f}" for number in numbers),
                row.benchmark or "",
                "" if row.published is None else f"{row.published / 100:.3f}",
            ]
        )
    return buffer.getvalue()


def to_markdown(rows: Sequence[Row]) -> str:
    """All of `tables` in GitHub's Markdown, mAP in percent."""
    return "\n".join(_markdown(table) for table in tables(rows))


def tables(rows: Sequence[Row]) -> list[Table]:
    """For each data set a table beside the published numbers, or one apart from them, and one by direction.

    Only the paper's own data sets stand beside published numbers. Made-up features and other data sets get
    tables which say that they are not a benchmark of the paper.

    Raises:
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError("rows: expected at least one, got none")
    made: list[Table] = []
    for dataset in dict.fromkeys((row.dataset, row.stand_in) for row in rows):
        chosen = [row for row in rows if (row.dataset, row.stand_in) == dataset]
        benchmark = chosen[0].benchmark
        if benchmark is None:
            made.append(_apart(chosen))
        else:
            made.append(_beside_published(chosen, benchmark))
            if any(row.variant in TABLE_3[:-1] for row in chosen):
                made.append(_ablations(chosen, benchmark))
        made.append(_by_direction(chosen))
        if any(row.graded for row in chosen):
            made.append(_graded(chosen))
    return made


def method_name(variant: str) -> str:
    """What the paper calls a variant, and what it is."""
    method, change = VARIANTS[variant].method, VARIANTS[variant].change
    return f"{method} ({change})" if change else method


def percent(value: Moments | str | None) -> tuple[str, str]:
    """A value of a table as text: the number in percent, and its deviation, empty where there is none."""
    if value is None or isinstance(value, str):
        return value or _DASH, ""
    spread = "" if value.deviation is None else f"{_PLUS_MINUS}{100 * value.deviation:.1f}"
    return f"{100 * value.mean:.1f}", spread


def _beside_published(rows: list[Row], benchmark: str) -> Table:
    published = [one for one in comparison() if one.dataset == benchmark]
    shown = [row for row in rows if row.variant not in TABLE_3[:-1]]
    columns = _columns(shown, published)
    lines = [_published(f"{one.method} ({one.about}), published", one, columns) for one in published]
    for group in _alike(shown):
        lines += _measured(group, columns)
        if group[0].variant == "full":
            lines.append(_difference(group, columns))
    note = (
        "mAP in percent over the whole ranking, mean of I2T and T2I. Published: Tables 1 and 2 of the paper, whose "
        "authors' code takes the best epoch by test mAP. Measured: mean and standard deviation over seeds."
    )
    return _grid(f"{benchmark}: published and measured", note, columns, lines)


def _ablations(rows: list[Row], benchmark: str) -> Table:
    published = {one.method: one for one in ablation() if one.dataset == benchmark}
    reduced = [row for row in rows if row.variant in TABLE_3[:-1]]
    columns = _columns(reduced, published.values())
    lines: list[Line] = []
    for variant in TABLE_3:
        method = VARIANTS[variant].method
        if method in published:
            lines.append(_published(f"{method_name(variant)}, published", published[method], columns))
        for group in _alike(row for row in rows if row.variant == variant and row.place in columns):
            lines += _measured(group, columns)
    note = "mAP in percent over the whole ranking, mean of I2T and T2I, as in Table 3 of the paper."
    if not published:
        note += f" The paper has no ablations on {benchmark}."
    return _grid(f"{benchmark}: ablations", note, columns, lines)


def _apart(rows: list[Row]) -> Table:
    columns = _columns(rows, ())
    lines = [line for group in _alike(rows) for line in _measured(group, columns)]
    why = "The features are made up, a stand-in" if rows[0].stand_in else "These are not the paper's data"
    note = (
        f"mAP in percent over the whole ranking, mean of I2T and T2I. {why}: "
        "no published number compares with these."
    )
    return _grid(f"{rows[0].title}: {NOT_A_BENCHMARK}", note, columns, lines)


def _by_direction(rows: list[Row]) -> Table:
    title = rows[0].benchmark or f"{rows[0].title} ({NOT_A_BENCHMARK})"
    lines = (
        Line(
            f"{method_name(row.variant)}, noise {row.noise:g}, {row.bits} bits ({row.backend}, {row.epochs} epochs)",
            (str(len(row.seeds)), *row.last, *row.best),
            row.variant == "full",
        )
        for row in rows
    )
    return Table(
        f"{title}: each direction",
        "mAP in percent; I2T has image queries, T2I text queries.",
        (("", 1), (LAST, 3), (BEST, 3)),
        ("seeds", *(("I2T", "T2I", "mean") * 2)),
        tuple(lines),
        detail=True,
    )


def _graded(rows: list[Row]) -> Table:
    lines = (
        Line(
            f"{method_name(row.variant)}, noise {row.noise:g}, {row.bits} bits ({row.backend}, {row.epochs} epochs)",
            tuple(_told((row.graded or {}).get(name)) for name in GRADED),
            row.variant == "full",
        )
        for row in rows
    )
    return Table(
        f"{rows[0].benchmark or rows[0].title}: relevance in degrees",
        "By the number of labels that query and item share; last epoch, mean of I2T and T2I, and deviation over seeds. "
        "ACG is a number of labels, weighted mAP not bounded by 1.",
        (("", len(GRADED)),),
        tuple(metric.title for metric in GRADED.values()),
        tuple(lines),
        detail=True,
    )


def _told(value: Moments | None) -> str | None:
    if value is None:
        return None
    spread = "" if value.deviation is None else f" {_PLUS_MINUS}{value.deviation:.3f}"
    return f"{value.mean:.3f}{spread}"


def _columns(rows: Iterable[Row], published: Iterable[Published]) -> list[Place]:
    return sorted({row.place for row in rows}.union(*(one.percent for one in published)))


def _grid(title: str, note: str, columns: list[Place], lines: list[Line]) -> Table:
    noises = [noise for noise, _ in columns]
    groups = tuple((f"noise {noise:g}", noises.count(noise)) for noise in dict.fromkeys(noises))
    return Table(title, note, groups, tuple(f"{bits} bits" for _, bits in columns), tuple(lines))


def _alike(rows: Iterable[Row]) -> Iterable[list[Row]]:
    """Rows that share a line of a table: one variant, on one backend, trained for as many epochs."""
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.variant, row.backend, row.epochs), []).append(row)
    return groups.values()


def _measured(rows: list[Row], columns: list[Place]) -> list[Line]:
    first, counts = rows[0], [len(row.seeds) for row in rows]
    fewest, most = min(counts), max(counts)
    seeds = f"{fewest} to {most} seeds" if fewest < most else f"{most} seed{'s' if most > 1 else ''}"
    name = f"{method_name(first.variant)}, measured ({first.backend}, {first.epochs} epochs, {seeds})"
    last = {row.place: row.last.mean for row in rows}
    best = {row.place: row.best.mean for row in rows}
    return [
        Line(f"{name}, {epoch}", tuple(map(means.get, columns)), first.variant == "full")
        for epoch, means in ((LAST, last), (BEST, best))
    ]


def _published(name: str, one: Published, columns: list[Place]) -> Line:
    cells = {place: f"{number:.1f}" for place, number in one.percent.items()}
    return Line(name, tuple(map(cells.get, columns)), ours=False)


def _difference(rows: list[Row], columns: list[Place]) -> Line:
    gains = {
        row.place: round(100 * row.best.mean.mean - row.published, 1)
        for row in rows
        if row.published is not None
    }
    cells = {place: f"{gain + 0.0:+.1f}" for place, gain in gains.items()}  # + 0.0: no "-0.0"
    name = f"SCBCH, measured ({rows[0].backend}) minus published, both at the {BEST}"
    return Line(name, tuple(map(cells.get, columns)), ours=False)


def _markdown(table: Table) -> str:
    groups = [words for words, width in table.groups for _ in range(width)]
    head = [", ".join(filter(None, words)) for words in zip(groups, table.columns, strict=True)]
    lines = [["", *head], ["---", *("---:" for _ in head)]]
    lines += [
        [line.name, *(" ".join(percent(value)).rstrip() for value in line.values)] for line in table.lines
    ]
    body = "\n".join(f"| {' | '.join(map(markdown, line))} |" for line in lines)
    return f"## {markdown(table.title)}\n\n{markdown(table.note)}\n\n{body}\n"
