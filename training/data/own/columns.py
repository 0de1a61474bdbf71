"""A user's own names of columns: which is which of ours; one-hot labels, lists of captions, Hugging Face's imagefolder.

`--columns picture=image,text=caption,labels=tag_*` says OURS=YOURS, parted by commas.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from scbch_keras.checks import shown
from scbch_keras.training.data.own.formats import ARRAYS
from scbch_keras.training.data.own.label_cells import json_list
from scbch_keras.training.data.own.rows import Row, Rows, Table
from scbch_keras.training.data.problems import Problem, Report

Columns = Mapping[str, str]
"""Our names -> the file's."""
COLUMNS = ("id", "picture", "text", "labels")
OPTIONAL = ("split", "clean_labels", "group")
CAPTIONS = "captions"
"""A column of JSON lists: each caption of a row becomes a row, all of one group."""
_LABELS = ("labels", "clean_labels")
_FILE_NAME = "file_name"


def parsed(text: str | None) -> dict[str, str]:
    """What `--columns` says. ValueError: it is not OURS=YOURS, of names that are unknown, or names one twice."""
    columns: dict[str, str] = {}
    known = dict.fromkeys((*COLUMNS, *OPTIONAL, CAPTIONS, *ARRAYS))
    for part in () if text is None else text.split(","):
        ours, sign, theirs = (word.strip() for word in part.partition("="))
        if not (sign and ours and theirs):
            raise ValueError(
                f"columns must be OURS=YOURS, such as text=caption, parted by commas; got {shown(part)}"
            )
        if ours not in known:
            raise ValueError(f"columns must name one of {', '.join(known)} before each =; got {shown(ours)}")
        if ours in columns:
            raise ValueError(f"columns must name {ours} once; got {columns[ours]!r} and {theirs!r} for it")
        if theirs in columns.values():
            other = next(name for name, column in columns.items() if column == theirs)
            raise ValueError(
                f"columns must give each column one meaning; got {theirs!r} for {other} and {ours}"
            )
        columns[ours] = theirs
    if CAPTIONS in columns and "text" in columns:
        raise ValueError("columns must name text or captions, where each caption is a text; got both")
    return columns


def renamed_arrays(file: str, arrays: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """Arrays by our names; those that stood under a name of ours which another has now are left out.

    Raises ValueError for a column that is not there, or has no place in a file of arrays.
    """
    columns = {"ids" if ours == "id" else ours: theirs for ours, theirs in columns.items()}
    for ours, theirs in columns.items():
        if ours not in ARRAYS:
            raise ValueError(f"columns: {ours} is of tables; {file} holds arrays: {', '.join(ARRAYS)}")
        if theirs not in arrays:
            raise ValueError(f"{file}: {_missing(theirs, ours, arrays)}")
    others = {name: array for name, array in arrays.items() if name not in columns.values()}
    return {**others, **{ours: arrays[theirs] for ours, theirs in columns.items()}}


def read_table(name: str, file: Rows, columns: Columns, report: Report) -> Table:
    """The rows of a file in a table with our columns, of the captions a row each."""
    if not columns and not _is_metadata(name):
        return Table.of(name, file)
    columns = {"id" if ours == "ids" else ours: theirs for ours, theirs in columns.items()}
    rows = list(file.rows)
    known = file.columns
    if known is None:
        known = tuple(dict.fromkeys(column for row in rows for column in row.cells))
    if _is_metadata(name) and _FILE_NAME in known and "picture" not in {*known, *columns}:
        columns = {"picture": _FILE_NAME, **columns}
    one_hot = {ours: _matching(theirs, known) for ours, theirs in columns.items() if theirs.endswith("*")}
    for ours, theirs in columns.items():
        if ours not in (*COLUMNS, *OPTIONAL, CAPTIONS):
            raise ValueError(f"columns: {ours} is of files of arrays; {name} is a table")
        if ours in one_hot and ours not in _LABELS:
            raise ValueError(
                f"columns: only labels and clean_labels are many columns; got {theirs!r} for {ours}"
            )
        if not one_hot.get(ours, theirs in known):
            report(Problem("missing column", f"{name}: {_missing(theirs, ours, known)}"))
    ours_by_theirs = {theirs: ours for ours, theirs in columns.items() if ours not in one_hot}
    named = {*known, *columns}
    new: list[Row] = []
    for row in rows:
        cells = _renamed(row.cells, columns, ours_by_theirs)
        for ours, many in one_hot.items():
            cells[ours] = _set_classes(row, many, columns[ours], cells, len(new), report)
        if columns.get("picture") == _FILE_NAME:
            _fill_in(cells, named)
        new += (
            _captions(Row(row.place, cells), len(new), report)
            if CAPTIONS in columns
            else [Row(row.place, cells)]
        )
    table = Table.of(name, Rows(None, iter(new)))
    if not new:
        table = replace(table, columns=tuple(ours_by_theirs.get(column, column) for column in known))
    classes = {
        theirs.removeprefix(columns[ours][:-1]).strip() for ours, many in one_hot.items() for theirs in many
    }
    return replace(table, classes=tuple(sorted(classes)))


def renamed_row(row: Row, columns: Columns, number: int, report: Report) -> list[Row]:
    """A row with our columns, or one a caption."""
    if not columns:
        return [row]
    for ours, theirs in columns.items():
        if theirs not in row.cells:
            raise ValueError(f"{row.place}: {_missing(theirs, ours, row.cells)}")
    cells = _renamed(row.cells, columns, {theirs: ours for ours, theirs in columns.items()})
    return (
        _captions(Row(row.place, cells), number, report) if CAPTIONS in columns else [Row(row.place, cells)]
    )


def _missing(theirs: str, ours: str, known: Collection[str]) -> str:
    return (
        f"the column {theirs!r} (columns: {ours}={theirs}) is missing; found: {', '.join(map(repr, known))}"
    )


def _matching(pattern: str, known: Collection[str]) -> dict[str, None]:
    """The columns that a pattern means, in the order of the file."""
    return dict.fromkeys(
        column for column in known if column.startswith(pattern[:-1]) and column not in (*COLUMNS, *OPTIONAL)
    )


def _renamed(cells: Mapping[str, Any], columns: Columns, ours_by_theirs: Mapping[str, str]) -> dict[str, Any]:
    new: dict[str, Any] = {}
    for theirs, cell in cells.items():
        ours = ours_by_theirs.get(theirs)
        if ours is None:
            new[f"{theirs} of the file" if theirs in columns else theirs] = cell
        else:
            new[ours] = _numbers_as_names(cell) if ours in _LABELS else cell
    return new


def _numbers_as_names(cell: Any) -> Any:
    """Numbers of classes as their names; what is none stays, for the check of labels to refuse."""
    if isinstance(cell, list):
        return [_numbers_as_names(name) for name in cell]
    return str(cell) if isinstance(cell, int) and not isinstance(cell, bool) else cell


def _set_classes(
    row: Row, classes: Mapping[str, None], pattern: str, cells: dict[str, Any], number: int, report: Report
) -> list[str]:
    names, wrong = [], []
    # A row may name few of very many columns: only its own are gone through.
    columns = [column for column in row.cells if column in classes]
    for column in columns:
        cell = row.cells[column]
        cells.pop(column, None)
        if isinstance(cell, bool) or cell not in ("0", "1", 0, 1) or isinstance(cell, float):
            wrong.append(f"{column}: expected 0 or 1, got {shown(cell)}")
        elif cell in ("1", 1):
            names.append(column.removeprefix(pattern[:-1]))
    if absent := len(classes) - len(columns):
        first = next(column for column in classes if column not in row.cells)
        more = f", as are {absent - 1:,} others" if absent > 1 else ""
        wrong.append(f"{first}: it is missing in this row{more}; write 0 where a label is not set")
    for message in wrong:
        report(Problem("labels not 0/1", f"{row.place}: {message}", number))
    return names


def _captions(row: Row, number: int, report: Report) -> list[Row]:
    cell = row.cells.get(CAPTIONS)
    captions = json_list(cell) if isinstance(cell, str) else cell
    if not isinstance(captions, list) or not captions or not all(isinstance(text, str) for text in captions):
        message = f"{row.place}: captions: expected a JSON list of one or more strings, got {shown(cell)}"
        report(Problem("bad captions", message, number))
        captions = [""]
    others = {name: value for name, value in row.cells.items() if name != CAPTIONS}
    name = others.get("id")
    rows = []
    for count, text in enumerate(captions, 1):
        cells = {**others, "text": text}
        if isinstance(name, str | int) and not isinstance(name, bool) and name != "":
            cells["id"] = f"{name}#{count}"
        rows.append(Row(f"{row.place}, caption {count}", cells))
    return rows


def _is_metadata(name: str) -> bool:
    """Whether it is Hugging Face's table of a folder of pictures, whose column file_name is the picture."""
    return PurePosixPath(name).stem == "metadata"


def _fill_in(cells: dict[str, Any], known: Collection[str]) -> None:
    """Where a table with file names has no ids, they are these; where it has no labels, the picture's folder is one."""
    picture = cells.get("picture")
    if isinstance(picture, str):
        if "id" not in known:
            cells["id"] = picture
        if "labels" not in known and (folder := PurePosixPath(picture).parent.name):
            cells["labels"] = [folder]
