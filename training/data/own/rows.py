"""Rows of CSV and JSONL files as they stand, one after another; a `Table` holds them all.

Nothing is interpreted here. What cannot be read is told to a `Report`: `refuse` raises it, and a list's `append`
collects it, after which reading goes on as far as it can.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from scbch_keras.checks import shown
from scbch_keras.training.data.own.encodings import split_lines
from scbch_keras.training.data.problems import Problem, Report

_NOT_UTF8 = re.compile("[\udc80-\udcff]")


class Row(NamedTuple):
    """Where it is, as messages say it, and its cells by column."""

    place: str
    cells: dict[str, Any]


class Rows(NamedTuple):
    """A file's rows, read as they are taken; `columns` are those of its header, None where each row names its own."""

    columns: tuple[str, ...] | None
    rows: Iterator[Row]


@dataclass(frozen=True)
class Table:
    """All rows of a file: `cells` by column, and the place of each row."""

    name: str
    columns: tuple[str, ...]
    cells: list[dict[str, Any]]
    places: list[str]
    classes: tuple[str, ...] = ()
    """Names of labels that have a column each, also of those that no row has."""

    @classmethod
    def of(cls, name: str, file: Rows) -> "Table":
        """The rows that are left to be read."""
        rows = list(file.rows)
        columns = file.columns
        if columns is None:
            columns = tuple(dict.fromkeys(column for row in rows for column in row.cells))
        return cls(name, columns, [row.cells for row in rows], [row.place for row in rows])

    def place(self, row: int) -> str:
        """Where a row (from 0) is, as messages say it: rows are counted from 1, after the header."""
        return self.places[row]


def _place(name: str, row: int, line: int) -> str:
    return f"{name}, row {row + 1} (line {line})"


def read_csv(path: Path, report: Report) -> Rows:
    """A CSV file in UTF-8 with a header; ',' parts the columns, '"' quotes cells. Empty lines are no rows."""
    lines = _csv_lines(path, report)
    line, header = next(lines, (1, []))
    place = f"{path.name}, header (line {line})"
    columns = tuple(checked_utf8(name, place, None, report) for name in header)
    if columns:
        _check_header(place, columns, report)
    return Rows(columns, _csv_rows(path.name, columns, lines, report))


def _csv_rows(
    name: str, columns: tuple[str, ...], lines: Iterator[tuple[int, list[str]]], report: Report
) -> Iterator[Row]:
    for number, (line, row) in enumerate(lines):
        place = _place(name, number, line)
        if len(row) != len(columns):
            message = f"expected {len(columns)} cells, as in the header, got {len(row)}: {shown(row)}"
            report(Problem("number of cells", f"{place}: {message}", number))
        cells = zip(columns, row, strict=False)
        yield Row(
            place,
            {column: checked_utf8(cell, f"{place}, {column}", number, report) for column, cell in cells},
        )


def _csv_lines(path: Path, report: Report) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, the header first, and the line on which each begins."""
    reader = csv.reader(text_lines(path), strict=True)
    line, rows = 1, 0
    try:
        for row in reader:
            if row:
                yield line, row
                rows += 1
            line = reader.line_num + 1
    except csv.Error as error:
        place = _place(path.name, max(rows - 1, 0), line)
        report(Problem("no CSV", f"{place}: {error}; is a quote left open, or not doubled inside quotes?"))


def text_lines(path: Path) -> Iterator[str]:
    """Lines with their ends; bytes that are not UTF-8 come as lone surrogates, so that their row can be named."""
    for number, line in enumerate(split_lines(path)):
        yield line.decode("utf-8" if number else "utf-8-sig", errors="surrogateescape")


def _check_header(place: str, columns: tuple[str, ...], report: Report) -> None:
    twice = sorted(name for name, count in Counter(columns).items() if count > 1)
    if twice:
        report(
            Problem("column named twice", f"{place}: expected each column once, got twice: {shown(twice)}")
        )
    if len(columns) == 1 and (other := re.search("[;\t|]", columns[0])):
        message = f"columns must be parted by ',', got {other[0]!r} in {columns[0]!r}"
        report(Problem("column separator", f"{place}: {message}; save the table with commas"))


def read_jsonl(path: Path, report: Report) -> Rows:
    """A JSON object a line, in UTF-8; the columns are all keys that occur. Empty lines are no rows."""
    return Rows(None, _json_rows(path, report))


def _json_rows(path: Path, report: Report) -> Iterator[Row]:
    row = 0
    for line, content in enumerate(text_lines(path), 1):
        if content.strip():
            place = _place(path.name, row, line)
            content = content.removesuffix("\n").removesuffix("\r")
            yield Row(place, _json_object(checked_utf8(content, place, row, report), place, row, report))
            row += 1


def _json_object(content: str, place: str, row: int, report: Report) -> dict[str, Any]:
    try:
        value = json.loads(content, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        report(Problem("no JSON", f"{place}: expected a JSON object, got {shown(content)}: {error}", row))
        return {}
    if not isinstance(value, dict) or not value:
        report(Problem("no JSON", f"{place}: expected a JSON object with keys, got {shown(value)}", row))
        return {}
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """`object_pairs_hook` that refuses a key that stands twice, of which json would keep the last. ValueError."""
    if len(dict(pairs)) < len(pairs):
        twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        raise ValueError(f"a key stands there twice: {shown(twice)}")
    return dict(pairs)


def checked_utf8(text: str, place: str, row: int | None, report: Report) -> str:
    """Text of `text_lines`; what was not UTF-8 in it is reported and replaced."""
    if found := _NOT_UTF8.search(text):
        byte = ord(found[0]) - 0xDC00
        around = _NOT_UTF8.sub("\N{REPLACEMENT CHARACTER}", text[max(0, found.start() - 15) :])
        message = f"{place}: byte 0x{byte:02x} is not UTF-8, in {shown(around)}; save the table as UTF-8"
        report(Problem("not UTF-8", message, row))
    return _NOT_UTF8.sub("\N{REPLACEMENT CHARACTER}", text)
