"""Corrections of labels, as the audit page saves them: a CSV file, held against the data before anything changes."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scbch_keras.checks import shown
from scbch_keras.safe_text import csv_cell, from_csv_cell
from scbch_keras.training.data.own.rows import Table, read_csv
from scbch_keras.training.data.problems import Problem

COLUMNS = ("id", "label", "given", "decision", "new_labels", "who", "when")
DECISIONS = ("accept", "keep", "edit")
_SHOWN = 3
_PART = re.compile(r"((?:\\.|[^\\;])*)(;|\Z)", re.DOTALL)


class Decision(NamedTuple):
    """A line of the file."""

    label: str
    """The label that was doubted; "" where the decision is on all labels of the sample."""
    decision: str
    """accept: the doubt is right, the label goes or comes; keep: it stays; edit: the labels are `after`."""
    who: str
    when: str
    """ISO 8601, with the time zone."""


class Correction(NamedTuple):
    """What was decided on one sample."""

    row: int
    id: str
    before: tuple[str, ...]
    """The labels that the audit saw, in the order of the vocabulary."""
    after: tuple[str, ...]
    decisions: tuple[Decision, ...]


def read_corrections(
    path: Path, ids: NDArray[np.str_], labels: NDArray[np.integer], label_names: Sequence[str]
) -> list[Correction]:
    """The corrections of a file, in the order of the data's rows.

    Args:
        path: CSV with `COLUMNS`; text in it is as `safe_text.csv_cell` writes it, lists of labels are parted by ";",
            with a backslash before each backslash, semicolon and colon of a name.
        ids: (n,), of the data.
        labels: (n, C), 0/1, of the data as they are now.
        label_names: C names.

    Raises:
        ValueError: names the lines with an unknown id or label, labels that are no longer what the audit saw,
            decisions that contradict each other, text that a spreadsheet would run, or anything else that is not
            as described.
    """
    problems: list[Problem] = []
    if not path.is_file():
        raise ValueError(f"corrections: there is no file {path}")
    table = Table.of(path.name, read_csv(path, problems.append))
    _check_columns(table)
    samples: dict[str, list[tuple[str, dict[str, str]]]] = {}
    if not problems:
        for number, written in enumerate(table.cells):
            place = table.place(number)
            cells = {name: from_csv_cell(cell) for name, cell in written.items()}
            for name, cell in written.items():
                if csv_cell(cells[name]) != cell:
                    message = (
                        "text that begins with = + - @ ' has an apostrophe before it, and control characters"
                    )
                    problems.append(
                        Problem(
                            "unsafe cell",
                            f"{place}: {name}: got {shown(cell)}; {message} are written out, as the audit page does",
                        )
                    )
            samples.setdefault(cells["id"], []).append((place, cells))
    if not problems and not samples:
        raise ValueError(f"{path.name}: expected at least one decision, got none")
    row_of = {name: row for row, name in enumerate(ids.tolist())}
    found = []
    for name, lines in samples.items() if not problems else ():
        row = row_of.get(name)
        try:
            if row is None:
                raise ValueError(f"{lines[0][0]}: id: the data has no sample {shown(name)}")
            now = tuple(label_names[column] for column in np.flatnonzero(labels[row]).tolist())
            found.append(_correction(row, name, now, lines, label_names))
        except ValueError as error:
            problems.append(Problem("bad correction", str(error)))
    if problems:
        more = f"; and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
        raise ValueError("; ".join(problem.message for problem in problems[:_SHOWN]) + more)
    return sorted(found)


def _check_columns(table: Table) -> None:
    if table.columns != COLUMNS:
        raise ValueError(
            f"{table.name}: expected the columns {', '.join(COLUMNS)}, as the audit page saves them, "
            f"got {', '.join(map(repr, table.columns)) or 'none'}"
        )


def _correction(
    row: int, name: str, now: tuple[str, ...], lines: list[tuple[str, dict[str, str]]], names: Sequence[str]
) -> Correction:
    """The lines of one sample, which must agree with each other and with its labels now."""
    place, first = lines[0]
    decisions: dict[str, Decision] = {}
    after = set(_labels(place, "new_labels", first["new_labels"], names))
    changed: set[str] = set()
    for place, cells in lines:
        if set(_labels(place, "given", cells["given"], names)) != set(now):
            raise ValueError(
                f"{place}: given: the labels of {shown(name)} are no longer what the audit saw: expected "
                f"{shown(';'.join(now))}, got {shown(cells['given'])}; audit the data again"
            )
        if set(_labels(place, "new_labels", cells["new_labels"], names)) != after:
            raise ValueError(f"{place}: new_labels: another line of {shown(name)} has others; decide once")
        decision = _decision(place, cells, names)
        if decision.label in decisions or ("edit" in {decision.decision, *_kinds(decisions)} and decisions):
            what = f"label {shown(decision.label)}" if decision.label in decisions else "edit"
            raise ValueError(
                f"{place}: {what} of {shown(name)}: it was decided in an earlier line; decide once"
            )
        decisions[decision.label] = decision
        if decision.decision == "accept":
            changed.add(decision.label)
    if "edit" not in _kinds(decisions) and after != set(now) ^ changed:
        right = ";".join(label for label in names if label in set(now) ^ changed)
        raise ValueError(
            f"{place}: new_labels: expected {shown(right)} by what was accepted of {shown(name)}, "
            f"got {shown(first['new_labels'])}"
        )
    return Correction(
        row, name, now, tuple(label for label in names if label in after), tuple(decisions.values())
    )


def _kinds(decisions: dict[str, Decision]) -> set[str]:
    return {decision.decision for decision in decisions.values()}


def _decision(place: str, cells: dict[str, str], names: Sequence[str]) -> Decision:
    decision = Decision(*(cells[name] for name in ("label", "decision", "who", "when")))
    if decision.decision not in DECISIONS:
        raise ValueError(
            f"{place}: decision: expected one of {', '.join(DECISIONS)}, got {shown(decision.decision)}"
        )
    if decision.label and decision.label not in names:
        raise ValueError(f"{place}: label: the data has no label {shown(decision.label)}")
    if not decision.label and decision.decision == "accept":
        raise ValueError(f"{place}: label: expected the label that is accepted as doubtful, got none")
    if not decision.who.strip():
        raise ValueError(f"{place}: who: expected who decided, got {shown(decision.who)}")
    try:
        zone = datetime.fromisoformat(decision.when).tzinfo
    except ValueError:
        zone = None
    if zone is None:
        example = "2026-01-31T12:00:00Z"
        raise ValueError(
            f"{place}: when: expected a time with its zone such as {example}, got {shown(decision.when)}"
        )
    return decision


def _labels(place: str, column: str, cell: str, names: Iterable[str]) -> list[str]:
    labels = _listed(cell)
    if labels is None or "" in labels:
        raise ValueError(f"{place}: {column}: expected labels parted by ';', got {shown(cell)}")
    unknown = [label for label in labels if label not in names]
    if unknown:
        raise ValueError(f"{place}: {column}: the data has no label {shown(unknown[0])}")
    if len(set(labels)) < len(labels):
        raise ValueError(f"{place}: {column}: expected each label once, got {shown(cell)}")
    return labels


def _listed(cell: str) -> list[str] | None:
    """Names parted by ";", a backslash before what is part of a name; None where a backslash ends the cell."""
    if not cell:
        return []
    names, start = [], 0
    while True:
        part = _PART.match(cell, start)
        if part is None:
            return None
        names.append(re.sub(r"\\(.)", r"\1", part[1], flags=re.DOTALL))
        if not part[2]:
            return names
        start = part.end()
