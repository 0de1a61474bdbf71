"""A folder of pictures with a table: its rows, checked one by one, and its pictures, opened and decoded."""

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scbch_keras.checks import shown
from scbch_keras.preprocessing.pictures import PICTURE_FORMATS, decoded
from scbch_keras.training.data.own.columns import COLUMNS, OPTIONAL
from scbch_keras.training.data.own.file_formats import TABLE_READERS
from scbch_keras.training.data.own.folders import visible_files
from scbch_keras.training.data.own.groups import group_rows
from scbch_keras.training.data.own.labelled import LabelledRows
from scbch_keras.training.data.own.rows import Table
from scbch_keras.training.data.own.vocabulary import label_lists, names_of, number_labels
from scbch_keras.training.data.problems import (
    NO_TEXT,
    Problem,
    Report,
    check_ids,
    check_split,
    shape_and_type,
    source_file,
)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class RawPairs(LabelledRows):
    """Pictures and texts with their labels, n rows, before they are made into features."""

    pictures: tuple[Path, ...]
    texts: list[str]


def table_in(folder: Path) -> Path:
    """The one table of a folder. Raises ValueError if there is none, or more."""
    tables = visible_files(folder, TABLE_READERS, deep=False)
    if len(tables) != 1:
        actual = ", ".join(table.name for table in tables) or "none"
        raise ValueError(
            f"{folder}: expected one .csv or .jsonl table in the folder, got {actual}; give its path"
        )
    return tables[0]


def raw_pairs(
    path: Path,
    table: Table,
    separator: str,
    vocabulary: tuple[str, ...] | None,
    report: Report,
    check: bool,
    progress: Progress | None,
) -> tuple[RawPairs, tuple[str | None, ...], tuple[str, ...]]:
    """Rows of a table -> (pairs, SHA-256 of each picture, columns that play no part).

    path: of the table; paths of pictures are relative to its folder. vocabulary: None if it is to be made.
    check: whether pictures are opened and decoded; if not, there are no SHA-256, and equal pictures are known by
    their paths alone.
    """
    if not table.cells:
        report(Problem("empty table", f"{table.name}: expected at least one row after the header, got none"))
    missing = [name for name in COLUMNS if name not in table.columns]
    for name in missing if table.columns else ():
        available = ", ".join(map(repr, table.columns))
        report(Problem("missing column", f"{table.name}: the column {name!r} is missing; found: {available}"))
    ids = _strings(table, "id", report)
    names = _strings(table, "picture", report)
    texts = _strings(table, "text", report)
    check_ids(table.place, ids if "id" in table.columns else [], report)
    noisy = label_lists(table, "labels", separator, vocabulary, report)
    clean = None
    if "clean_labels" in table.columns:
        clean = label_lists(table, "clean_labels", separator, vocabulary, report)
    split = _strings(table, "split", report) if "split" in table.columns else None
    if split is not None:
        check_split(table.name, table.place, split, report)
    if vocabulary is None and table.classes:
        vocabulary = names_of([*noisy, *(clean or []), table.classes])
    labels, clean_labels, label_names = number_labels(
        table.name, table.place, noisy, clean, vocabulary, report
    )
    paths = _picture_paths(path.parent, table, names, report)
    digests: tuple[str | None, ...] = ()
    if check:
        digests = _check_pictures(table, paths, report, progress)
    if "group" in table.columns:
        groups = group_rows(_strings(table, "group", report), "the column group")
    else:
        groups = group_rows(digests or paths, "equal pictures")
    arrays = {"rows": f"{len(ids)}", "labels": shape_and_type(labels)}
    if digests:
        every = hashlib.sha256("".join(digest or "-" for digest in digests).encode())
        arrays["pictures"] = f"{len(digests)}, SHA-256 of their SHA-256: {every.hexdigest()}"
    pairs = RawPairs(
        ids=np.array(ids, dtype=str),
        pictures=tuple(path.parent / name.replace("\0", "?") for name in names),
        texts=texts,
        labels=labels,
        label_names=label_names,
        clean_labels=clean_labels,
        split=None if split is None else np.array(split, dtype=str),
        source=source_file(path, arrays),
        groups=groups,
    )
    ignored = tuple(name for name in table.columns if name not in (*COLUMNS, *OPTIONAL))
    return pairs, digests, ignored


def _strings(table: Table, column: str, report: Report) -> list[str]:
    """The cells of a column, "" where there is none. Whole numbers are ids too."""
    exists = column in table.columns
    values: list[str] = []
    for row, cells in enumerate(table.cells):
        value = cells.get(column, "")
        if column in ("id", "group") and isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        wrong = _wrong_string(value, column, column in cells)
        if wrong and exists:
            report(Problem(f"bad {column}", f"{table.place(row)}: {column}: {wrong}", row))
        values.append(value if isinstance(value, str) else "")
    return values


def _wrong_string(value: Any, column: str, exists: bool) -> str:
    if not exists:
        return "it is missing in this row"
    if not isinstance(value, str):
        hints = {
            "NoneType": 'write "" where there is none',
            "list": "--columns captions=YOURS, with the name of this column, makes a row of each",
        }
        hint = hints.get(type(value).__name__) if column == "text" else None
        return f"expected a string, got {shown(value)}{f'; {hint}' if hint else ''}"
    if not value and column in ("id", "picture", "group"):
        return "expected a value, got an empty cell"
    if NO_TEXT.search(value):
        return f"expected text, got a NUL or half a surrogate pair in {shown(value)}"
    return ""


def _picture_paths(folder: Path, table: Table, names: Sequence[str], report: Report) -> list[Path | None]:
    """Where the pictures are; None where there is none that may be opened."""
    root = folder.resolve()
    paths: list[Path | None] = []
    for row, name in enumerate(names):
        kind, wrong, path = _picture_path(root, name)
        if wrong and name:
            report(Problem(kind, f"{table.place(row)}: picture: {wrong}", row))
        paths.append(path)
    return paths


def _picture_path(root: Path, name: str) -> tuple[str, str, Path | None]:
    try:
        path = (root / name).resolve()
        if not path.is_relative_to(root):
            return (
                "picture outside",
                f"expected a path inside the folder, got {shown(name)}, outside of it",
                None,
            )
        if Path(name).is_absolute():
            inside = path.relative_to(root).as_posix()
            return (
                "picture outside",
                f"expected a path relative to the table's folder, got {shown(name)}: write {shown(inside)}",
                None,
            )
        if path.is_file():
            return "", "", path
    except (OSError, ValueError, RuntimeError) as error:  # loops of links, names that no file can have
        return "missing picture", f"expected a picture, got {shown(name)}: {error}", None
    hint = "; folders are parted by '/'" if "\\" in name else ""
    return "missing picture", f"expected a picture, got {shown(name)}, which is no file{hint}", None


def _check_pictures(
    table: Table, paths: Sequence[Path | None], report: Report, progress: Progress | None
) -> tuple[str | None, ...]:
    digests = []
    for row, (fault, digest) in enumerate(_look(paths)):
        if fault:
            message = f"expected a whole picture, got {shown(table.cells[row]['picture'])}: {fault}"
            report(Problem("broken picture", f"{table.place(row)}: picture: {message}", row))
        digests.append(digest)
        if progress:
            progress(row + 1, len(paths))
    return tuple(digests)


def _look(paths: Sequence[Path | None]) -> Iterator[tuple[str, str | None]]:
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        yield from pool.map(lambda path: ("", None) if path is None else picture_fault(path), paths)
    finally:
        pool.shutdown(cancel_futures=True)


def picture_fault(path: Path) -> tuple[str, str | None]:
    """(what is wrong with a picture, or ""; SHA-256 of its bytes, None if they cannot be read).

    Pillow verifies it, of the `PICTURE_FORMATS` alone, and it is decoded as for features.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImportError("reading pictures needs Pillow: pip install pillow") from error

    try:
        content = path.read_bytes()
    except OSError as error:
        return str(error), None
    digest = hashlib.sha256(content).hexdigest()
    try:
        with Image.open(io.BytesIO(content), formats=PICTURE_FORMATS) as picture:
            picture.verify()
        decoded(content)
    except UnidentifiedImageError:
        return f"none of {', '.join(PICTURE_FORMATS)}", digest
    except Exception as error:  # a broken file can raise anything in Pillow
        return str(error) or type(error).__name__, digest
    return "", digest
