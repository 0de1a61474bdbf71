"""A user's own data: a file of features, or a folder of pictures with a table; its split into three parts.

Rows of tables are counted from 1, after the header, and told with their line; rows of arrays from 0.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scbch_keras.training.data.own.arrays import ArrayPairs, array_pairs
from scbch_keras.training.data.own.columns import parsed, read_table, renamed_arrays
from scbch_keras.training.data.own.file_formats import ARRAY_READERS, TABLE_READERS
from scbch_keras.training.data.own.fixed_data import data_file
from scbch_keras.training.data.own.groups import agree, draw_rows, shared_items
from scbch_keras.training.data.own.pictures import Progress, RawPairs, raw_pairs
from scbch_keras.training.data.own.vocabulary import check_names
from scbch_keras.training.data.pairs import Pairs, RetrievalData
from scbch_keras.training.data.problems import SPLITS, Report, refuse


class Gathered(NamedTuple):
    """Data with what was noted while it was read: SHA-256 of each picture (None: not read), unused columns."""

    pairs: RawPairs | ArrayPairs
    digests: tuple[str | None, ...] = ()
    ignored: tuple[str, ...] = ()


class OwnSplit(NamedTuple):
    """Rows (int64, ascending) of the three parts of a split, and how they were chosen."""

    train: NDArray[np.int64]
    query: NDArray[np.int64]
    database: NDArray[np.int64]
    notes: dict[str, str]


def read_own(
    path: str | os.PathLike[str],
    separator: str = ";",
    label_names: Sequence[str] | None = None,
    *,
    check_pictures: bool = True,
    progress: Progress | None = None,
    columns: str | None = None,
) -> RawPairs | ArrayPairs:
    """Read and check a user's data: the first thing wrong in it is an error, `describe` lists them all.

    Args:
        path: .npz, .h5, .hdf5, .mat or .parquet with features; or a folder of pictures with one .csv or .jsonl table
            in it, or that table; or the folder that `scbch fix` wrote.
        separator: one character, between the labels of a cell.
        label_names: the vocabulary of an earlier run: labels then are in its order, and others are refused.
            None: the names that occur, sorted; or those of the file.
        check_pictures: whether every picture is opened and decoded.
        progress: is told (done, total) after each picture.
        columns: which of the file's columns are ours, "picture=image,text=caption"; those not named have our names.

    Raises:
        ValueError: names the file, the row and the value, what was expected and what came.
        ImportError: the file needs a package that is not installed; the message says which.
    """
    return gather(path, separator, label_names, refuse, check_pictures, progress, columns).pairs


def gather(
    path: str | os.PathLike[str],
    separator: str,
    label_names: Sequence[str] | None,
    report: Report,
    check_pictures: bool = True,
    progress: Progress | None = None,
    columns: str | None = None,
) -> Gathered:
    """As `read_own`, but tells problems to `report`; what comes back after one is good for counting alone.

    Raises:
        ValueError: nothing can be read, or an argument is wrong.
    """
    file, names = Path(path), parsed(columns)
    vocabulary = None if label_names is None else check_names("label_names", label_names)
    if not isinstance(separator, str) or len(separator) != 1 or separator.isalnum() or separator in '"\r\n':
        raise ValueError(f"separator: expected one character, no letter, digit or quote, got {separator!r}")
    file = data_file(file)
    if not file.is_file():
        raise ValueError(f"{file}: there is no such file or folder")
    ending = file.suffix.lower()
    if ending in ARRAY_READERS:
        arrays = renamed_arrays(file.name, ARRAY_READERS[ending](file, report), names)
        return Gathered(array_pairs(file, arrays, vocabulary, report))
    if ending in TABLE_READERS:
        table = read_table(file.name, TABLE_READERS[ending](file, report), names, report)
        return Gathered(*raw_pairs(file, table, separator, vocabulary, report, check_pictures, progress))
    expected = ", ".join((*ARRAY_READERS, *TABLE_READERS))
    raise ValueError(f"{file.name}: expected a folder of pictures with a table, or one of {expected}")


def split_own(data: RawPairs | ArrayPairs, queries: float | None, seed: int) -> OwnSplit:
    """The rows of training set, queries and database, which `retrieval_data` makes into these.

    Where the data has a split, that is taken and `queries` is not used, which the notes say. Else `queries` rows
    (a whole number >= 1, or a share in (0, 1) that is rounded) are drawn with `default_rng(seed)`, and the rest
    is both training set and database. Rows of one item (`groups`) stay together: as many whole items are drawn as
    there are rows asked for, or a little fewer.

    Raises:
        ValueError: no queries or nothing else would be left, or an argument is no such number.
    """
    known = data.clean_labels is not None
    evaluated = (
        "clean_labels of the data" if known else "the given ones, wrong ones included: no clean ones known"
    )
    notes = {"labels of queries and database": evaluated}
    if data.split is not None:
        unused = "" if queries is None else f"; queries={queries} not used"
        train, query, database = (np.flatnonzero(data.split == part) for part in SPLITS)
        notes["split"] = f"the split of the data{unused}"
        if shared := shared_items(data.groups, query, np.concatenate([train, database])):
            notes["one picture, several rows"] = (
                f"{shared} items of the queries also have rows in training set or database, which makes results "
                f"look better than they are ({_items(data)}): mend the split"
            )
        return OwnSplit(train, query, database, notes)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed: expected a whole number >= 0, got {seed!r}")
    rows = len(data)
    query = draw_rows(data.groups, rows, _query_count(queries, rows), seed)
    if len(query) == rows:
        raise ValueError(f"queries: all {rows} rows are one item ({_items(data)}), which cannot be split")
    rest = np.setdiff1d(np.arange(rows), query)
    notes["split"] = (
        f"{len(query)} of {rows} rows drawn as queries, seed {seed}; the rest is trained on and searched"
    )
    if data.groups is not None:
        notes["one picture, several rows"] = f"rows of an item are on one side of the split: {_items(data)}"
    return OwnSplit(rest, query, rest, notes)


def _items(data: RawPairs | ArrayPairs) -> str:
    groups = data.groups
    return "" if groups is None else f"{len(data)} rows of {groups.items} items, by {groups.origin}"


def _query_count(queries: Any, rows: int) -> int:
    number = isinstance(queries, int | float | np.number) and not isinstance(queries, bool)
    share = number and 0 < queries < 1
    if not share and not (number and queries >= 1 and queries == int(queries)):
        raise ValueError(
            f"queries: expected a whole number >= 1 or a share in (0, 1), as there is no split, got {queries!r}"
        )
    count = round(queries * rows) if share else int(queries)
    if not 0 < count < rows:
        raise ValueError(
            f"queries: expected 1 to {rows - 1} of the {rows} rows, got {queries!r}, which is {count}"
        )
    return count


def retrieval_data(
    data: RawPairs | ArrayPairs,
    split: OwnSplit,
    title: str,
    image: NDArray[Any] | None = None,
    text: NDArray[Any] | None = None,
) -> RetrievalData:
    """The three parts as `Pairs`. Queries and database carry the clean labels where these are known.

    image, text: the features (n, ...) of `RawPairs`, all rows; `ArrayPairs` bring their own.
    Raises ValueError if there are features missing, or too many.
    """
    features = {"image": image, "text": text}
    if isinstance(data, ArrayPairs):
        if image is not None or text is not None:
            raise ValueError("image, text: the data has features of its own, expected no others")
        features = {"image": data.image, "text": data.text}
    for name, values in features.items():
        if values is None or len(values) != len(data):
            actual = "none" if values is None else f"{len(values)} rows"
            raise ValueError(f"{name}: expected the features of all {len(data)} rows, got {actual}")
    pictures, texts = (data.pictures, data.texts) if isinstance(data, RawPairs) else (None, None)
    # Pairs.groups share their labels; captions of one picture need not.
    groups, notes = None, dict(split.notes)
    if data.groups is not None and agree(data.groups, data.labels):
        groups = data.groups.numbers
    elif data.groups is not None:
        notes["labels of one item"] = "they differ: noise and posterior labels take each row by itself"

    def part(rows: NDArray[np.int64], clean: NDArray[np.uint8] | None) -> Pairs:
        return Pairs(
            image=np.asarray(features["image"])[rows],
            text=np.asarray(features["text"])[rows],
            labels=(data.labels if clean is None else clean)[rows],
            ids=data.ids[rows],
            clean_labels=None if data.clean_labels is None else data.clean_labels[rows],
            pictures=None if pictures is None else tuple(pictures[row] for row in rows),
            texts=None if texts is None else tuple(texts[row] for row in rows),
            groups=None if groups is None else groups[rows],
        )

    return RetrievalData(
        name=Path(data.source.name).stem,
        title=title,
        train=part(split.train, None),
        query=part(split.query, data.clean_labels),
        database=part(split.database, data.clean_labels),
        label_names=data.label_names,
        sources=(data.source,),
        notes=notes,
    )
