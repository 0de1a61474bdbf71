"""The folder that `scbch fix` writes: which file in it is the data, and what was changed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scbch_keras.files import file_in, stored_json
from scbch_keras.stored import FileKind
from scbch_keras.training.data.own.file_formats import TABLE_READERS
from scbch_keras.training.data.own.folders import visible_files
from scbch_keras.training.data.own.pictures import table_in

FIXED = "fixed.json"
KIND = FileKind(
    "the log of `scbch fix`",
    "format",
    ("scbch fixed data 1",),
    "take it from a backup, or fix the data again",
)


def data_file(path: Path) -> Path:
    """The file of data that a path names: itself, the one table of a folder, or what `scbch fix` wrote there."""
    if not path.is_dir():
        return path
    if not (path / FIXED).is_file():
        return table_in(path)
    try:
        return file_in(path, _log(path)["data"])
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: expected the data that {FIXED} names: {error}") from error


def is_data(folder: Path) -> bool:
    """Whether a folder has a table, or a file that `scbch fix` wrote."""
    return (folder / FIXED).is_file() or bool(visible_files(folder, TABLE_READERS, deep=False))


def labels_before(path: Path) -> dict[str, Sequence[str]]:
    """The labels, by id, that samples of a fixed folder had before the last correction; {} for other data."""
    log = log_of(path)
    lines = [] if log is None else log["decisions"]
    return {line["id"]: line["from"] for line in lines if line["from"] != line["to"]}


def correction_notes(path: Path) -> dict[str, str]:
    """What is told of data that `scbch fix` wrote; {} for other data."""
    log = log_of(path)
    if log is None:
        return {}
    lines = [line for one in (*log["earlier"], log) for line in one["decisions"]]
    # A sample has a line a decision, each with all of its labels.
    changes = [
        (line["from"], line["to"])
        for one in (*log["earlier"], log)
        for line in {line["id"]: line for line in one["decisions"]}.values()
        if line["from"] != line["to"]
    ]
    removed = sum(len(set(before) - set(after)) for before, after in changes)
    added = sum(len(set(after) - set(before)) for before, after in changes)
    people = sorted({line["who"] for line in lines})
    note = (
        f"{removed + added:,} changed ({removed:,} removed, {added:,} added) in {len(changes):,} samples by "
    )
    return {"corrected labels": f"{note}{', '.join(people)}; see {FIXED}"}


def log_of(path: Path) -> dict[str, Any] | None:
    """The log of a fixed folder, or of the data file in it; None for other data. ValueError: it is damaged."""
    folder = path if path.is_dir() else path.parent
    if not (folder / FIXED).is_file() or (folder != path and data_file(folder) != path):
        return None
    return _log(folder)


def _log(folder: Path) -> dict[str, Any]:
    with KIND.reading(folder / FIXED):
        log = KIND.unmarked(stored_json(file_in(folder, FIXED)))
        for one in (*log["earlier"], log):
            for line in one["decisions"]:
                texts = (line["id"], line["who"], *line["from"], *line["to"])
                if not all(isinstance(text, str) for text in texts):
                    raise ValueError("expected text")
    return log
