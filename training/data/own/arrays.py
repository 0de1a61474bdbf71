"""A file of features with labels: its arrays, checked. Rows are counted from 0."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.checks import shown
from scbch_keras.labels.matrix import check_labels
from scbch_keras.safe_text import visible
from scbch_keras.training.data.own.formats import whole_arrays
from scbch_keras.training.data.own.groups import group_rows
from scbch_keras.training.data.own.labelled import LabelledRows
from scbch_keras.training.data.own.vocabulary import check_names, number_labels, wrong_labels
from scbch_keras.training.data.problems import (
    Place,
    Problem,
    Report,
    check_ids,
    check_split,
    shape_and_type,
    source_file,
)

_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, kw_only=True)
class ArrayPairs(LabelledRows):
    """Features with their labels, n rows."""

    image: NDArray[Any]
    """(n, ...), real and finite."""
    text: NDArray[Any]
    """(n, d), real and finite."""


def array_pairs(
    path: Path, columns: Mapping[str, Any], vocabulary: tuple[str, ...] | None, report: Report
) -> ArrayPairs:
    """What a file of arrays holds -> pairs. What is missing comes without columns.

    columns: as the readers give them, by name. vocabulary: None if it is the file's, or yet to be made.
    Raises ValueError if there are neither image, text nor labels.
    """
    file, needed = path.name, ("image", "text", "labels")
    if not any(name in columns for name in needed):
        found = ", ".join(map(visible, columns)) or "nothing"
        raise ValueError(f"{file}: expected the arrays image, text and labels, found {found}: rename them")
    arrays = whole_arrays(file, columns, report)
    for name in needed:
        if name not in arrays:
            available = ", ".join(map(visible, arrays))
            report(Problem("missing array", f"{file}: the array {name!r} is missing; found: {available}"))
    image, text = (_features(file, name, arrays.get(name), report) for name in ("image", "text"))
    labels, clean_labels, names = _array_labels(file, arrays, vocabulary, report)
    strings = {name: _vector(file, name, arrays.get(name), report) for name in ("ids", "split", "group")}
    known = {"image": image, "text": text, "labels": labels, "clean_labels": clean_labels, **strings}
    lengths = {name: len(column) for name, column in known.items() if column is not None}
    if len(set(lengths.values())) > 1:
        actual = ", ".join(f"{name} {length}" for name, length in lengths.items())
        lasts = {
            column.shape[-1] for column in (image, text, labels) if column is not None and column.ndim == 2
        }
        hint = "; samples seem to lie in columns: transpose the arrays" if len(lasts) == 1 else ""
        report(Problem("lengths", f"{file}: expected arrays of the same length, got {actual}{hint}"))
    elif not max(lengths.values(), default=0):
        report(Problem("empty table", f"{file}: expected at least one row, got none"))
    rows = max(lengths.values(), default=0)
    ids, split, group = (strings[name] for name in ("ids", "split", "group"))

    def place(row: int) -> str:
        return f"{file}, row {row}"

    if ids is not None:
        _check_array_ids(place, ids, report)
    if split is not None:
        check_split(file, place, split.tolist(), report)
    for row in () if group is None else np.flatnonzero(group == ""):
        report(
            Problem("bad group", f"{place(int(row))}: group: expected a value, got an empty one", int(row))
        )
    if group is not None:
        groups = group_rows(group.tolist(), "the array group")
    else:
        groups = None if image is None else group_rows(_row_keys(image), "equal image features")
    empty = np.empty((rows, 0), np.float32)
    return ArrayPairs(
        image=empty if image is None else image,
        text=empty if text is None else text,
        ids=np.arange(rows).astype(str) if ids is None else ids,
        labels=np.zeros((rows, 0), np.uint8) if labels is None else labels,
        label_names=names,
        clean_labels=clean_labels,
        split=split,
        source=source_file(
            path, {name: shape_and_type(column) for name, column in known.items() if column is not None}
        ),
        groups=groups,
    )


def _row_keys(features: NDArray[Any]) -> Iterator[bytes | None]:
    for row in features:
        yield hashlib.blake2b(row.tobytes(), digest_size=16).digest() if row.any() else None


def _check_array_ids(place: Place, ids: NDArray[np.str_], report: Report) -> None:
    for row in np.flatnonzero(ids == "").tolist():
        report(Problem("bad id", f"{place(row)}: ids: expected a value, got an empty string", row))
    check_ids(place, ids.tolist(), report)


def _features(file: str, name: str, values: Any, report: Report) -> NDArray[Any] | None:
    if values is None:
        return None
    expected = "(n, ...)" if name == "image" else "(n, d)"
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        actual = f"dtype {values.dtype}" if isinstance(values, np.ndarray) else "strings"
        report(Problem("no features", f"{file}: {name}: expected real numbers {expected}, got {actual}"))
        return None
    if values.ndim < 2 or (name == "text" and values.ndim > 2) or 0 in values.shape[1:]:
        report(Problem("no features", f"{file}: {name}: expected shape {expected}, got {values.shape}"))
        return None
    for row in rows_not_finite(values):
        report(Problem(f"{name} not finite", f"{file}: {name}: row {row} holds NaN or inf (as float32)", row))
    return values


def rows_not_finite(features: NDArray[Any]) -> Iterator[int]:
    """The rows of (n, ...) that hold NaN or inf as float32, in which training computes; a block at a time."""
    if features.dtype.kind == "f":
        for start in range(0, len(features), _ROWS_AT_ONCE):
            with np.errstate(over="ignore"):
                block = np.asarray(features[start : start + _ROWS_AT_ONCE], np.float32)
            finite = np.isfinite(block).reshape(len(block), -1).all(axis=1)
            yield from (start + int(row) for row in np.flatnonzero(~finite))


def _array_labels(
    file: str, arrays: dict[str, Any], vocabulary: tuple[str, ...] | None, report: Report
) -> tuple[NDArray[np.uint8] | None, NDArray[np.uint8] | None, tuple[str, ...]]:
    noisy, clean = arrays.get("labels"), arrays.get("clean_labels")
    if isinstance(noisy, list):
        return _listed_labels(file, noisy, clean, vocabulary, report)
    labels = _binary(file, "labels", noisy, report)
    clean_labels = _binary(file, "clean_labels", clean, report)
    if labels is None:
        return None, None, ()
    if clean_labels is not None and clean_labels.shape[1] != labels.shape[1]:
        message = f"expected {labels.shape[1]} classes as in labels, got {clean_labels.shape[1]}"
        report(Problem("classes", f"{file}: clean_labels: {message}"))
        clean_labels = None
    names = _column_names(file, arrays.get("label_names"), labels.shape[1], vocabulary, report)
    if vocabulary is None or names == vocabulary:
        return labels, clean_labels, names
    known = set(vocabulary)
    for number, name in enumerate(names):
        if name not in known:
            rows = np.flatnonzero(labels[:, number])
            where = f"{file}, row {rows[0]}" if len(rows) else f"{file}, label_names"
            message = f"{where}: expected labels of the vocabulary, got the unknown label {shown(name)}"
            report(Problem("unknown label", message, int(rows[0]) if len(rows) else None))
    ordered = [None if old is None else _in_order(old, names, vocabulary) for old in (labels, clean_labels)]
    return ordered[0], ordered[1], vocabulary


def _listed_labels(
    file: str, noisy: list[list[str]], clean: Any, vocabulary: tuple[str, ...] | None, report: Report
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None, tuple[str, ...]]:
    if clean is not None and not isinstance(clean, list):
        report(Problem("classes", f"{file}: clean_labels: expected lists of strings, as labels, got numbers"))
        clean = None
    for column, lists in (("labels", noisy), ("clean_labels", clean or [])):
        for row, names in enumerate(lists):
            kind, wrong = wrong_labels(names, [name.strip() for name in names], "", False, set())
            if wrong:
                report(Problem(kind, f"{file}, row {row}: {column}: {wrong}", row))

    def stripped(lists: list[list[str]]) -> list[list[str]]:
        return [[name.strip() for name in names if name.strip()] for names in lists]

    clean_lists = None if clean is None else stripped(clean)
    return number_labels(
        file, lambda row: f"{file}, row {row}", stripped(noisy), clean_lists, vocabulary, report
    )


def _binary(file: str, name: str, labels: Any, report: Report) -> NDArray[np.uint8] | None:
    """Labels as uint8, with 1 where they are 1."""
    if labels is None:
        return None
    try:
        check_labels(name, labels)
    except ValueError as error:
        report(Problem("labels not 0/1", f"{file}: {error}"))
        if not isinstance(labels, np.ndarray) or labels.ndim != 2:
            return None
    return (labels == 1).astype(np.uint8)


def _column_names(
    file: str, names: Any, classes: int, vocabulary: tuple[str, ...] | None, report: Report
) -> tuple[str, ...]:
    """What the label columns are called: as the file says, or the vocabulary, or their numbers."""
    numbers = tuple(str(number) for number in range(classes))
    if names is None:
        if vocabulary is not None and len(vocabulary) != classes:
            message = f"expected the {len(vocabulary)} classes of the vocabulary, got {classes} without names"
            report(Problem("classes", f"{file}: labels: {message}"))
            return numbers
        return numbers if vocabulary is None else vocabulary
    try:
        checked = check_names(f"{file}: label_names", np.ravel(names).tolist())
    except ValueError as error:
        report(Problem("empty label" if "" in names else "bad label_names", str(error)))
        return numbers
    if len(checked) != classes or np.ndim(names) != 1:
        message = f"expected a name for each of the {classes} columns of labels, got shape {np.shape(names)}"
        report(Problem("bad label_names", f"{file}: label_names: {message}"))
        return numbers
    return checked


def _in_order(
    labels: NDArray[np.uint8], names: Sequence[str], vocabulary: Sequence[str]
) -> NDArray[np.uint8]:
    ordered = np.zeros((len(labels), len(vocabulary)), np.uint8)
    place = {name: number for number, name in enumerate(vocabulary)}
    for number, name in enumerate(names):
        if name in place:
            ordered[:, place[name]] = labels[:, number]
    return ordered


def _vector(file: str, name: str, values: Any, report: Report) -> NDArray[np.str_] | None:
    if values is None or values.ndim == 1:
        return values
    report(Problem(f"bad {name}", f"{file}: {name}: expected shape (n,), got {values.shape}"))
    return None
