"""Data with corrected labels: a new folder beside the old data, with a log of what was changed by whom."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from scbch_keras.checks import one_of
from scbch_keras.files import explained_full_disk, hidden_sibling, sha256_of, sync, sync_tree
from scbch_keras.training.data.own.arrays import ArrayPairs
from scbch_keras.training.data.own.columns import parsed
from scbch_keras.training.data.own.corrections import Correction, read_corrections
from scbch_keras.training.data.own.fixed_data import FIXED, KIND, data_file, log_of
from scbch_keras.training.data.own.groups import agree
from scbch_keras.training.data.own.label_writers import write_labels
from scbch_keras.training.data.own.pictures import RawPairs
from scbch_keras.training.data.own.read import read_own

Pictures = Literal["copy", "link"]


@dataclass(frozen=True)
class Fixed:
    """What `fix` wrote."""

    path: Path
    reviewed: int
    """Samples with a decision."""
    changed: int
    """Samples whose labels changed."""
    added: int
    """Labels that came."""
    removed: int
    notes: tuple[str, ...]

    @property
    def summary(self) -> list[str]:
        """A few lines for a reader."""
        return [
            f"{self.changed:,} of {self.reviewed:,} reviewed samples changed: {self.removed:,} labels removed, "
            f"{self.added:,} added",
            *self.notes,
            f"{self.path / FIXED}: what was changed by whom, from what to what",
        ]


def fix(
    path: str | os.PathLike[str],
    corrections: str | os.PathLike[str],
    out: str | os.PathLike[str],
    separator: str = ";",
    pictures: Pictures = "copy",
    columns: str | None = None,
) -> Fixed:
    """Write data with corrected labels into a new folder, which is whole or absent; the original stays as it is.

    Args:
        path: the data that was audited, as for `read_own`: a folder or a table of pictures, .npz, .h5, .parquet.
        corrections: the CSV file that the audit page saved.
        out: the folder, new or empty, outside the folder of the data. `scbch train` takes it as data.
        separator: between the labels of a cell.
        pictures: "copy": the folder has its own copies of the pictures that the table names. "link": hard links, which
            need no room; whoever then writes into such a picture in place changes both.
        columns: which of the file's columns are ours, as for `read_own`.

    Raises:
        ValueError: the data or the corrections are not as described, or do not fit each other; or `out` is taken.
        OSError: the disk is full, or links were asked for across disks.
    """
    one_of("pictures", pictures, get_args(Pictures))
    source, corrections, out = data_file(Path(path)), Path(corrections), Path(out)
    _check_out(out, Path(path))
    data = read_own(source, separator, check_pictures=False, columns=columns)
    corrected = read_corrections(corrections, data.ids, data.labels, data.label_names)
    changes = {one.row: one.after for one in corrected if one.after != one.before}
    with _folder(out) as staging:
        write_labels(
            source,
            staging / source.name,
            changes,
            data.label_names,
            separator,
            parsed(columns).get("labels", "labels"),
            len(data),
        )
        if isinstance(data, RawPairs):
            _bring_pictures(data, source.parent, staging, pictures)
        _write_log(staging, source, corrections, corrected)
        after = read_own(staging, separator, check_pictures=False, columns=columns)
        _check_written(data, after, changes)
    return Fixed(
        out,
        reviewed=len(corrected),
        changed=len(changes),
        added=sum(len(set(one.after) - set(one.before)) for one in corrected),
        removed=sum(len(set(one.before) - set(one.after)) for one in corrected),
        notes=tuple(_notes(data, after, pictures)),
    )


def _check_out(out: Path, path: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"out: expected a new or empty folder, got {out}, which is there already")
    if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
        raise ValueError(
            f"out: expected a folder outside the data, which stays as it is; got {out} in {path}"
        )
    if not out.resolve().parent.is_dir():
        raise ValueError(f"out: there is no folder {out.parent} to make {out.name} in")


@contextmanager
def _folder(out: Path) -> Iterator[Path]:
    """A hidden folder that takes the place of `out` if the block ends well, and else leaves nothing."""
    staging = hidden_sibling(out.resolve())
    try:
        with explained_full_disk(out):
            staging.mkdir()
            yield staging
            sync_tree(staging)
        staging.rename(out.resolve())
        sync(out.resolve().parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _bring_pictures(data: RawPairs, root: Path, staging: Path, how: Pictures) -> None:
    for picture in dict.fromkeys(data.pictures):
        target = Path(os.path.normpath(staging / picture.relative_to(root)))
        if not target.is_relative_to(staging):
            raise ValueError(f"{picture}: expected a path that stays in the folder of the table; write it so")
        if target.exists():  # the same picture by another spelling of its path
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if how == "copy":
            shutil.copyfile(picture, target)
            continue
        try:
            os.link(picture.resolve(), target)
        except OSError as error:
            message = f"{picture} cannot be linked ({error.strerror}): leave out --link"
            raise OSError(error.errno, message) from error


def _write_log(staging: Path, source: Path, corrections: Path, corrected: Sequence[Correction]) -> None:
    last = log_of(source)
    log = {
        "data": source.name,
        "before": {"path": str(source.resolve()), "sha256": sha256_of(source)},
        "corrections": {"name": corrections.name, "sha256": sha256_of(corrections)},
        "decisions": [
            {"id": one.id, "from": one.before, "to": one.after, **line._asdict()}
            for one in corrected
            for line in one.decisions
        ],
        "earlier": [] if last is None else [*last.pop("earlier"), last],
    }
    content = json.dumps(KIND.marked(log), ensure_ascii=False, indent=1)
    (staging / FIXED).write_text(content, encoding="utf-8")


def _check_written(
    data: RawPairs | ArrayPairs, after: RawPairs | ArrayPairs, changes: dict[int, tuple[str, ...]]
) -> None:
    """Read back what was written: other labels where they were corrected, and all else as before."""
    expected = [changes.get(row, names) for row, names in enumerate(_names(data, data.labels))]
    same = [
        np.array_equal(data.ids, after.ids),
        list(map(sorted, expected)) == list(map(sorted, _names(after, after.labels))),
        _clean(data) == _clean(after),
        np.array_equal(np.asarray(data.split), np.asarray(after.split)),
    ]
    if isinstance(data, RawPairs) and isinstance(after, RawPairs):
        same.append(data.texts == after.texts)
    if not all(same):
        raise RuntimeError(f"{data.source.name}: what was written reads otherwise than it should")


def _names(data: RawPairs | ArrayPairs, labels: Any) -> list[tuple[str, ...]]:
    return [tuple(data.label_names[column] for column in np.flatnonzero(row)) for row in labels]


def _clean(data: RawPairs | ArrayPairs) -> list[list[str]] | None:
    return None if data.clean_labels is None else [sorted(row) for row in _names(data, data.clean_labels)]


def _notes(data: RawPairs | ArrayPairs, after: RawPairs | ArrayPairs, pictures: Pictures) -> Iterator[str]:
    if gone := [name for name in data.label_names if name not in after.label_names]:
        yield f"no sample has these labels any more: {', '.join(gone)}"
    alike = [one.groups is None or agree(one.groups, one.labels) for one in (data, after)]
    if alike == [True, False]:
        yield (
            "rows of one item now have different labels, so that noise and posterior labels take each row by "
            "itself: correct all rows of an item alike"
        )
    if isinstance(data, RawPairs):
        how = "copies of the pictures" if pictures == "copy" else "hard links to the pictures"
        yield f"the folder has {how}, {len(set(data.pictures)):,} of them"
