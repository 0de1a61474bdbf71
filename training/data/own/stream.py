"""Inputs of an encoder in files of any size: arrays, lines, table columns and pictures, read block by block."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from scbch_keras.checks import shown
from scbch_keras.export.serving.codes_file import Block
from scbch_keras.files import check_plain
from scbch_keras.safe_text import visible
from scbch_keras.stored import CORRUPT
from scbch_keras.training.data.own.columns import CAPTIONS, Columns, parsed, renamed_arrays, renamed_row
from scbch_keras.training.data.own.file_formats import ARRAY_READERS, TABLE_READERS
from scbch_keras.training.data.own.folders import pictures_in
from scbch_keras.training.data.own.formats import Column, slices, whole_arrays
from scbch_keras.training.data.own.rows import checked_utf8, text_lines
from scbch_keras.training.data.problems import RefusedError, refuse

_COLUMNS = {"image": "picture", "text": "text"}
_IDS = "ids"
_ID = "id"


@dataclass(frozen=True)
class Inputs:
    """What there is to encode.

    modality: "image" or "text".
    rows: how many there are, None where only reading to the end tells.
    blocks: (inputs, ids or None), in the order of the file.
    are_pictures: whether the inputs are paths of pictures, each with an id.
    """

    modality: str
    rows: int | None
    blocks: Iterator[Block]
    are_pictures: bool = False


def open_inputs(
    path: Path, modality: str | None, key: str | None, size: int, columns: str | None = None
) -> Inputs:
    """The inputs in a file or folder, `size` rows a block.

    .npy, or what `scbch train` reads arrays from: an array of features, pictures or strings; `key` names it where
    there are several (default: the modality); strings under "ids" are their ids. .txt: a text a line; .csv, .jsonl:
    the texts of a column (`key`, default "text"); with modality "image" these hold paths of pictures (column
    "picture"), relative to the file. A column "id" gives ids. A folder: the pictures in it and below
    (`pictures_in`), sorted by path, which is their id. `columns` says which of the file's columns are
    ours, as for `read_own`; of those only inputs and ids play a part.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: what cannot be read, also while the blocks are read; the row is named.
    """
    if modality not in (None, *_COLUMNS):
        raise ValueError(f"modality: expected one of {', '.join(_COLUMNS)}, got {modality!r}")
    names = parsed(columns)
    if names and (path.is_dir() or path.suffix.lower() in (".txt", ".npy")):
        raise ValueError(f"{path} has no columns: columns={columns!r} have no use")
    if path.is_dir():
        if modality == "text" or key is not None:
            raise ValueError(f"{path} is a folder, of pictures then: modality 'text' and a key have no use")
        return _folder(path, size)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    check_plain(path)
    suffix = path.suffix.lower()
    if suffix == ".txt" or suffix in TABLE_READERS:
        if suffix == ".txt" and key is not None:
            raise ValueError(f"{path} has lines and no columns: a key has no use")
        modality = modality or "text"
        used = _used(names, key, "id", _COLUMNS[modality], *[CAPTIONS] * (modality == "text"))
        rows = (
            _text_lines(path) if suffix == ".txt" else _cells(path, suffix, key or _COLUMNS[modality], used)
        )
        if modality == "image":
            rows = ((str(path.parent / name), name if id is None else id) for name, id in rows)
        return Inputs(modality, None, _batched(rows, size), modality == "image")
    if suffix not in (".npy", *ARRAY_READERS):
        expected = ", ".join((".npy", *ARRAY_READERS, ".txt", *TABLE_READERS))
        raise ValueError(f"{path}: expected a folder or one of {expected}")
    if modality is None:
        raise ValueError(f"{path} holds arrays: say with the modality whether image or text")
    if suffix == ".npy":
        if key is not None:
            raise ValueError(f"{path} holds one array: a key has no use")
        count, blocks = slices(_npy(path), size)
        return Inputs(modality, *_in_blocks(count, blocks, None))
    arrays = ARRAY_READERS[suffix](path, refuse)
    arrays = renamed_arrays(path.name, arrays, _used(names, key, "id", "ids", modality))
    return Inputs(modality, *_array(path, arrays, key or modality, size))


def _used(names: Columns, key: str | None, *ours: str) -> Columns:
    used = {name: names[name] for name in ours if name in names}
    if key is not None and set(used) - {"id", "ids"}:
        raise ValueError(f"the key {key!r} and columns both name the inputs, expected one of them")
    return used


def _folder(folder: Path, size: int) -> Inputs:
    names = pictures_in(folder)
    return Inputs("image", len(names), _batched(((str(folder / name), name) for name in names), size), True)


def _npy(path: Path) -> Any:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except CORRUPT as error:
        raise ValueError(f"{path}: expected an array as numpy.save writes it: {error}") from error
    if not isinstance(array, np.ndarray) or array.ndim == 0:
        raise ValueError(f"{path}: expected an array with a row for each input")
    return array


def _array(path: Path, columns: Mapping[str, Any], key: str, size: int) -> tuple[int, Iterator[Block]]:
    """The number of rows of an array of a file, and its blocks with their ids."""
    try:
        if key not in columns:
            raise ValueError(f"there is none; there are {', '.join(columns) or 'none'}")
        column = columns[key]
        rows, blocks = column.blocks(size) if isinstance(column, Column) else slices(column, size)
        ids = whole_arrays(path.name, {_IDS: columns[_IDS]} if _IDS in columns else {}, refuse).get(_IDS)
        if ids is not None and ids.shape != (rows,):
            raise ValueError(f"ids: expected one for each of the {rows} rows, got shape {ids.shape}")
    except RefusedError:
        raise
    except CORRUPT as error:
        raise ValueError(f"{path}: the array {key!r} cannot be read: {error}") from error
    return _in_blocks(rows, blocks, None if ids is None else ids.tolist())


def _in_blocks(rows: int, blocks: Iterator[Any], ids: list[str] | None) -> tuple[int, Iterator[Block]]:
    def named() -> Iterator[Block]:
        start = 0
        for block in blocks:
            yield block, None if ids is None else ids[start : start + len(block)]
            start += len(block)

    return rows, named()


def _batched(rows: Iterator[tuple[str, str | None]], size: int) -> Iterator[Block]:
    """One block at least, though empty."""
    block = list(islice(rows, size))
    while True:
        ids = [name for _, name in block if name is not None]
        yield [row for row, _ in block], ids or None
        if not (block := list(islice(rows, size))):
            return


def _text_lines(path: Path) -> Iterator[tuple[str, str | None]]:
    for number, line in enumerate(text_lines(path), 1):
        text = checked_utf8(line, f"{path.name}, line {number}", number - 1, refuse)
        yield text.removesuffix("\n").removesuffix("\r"), None


def _cells(path: Path, suffix: str, column: str, names: Columns) -> Iterator[tuple[str, str | None]]:
    named: bool | None = None
    rows = TABLE_READERS[suffix](path, refuse).rows
    for place, row in (new for old in rows for new in renamed_row(old, names, 0, refuse)):
        if column not in row:
            raise ValueError(
                f"{place}: the column {column!r} is missing; found: {', '.join(map(visible, row))}"
            )
        text = row[column]
        if not isinstance(text, str):
            raise ValueError(f"{place}: {column}: expected a string, got {shown(text)}")
        named = _ID in row if named is None else named
        name = row.get(_ID)
        if (_ID in row) != named or (named and (isinstance(name, bool) or not isinstance(name, str | int))):
            raise ValueError(
                f"{place}: {_ID}: expected a string or an integer in all rows or none, got {shown(name)}"
            )
        if name == "":
            raise ValueError(f"{place}: {_ID}: expected a value, got an empty cell")
        yield text, str(name) if named else None
