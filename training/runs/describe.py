"""What is in a user's data before anything is trained on it: counts, labels, and all that is wrong or odd."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scbch_keras.preprocessing.normalization import words
from scbch_keras.safe_text import terminal
from scbch_keras.training.data.own.arrays import ArrayPairs
from scbch_keras.training.data.own.fixed_data import correction_notes
from scbch_keras.training.data.own.groups import shared_items
from scbch_keras.training.data.own.pictures import RawPairs
from scbch_keras.training.data.own.read import gather
from scbch_keras.training.data.own.vocabulary import alike, near_duplicates
from scbch_keras.training.data.pairs import SourceFile
from scbch_keras.training.data.problems import SPLITS, Problem
from scbch_keras.training.progress import display as progress_display
from scbch_keras.training.runs.own_audit import doubts_in_words
from scbch_keras.training.runs.ready import ready_split
from scbch_keras.training.runs.recipe import Recipe

_ROWS_AT_ONCE = 1024
_LABELS_SHOWN = 20
_ROWS_SHOWN = 6
_MESSAGES_SHOWN = 3

Rows = tuple[int, ...]


class Cardinality(NamedTuple):
    """Labels a row."""

    mean: float
    least: int
    most: int


@dataclass(frozen=True)
class Description:
    """A data set, counted. All row numbers count from 0; `first_row` is what messages and `show` count from."""

    source: SourceFile
    rows: int
    first_row: int
    """1 for tables, 0 for arrays."""
    cardinality: Cardinality
    label_counts: dict[str, int]
    """Rows a label, in the order of the vocabulary."""
    similar_labels: tuple[tuple[str, ...], ...]
    """Names that differ only in case, blanks, '-', '_' or Unicode form: likely one label written in many ways."""
    similar_words: tuple[tuple[str, ...], ...]
    """Words of the texts that differ only in punctuation or a plural s; the most frequent groups first."""
    unlabelled: Rows
    differing: Rows | None
    """Rows whose labels are not their clean ones; None: no clean ones known."""
    empty_texts: Rows
    """Blank texts, or text features that are all 0."""
    duplicates: dict[str, tuple[Rows, ...]]
    """Groups of rows that are alike, by what is: "id", "picture", "text and labels"; "image", "text", "pair"."""
    broken_pictures: Rows
    """Missing, outside the folder, or not decoded."""
    not_finite: dict[str, Rows]
    """Rows with NaN or inf, by "image" and "text"."""
    constant_columns: dict[str, Rows]
    """Feature columns (of the flattened features) with the same value in all rows."""
    splits: dict[str, int] | None
    ignored_columns: tuple[str, ...]
    problems: tuple[Problem, ...]
    """What `read_own` refuses."""
    items: tuple[int, str] | None
    """How many items the rows show, and what says so; None: each row is an item."""
    split_items: int
    """Items whose rows lie on both sides of the data's own split."""
    settings: str
    """Of the training that was asked for, as far as they bear on the data."""
    obstacles: tuple[Problem, ...]
    """What a training with these settings refuses of data that can be read."""
    corrected: str | None
    """What `scbch fix` changed, in words; None: it did not write this data."""
    doubts: tuple[str, ...]
    """Estimated noise and most doubtful labels, in words; or why these are left out."""

    @property
    def usable(self) -> bool:
        """Whether `read_own` takes the data."""
        return not self.problems

    @property
    def trainable(self) -> bool:
        """Whether training with the settings takes the data."""
        return not self.problems and not self.obstacles


def describe(
    path: str | os.PathLike[str],
    separator: str = ";",
    console: Console | None = None,
    recipe: Recipe | None = None,
) -> Description:
    """Look through a user's data, which may be as faulty as can be; every picture is opened and decoded.

    Args:
        path: as for `read_own`.
        separator: between the labels of a cell.
        console: where progress is shown; None: standard output.
        recipe: the training that the data is for; None: one with the defaults.

    Raises:
        ValueError: nothing at all can be read, or `separator` is no separator.
        ImportError: a package is missing; the message says which.
    """
    problems: list[Problem] = []
    with progress_display(console=console, transient=True) as display:
        task = display.add_task("Opening pictures", total=None, visible=False)

        def progress(done: int, total: int) -> None:
            display.update(task, completed=done, total=total, visible=True)

        columns = None if recipe is None else recipe.columns
        pairs, digests, ignored = gather(
            path, separator, None, problems.append, progress=progress, columns=columns
        )
    special = _of_pictures(pairs, digests) if isinstance(pairs, RawPairs) else _of_arrays(pairs)
    sizes = pairs.labels.sum(axis=1, dtype=np.int64)
    recipe = recipe or Recipe(str(path))
    obstacles: list[Problem] = []
    if not problems:
        try:
            ready_split(pairs, recipe, obstacles.append)
        except ValueError as error:
            obstacles.append(Problem("no split", str(error)))
    known = not any(problem.kind in ("missing column", "missing array") for problem in problems)
    return Description(
        source=pairs.source,
        rows=len(pairs.ids),
        first_row=int(isinstance(pairs, RawPairs)),
        cardinality=_cardinality(sizes),
        label_counts=dict(
            zip(pairs.label_names, pairs.labels.sum(axis=0, dtype=np.int64).tolist(), strict=False)
        ),
        similar_labels=alike(pairs.label_names),
        unlabelled=_rows(sizes == 0) if known or pairs.label_names else (),
        differing=_differing(pairs.labels, pairs.clean_labels),
        broken_pictures=_rows_of(problems, "missing picture", "picture outside", "broken picture"),
        not_finite={side: _rows_of(problems, f"{side} not finite") for side in ("image", "text")},
        splits=None if pairs.split is None else {part: int((pairs.split == part).sum()) for part in SPLITS},
        ignored_columns=ignored,
        problems=tuple(problems),
        items=None if pairs.groups is None else (pairs.groups.items, pairs.groups.origin),
        split_items=_split_items(pairs),
        settings=_settings(recipe, pairs),
        obstacles=tuple(obstacles),
        corrected=correction_notes(Path(path)).get("corrected labels"),
        doubts=() if problems else doubts_in_words(pairs, recipe.text_features),
        **special,
    )


def _split_items(pairs: RawPairs | ArrayPairs) -> int:
    if pairs.split is None or pairs.groups is None or len(pairs.split) != len(pairs.groups.numbers):
        return 0
    query = pairs.split == "query"
    return shared_items(pairs.groups, np.flatnonzero(query), np.flatnonzero(~query))


def _settings(recipe: Recipe, pairs: RawPairs | ArrayPairs) -> str:
    settings = {"variant": recipe.variant, "neighbors": recipe.neighbors}
    if pairs.split is None:
        settings |= {"queries": recipe.queries, "seed": recipe.seed}
    if isinstance(pairs, RawPairs):
        settings["text_features"] = recipe.text_features
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def _of_pictures(pairs: RawPairs, digests: Sequence[str | None]) -> dict[str, Any]:
    fingerprints = [
        (text, labels.tobytes()) if text.strip() else None
        for text, labels in zip(pairs.texts, pairs.labels, strict=True)
    ]
    return {
        "similar_words": _similar_words(pairs.texts),
        "empty_texts": tuple(row for row, text in enumerate(pairs.texts) if not text.strip()),
        "duplicates": {
            "id": _alike_rows(name or None for name in pairs.ids.tolist()),
            "picture": _alike_rows(digests),
            "text and labels": _alike_rows(fingerprints),
        },
        "constant_columns": {},
    }


def _similar_words(texts: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    counts = Counter(word for text in texts for word in words(text))
    return near_duplicates(word for word, _ in counts.most_common())


def _of_arrays(pairs: ArrayPairs) -> dict[str, Any]:
    hashes = {side: _row_hashes(features) for side, features in _sides(pairs)}
    both = list(zip(*hashes.values(), strict=False)) if len(hashes) == 2 else []
    return {
        "similar_words": (),
        "empty_texts": _zero_rows(pairs.text),
        "duplicates": {
            "id": _alike_rows(pairs.ids.tolist()),
            **{side: _alike_rows(rows) for side, rows in hashes.items()},
            "pair": _alike_rows(both),
        },
        "constant_columns": {side: _constant(features) for side, features in _sides(pairs)},
    }


def _sides(pairs: ArrayPairs) -> list[tuple[str, NDArray[Any]]]:
    """Those of image and text that have columns."""
    return [(side, x) for side, x in (("image", pairs.image), ("text", pairs.text)) if x.size]


def _alike_rows(keys: Iterable[Hashable]) -> tuple[Rows, ...]:
    """Groups of rows with the same key; None is like nothing."""
    groups: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        if key is not None:
            groups.setdefault(key, []).append(row)
    return tuple(tuple(rows) for rows in groups.values() if len(rows) > 1)


def _row_hashes(features: NDArray[Any]) -> list[bytes]:
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in features]


def _blocks(features: NDArray[Any]) -> Iterable[NDArray[Any]]:
    for start in range(0, len(features), _ROWS_AT_ONCE):
        block = features[start : start + _ROWS_AT_ONCE]
        yield block.reshape(len(block), -1)


def _zero_rows(features: NDArray[Any]) -> Rows:
    if not features.size:
        return ()
    return _rows(np.concatenate([~block.any(axis=1) for block in _blocks(features)]))


def _constant(features: NDArray[Any]) -> Rows:
    """Columns with one value; NaN does not count as one."""
    lows, highs = zip(
        *((np.fmin.reduce(block), np.fmax.reduce(block)) for block in _blocks(features)), strict=True
    )
    return _rows(np.fmin.reduce(lows) == np.fmax.reduce(highs))


def _cardinality(sizes: NDArray[np.int64]) -> Cardinality:
    if not len(sizes):
        return Cardinality(0.0, 0, 0)
    return Cardinality(float(sizes.mean()), int(sizes.min()), int(sizes.max()))


def _differing(labels: NDArray[np.uint8], clean: NDArray[np.uint8] | None) -> Rows | None:
    return None if clean is None or clean.shape != labels.shape else _rows((labels != clean).any(axis=1))


def _rows(mask: NDArray[np.bool_]) -> Rows:
    return tuple(np.flatnonzero(mask).tolist())


def _rows_of(problems: Iterable[Problem], *kinds: str) -> Rows:
    return tuple(problem.row for problem in problems if problem.kind in kinds and problem.row is not None)


def show(description: Description, console: Console) -> None:
    """Print a description: the data, its labels, what is odd, and what has to be mended."""
    for table in (_overview(description), _labels(description), _oddities(description)):
        if table.row_count:
            console.print(table)
    for line in description.doubts:
        console.print(_plain(line), soft_wrap=True)
    _show_problems(description, console)


def _overview(description: Description) -> Table:
    table = Table(title=_plain(description.source.name), title_justify="left", show_header=False)
    mean, least, most = description.cardinality
    table.add_row("rows", f"{description.rows:,}")
    for name, shape in description.source.arrays.items():
        if name != "rows":
            table.add_row(_plain(name), _plain(shape))
    table.add_row("classes", f"{len(description.label_counts):,}")
    table.add_row("labels a row", f"mean {mean:.2f}, from {least} to {most}")
    if description.splits is not None:
        counts = ", ".join(f"{part} {count:,}" for part, count in description.splits.items())
        table.add_row("split", counts)
    if description.items is not None:
        count, origin = description.items
        table.add_row("items", _plain(f"{count:,}, by {origin}; a split keeps the rows of an item together"))
    if description.corrected is not None:
        table.add_row("corrected labels", _plain(description.corrected))
    if description.differing is not None:
        table.add_row("labels not as clean ones", f"{len(description.differing):,} rows")
    if description.ignored_columns:
        table.add_row("columns not used", _plain(", ".join(description.ignored_columns)))
    table.add_row("SHA-256", description.source.sha256)
    return table


def _labels(description: Description) -> Table:
    table = Table("label", title="Rows a label, most first", title_justify="left")
    table.add_column("rows", justify="right")
    table.add_column("share", justify="right")
    counts = sorted(description.label_counts.items(), key=lambda item: -item[1])
    for name, count in counts[:_LABELS_SHOWN]:
        table.add_row(_plain(name), f"{count:,}", f"{count / max(1, description.rows):.1%}")
    if rest := counts[_LABELS_SHOWN:]:
        table.add_row(f"and {len(rest):,} more", f"{rest[-1][1]:,} to {rest[0][1]:,}", "")
    return table


def _oddities(description: Description) -> Table:
    table = Table("odd", title="Worth a look", title_justify="left")
    table.add_column("count", justify="right")
    table.add_column("where")

    def add(what: str, items: Sequence[Any], where: Callable[[Any], str], unit: str) -> None:
        if items:
            places = "; ".join(where(one) for one in items[:_ROWS_SHOWN])
            more = f" and {len(items) - _ROWS_SHOWN:,} more" if len(items) > _ROWS_SHOWN else ""
            table.add_row(what, f"{len(items):,} {unit}", _plain(places + more))

    def row(number: int) -> str:
        return str(number + description.first_row)

    def group(numbers: Rows) -> str:
        places = " = ".join(map(row, numbers[:_ROWS_SHOWN]))
        return places if len(numbers) <= _ROWS_SHOWN else f"{places} = ..."

    add("without labels", description.unlabelled, row, "rows")
    add("empty text", description.empty_texts, row, "rows")
    add("picture missing or broken", description.broken_pictures, row, "rows")
    for what, groups in description.duplicates.items():
        add(f"same {what}", groups, group, "groups")
    for side, rows in description.not_finite.items():
        add(f"NaN or inf in {side}", rows, row, "rows")
    for side, columns in description.constant_columns.items():
        add(f"constant in {side}", columns, str, "columns")
    if description.split_items:
        shared = "on both sides of the split: results look better than they are"
        table.add_row("one picture, several rows", f"{description.split_items:,} items", shared)
    never = [name for name, count in description.label_counts.items() if not count]
    add("label of no row", never, str, "labels")
    add("label of every row", _everywhere(description), str, "labels")
    add("words written alike", description.similar_words, lambda words: " = ".join(words), "groups")
    add("labels written alike", description.similar_labels, lambda names: " = ".join(names), "groups")
    return table


def _everywhere(description: Description) -> list[str]:
    return [name for name, count in description.label_counts.items() if count == description.rows > 0]


def _show_problems(description: Description, console: Console) -> None:
    problems = (*description.problems, *description.obstacles)
    settings = f"({description.settings})"
    if not problems:
        console.print(Text(f"Nothing stands in the way of training {settings}."), soft_wrap=True)
        return
    kinds: dict[str, list[str]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem.message)
    head = f"To be mended before training: {len(problems):,}"
    headline = f"{head} {settings}" if description.obstacles else head
    console.print(Text(headline, style="bold"), soft_wrap=True)
    for kind, messages in kinds.items():
        console.print(Text(f"{_plain(kind)} ({len(messages):,})", style="bold"))
        for message in messages[:_MESSAGES_SHOWN]:
            console.print(Text(f"  {_plain(message)}"), soft_wrap=True)
        if len(messages) > _MESSAGES_SHOWN:
            console.print(Text(f"  and {len(messages) - _MESSAGES_SHOWN:,} more"))


def _plain(text: str) -> Text:
    """A user's text as it is: no markup, and control characters written out."""
    return Text(terminal(text))
