"""Inputs of an encoder in files of any size: arrays, lines, table columns and pictures, read block by block."""

import csv
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from scbch_keras.export.serving.codes_file import Block
from scbch_keras.npz import load_npz, npy_header, npz_names
from scbch_keras.stored import CORRUPT
from scbch_keras.training.data.own.encodings import split_lines
from scbch_keras.training.data.own.folders import PICTURE_SUFFIXES, visible_files
from scbch_keras.training.data.own.formats import as_strings, unique_keys
from scbch_keras.training.data.own.matlab import is_matlab_hdf5, read_matlab_rows
from scbch_keras.training.data.problems import short

_ARRAYS = (".npy", ".npz", ".h5", ".hdf5", ".mat")
_LINES = (".txt", ".csv", ".jsonl")
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


def open_inputs(path: Path, modality: str | None, key: str | None, size: int) -> Inputs:
    """The inputs in a file or folder, `size` rows a block.

    .npy, .npz, .h5, .mat: an array of features, pictures or strings; `key` names it where there are several (default:
    the modality); strings under "ids" are their ids. .txt: a text a line; .csv, .jsonl: the texts of a column
    (`key`, default "text"); with modality "image" these hold paths of pictures (column "picture"), relative to
    the file. A column "id" gives ids. A folder: the pictures in it and below (`visible_files`), sorted by path,
    which is their id.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: what cannot be read, also while the blocks are read; the row is named.
    """
    if modality not in (None, *_COLUMNS):
        raise ValueError(f"modality: expected one of {', '.join(_COLUMNS)}, got {modality!r}")
    if path.is_dir():
        if modality == "text" or key is not None:
            raise ValueError(f"{path} is a folder, of pictures then: modality 'text' and a key have no use")
        return _folder(path, size)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    suffix = path.suffix.lower()
    if suffix in _LINES:
        if suffix == ".txt" and key is not None:
            raise ValueError(f"{path} has lines and no columns: a key has no use")
        modality = modality or "text"
        rows = _text_lines(path) if suffix == ".txt" else _cells(path, suffix, key or _COLUMNS[modality])
        if modality == "image":
            rows = ((str(path.parent / name), name if id is None else id) for name, id in rows)
        return Inputs(modality, None, _batched(rows, size), modality == "image")
    if suffix not in _ARRAYS:
        raise ValueError(f"{path}: expected a folder or one of {', '.join((*_ARRAYS, *_LINES))}")
    if modality is None:
        raise ValueError(f"{path} holds arrays: say with the modality whether image or text")
    if suffix == ".npy":
        if key is not None:
            raise ValueError(f"{path} holds one array: a key has no use")
        return _npy(path, modality, size)
    if suffix == ".mat" or (suffix != ".npz" and is_matlab_hdf5(path)):
        array, ids = read_matlab_rows(path, key or modality)
        return Inputs(modality, len(array), _slices(array, _checked_ids(ids, len(array)), size))
    return (_npz if suffix == ".npz" else _hdf5)(path, modality, key or modality, size)


def _folder(folder: Path, size: int) -> Inputs:
    names = [path.relative_to(folder).as_posix() for path in visible_files(folder, PICTURE_SUFFIXES)]
    if not names:
        raise ValueError(f"{folder}: expected pictures ({', '.join(PICTURE_SUFFIXES)}), found none")
    return Inputs("image", len(names), _batched(((str(folder / name), name) for name in names), size), True)


def _npy(path: Path, modality: str, size: int) -> Inputs:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except CORRUPT as error:
        raise ValueError(f"{path}: expected an array as numpy.save writes it: {error}") from error
    if not isinstance(array, np.ndarray) or array.ndim == 0:
        raise ValueError(f"{path}: expected an array with a row for each input")
    return Inputs(modality, len(array), _slices(array, None, size))


def _hdf5(path: Path, modality: str, key: str, size: int) -> Inputs:
    import h5py

    from scbch_keras.training.data.hdf5 import dataset_in, names_in, strings_in

    try:
        file = h5py.File(path, "r")
        names = names_in(file)
    except CORRUPT as error:
        raise ValueError(f"{path}: expected an HDF5 file: {error}") from error
    try:
        if key not in names:
            raise ValueError(f"there is none; there are {', '.join(names)}")
        dataset: Any = dataset_in(file, key)
        if dataset.ndim == 0:
            raise ValueError("it has no rows")
        rows = len(dataset)
        if h5py.check_string_dtype(dataset.dtype):
            dataset = strings_in(dataset)
        ids: Any = dataset_in(file, _IDS) if _IDS in names else None
        if ids is not None:
            ids = strings_in(ids) if h5py.check_string_dtype(ids.dtype) else ids[()]
        checked = _checked_ids(ids, rows)
    except CORRUPT as error:
        file.close()
        raise ValueError(f"{path}: the dataset {key!r} cannot be read: {error}") from error
    return Inputs(modality, rows, _hdf5_blocks(file, dataset, checked, size))


def _hdf5_blocks(file: Any, dataset: Any, ids: list[str] | None, size: int) -> Iterator[Block]:
    with file:
        yield from _slices(dataset, ids, size)


def _npz(path: Path, modality: str, key: str, size: int) -> Inputs:
    try:
        names = npz_names(path)
        if key not in names:
            raise ValueError(f"there is none; there are {', '.join(names)}")
        ids = load_npz(path, (_IDS,)).get(_IDS)
        with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as member:
            shape, _ = _npy_header(member)
        checked = _checked_ids(ids, shape[0])
    except CORRUPT as error:
        raise ValueError(f"{path}: the array {key!r} cannot be read: {error}") from error
    return Inputs(modality, shape[0], _npz_blocks(path, key, checked, size))


def _npz_blocks(path: Path, key: str, ids: list[str] | None, size: int) -> Iterator[Block]:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as member:
            shape, dtype = _npy_header(member)
            width = int(np.prod(shape[1:])) * dtype.itemsize
            for start in range(0, max(shape[0], 1), size):
                rows = min(size, shape[0] - start)
                content = member.read(rows * width)
                if len(content) < rows * width:
                    raise ValueError("it ends too early")
                block = np.frombuffer(content, dtype).reshape(rows, *shape[1:])
                yield block, None if ids is None else ids[start : start + rows]
            # The archive's checksum is compared when the end is read.
            if member.read(1):
                raise ValueError("it goes on after its last row")
    except CORRUPT as error:
        raise ValueError(f"{path}: the array {key!r} is damaged: {error}") from error


def _npy_header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    shape, by_columns, dtype = npy_header(member)
    if dtype.hasobject:
        raise ValueError("it holds objects, which would be unpickled; save it as numbers, or as str")
    if not shape:
        raise ValueError("it has no rows")
    if by_columns and len(shape) > 1:
        raise ValueError("it lies column by column; save numpy.ascontiguousarray of it")
    return shape, dtype


def _checked_ids(ids: Any, rows: int) -> list[str] | None:
    if ids is None:
        return None
    if np.shape(ids) != (rows,):
        raise ValueError(f"ids: expected one for each of the {rows} rows, got shape {np.shape(ids)}")
    return as_strings(np.asarray(ids)).tolist()


def _slices(array: Any, ids: list[str] | None, size: int) -> Iterator[Block]:
    for start in range(0, max(len(array), 1), size):
        yield array[start : start + size], None if ids is None else ids[start : start + size]


def _batched(rows: Iterator[tuple[str, str | None]], size: int) -> Iterator[Block]:
    """One block at least, though empty."""
    block = list(islice(rows, size))
    while True:
        ids = [name for _, name in block if name is not None]
        yield [row for row, _ in block], ids or None
        if not (block := list(islice(rows, size))):
            return


def _text_lines(path: Path) -> Iterator[tuple[str, str | None]]:
    for _, line in _numbered_lines(path):
        yield line.removesuffix("\n").removesuffix("\r"), None


def _cells(path: Path, suffix: str, column: str) -> Iterator[tuple[str, str | None]]:
    named: bool | None = None
    for place, row in (_csv_rows if suffix == ".csv" else _json_rows)(path):
        if column not in row:
            raise ValueError(f"{place}: the column {column!r} is missing; found: {', '.join(row)}")
        text = row[column]
        if not isinstance(text, str):
            raise ValueError(f"{place}: {column}: expected a string, got {short(text)}")
        named = _ID in row if named is None else named
        name = row.get(_ID)
        if (_ID in row) != named or (named and (isinstance(name, bool) or not isinstance(name, str | int))):
            raise ValueError(
                f"{place}: {_ID}: expected a string or an integer in all rows or none, got {short(name)}"
            )
        yield text, str(name) if named else None


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.reader((line for _, line in _numbered_lines(path)), strict=True)
    header: list[str] = []
    try:
        for row in reader:
            place = f"{path}, line {reader.line_num}"
            if row and not header:
                if len(set(row)) < len(row):
                    raise ValueError(f"{place}: expected each column once, got {row}")
                header = row
            elif row:
                if len(row) != len(header):
                    raise ValueError(f"{place}: expected {len(header)} cells, got {len(row)}: {short(row)}")
                yield place, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from error


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in _numbered_lines(path):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = json.loads(line, object_pairs_hook=unique_keys)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{place}: expected a JSON object: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{place}: expected a JSON object, got {short(row)}")
        yield place, row


def _numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with the newline at their end; the first is 1."""
    for number, line in enumerate(split_lines(path), 1):
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}, line {number}: expected UTF-8: {error}") from error
