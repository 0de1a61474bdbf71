"""What can be wrong with a user's rows, and how it is reported; the checks that every kind of data shares."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from scbch_keras.checks import shown
from scbch_keras.files import sha256_of
from scbch_keras.training.data.pairs import SourceFile

SPLITS = ("train", "query", "database")
NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""NUL, which numpy's strings lose at their end, and halves of surrogate pairs, which UTF-8 has not."""


class Problem(NamedTuple):
    """Something in a file that keeps it from being used. `row` counts from 0; the message is for people."""

    kind: str
    message: str
    row: int | None = None


Report = Callable[[Problem], None]
Place = Callable[[int], str]
"""Row (from 0) -> where it is, as messages say it."""


class RefusedError(ValueError):
    """A problem that was raised."""


def refuse(problem: Problem) -> None:
    """The report that raises each problem."""
    raise RefusedError(problem.message)


def check_ids(place: Place, ids: Iterable[str], report: Report) -> None:
    """Report ids that are not the first of their name."""
    first: dict[str, int] = {}
    for row, name in enumerate(ids):
        if name in first and name:
            message = f"{place(row)}: the id {shown(name)} is already that of {place(first[name])}"
            report(Problem("duplicated id", message, row))
        first.setdefault(name, row)


def check_split(file: str, place: Place, split: Sequence[str], report: Report) -> None:
    """Report what is none of `SPLITS`, and those of them that no row has."""
    for row, part in enumerate(split):
        if part not in SPLITS:
            message = f"{place(row)}: split: expected train, query or database, got {shown(part)}"
            report(Problem("unknown split", message, row))
    for part in SPLITS:
        if part not in split:
            message = (
                f"{file}: split: expected rows of each of train, query and database, got none of {part!r}"
            )
            report(Problem("split without rows", message))


def source_file(path: Path, arrays: dict[str, str]) -> SourceFile:
    """`path` with its checksum, and what was found in it."""
    return SourceFile(path.name, sha256_of(path), path.stat().st_size, arrays)


def shape_and_type(array: NDArray[Any]) -> str:
    """For `SourceFile.arrays`."""
    return f"{array.shape} {array.dtype}"
