"""Shards: Parquet files, TFRecord files and folders of pictures, each read block by block."""

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.checks import shown
from scbch_keras.export.serving.codes_file import Block
from scbch_keras.files import sha256_of
from scbch_keras.safe_text import visible
from scbch_keras.stored import CORRUPT
from scbch_keras.training.data.own.folders import pictures_in
from scbch_keras.training.data.own.parquet import check_column, opened_parquet

_PARQUET = (".parquet",)
_TFRECORD = (".tfrecord", ".tfrecords", ".tfrecord.gz", ".tfrecords.gz")


@dataclass(frozen=True)
class Columns:
    """What is read of a shard: the inputs' column, and the ids' one. Folders have neither: paths are their ids."""

    key: str
    id: str | None


def shards(pattern: str) -> dict[str, Path]:
    """Shards by name, in the order of their paths; a name is the path from what they have in common.

    Raises ValueError for a pattern without a match, or one that matches something else.
    """
    paths = [Path(path) for path in sorted(glob.glob(pattern, recursive=True))]
    if not paths:
        raise ValueError(f"INPUT: there is nothing that {pattern} matches")
    for path in paths:
        if not path.is_dir() and not path.name.lower().endswith((*_PARQUET, *_TFRECORD)):
            raise ValueError(
                f"{path}: expected a folder of pictures or one of {', '.join((*_PARQUET, *_TFRECORD))}"
            )
    base = Path(os.path.commonpath([path.parent for path in paths]))
    named: dict[str, Path] = {}
    for path in paths:
        name = "--".join(path.relative_to(base).parts)
        if name in named:
            raise ValueError(f"INPUT: {named[name]} and {path} would both be called {name}")
        named[name] = path.absolute()
    return named


def read(path: Path, columns: Columns, size: int) -> Iterator[Block]:
    """Blocks of a shard: inputs and ids. ValueError for a column that is missing, or rows that cannot be read."""
    if path.is_dir():
        names = pictures_in(path)
        for start in range(0, len(names), size):
            part = names[start : start + size]
            yield [str(path / name) for name in part], part
    elif path.name.lower().endswith(_PARQUET):
        yield from _parquet(path, [columns.key], columns.id, size)
    else:
        yield from _tfrecord(path, columns, size)


def read_ids(path: Path, columns: Columns) -> Iterator[list[str]]:
    """The ids of a shard, block by block; also checks that the inputs' column is there."""
    if path.is_dir():
        yield pictures_in(path)
    elif columns.id is None:
        _check_key(path, columns)
    elif path.name.lower().endswith(_PARQUET):
        _check_key(path, columns)
        for _, ids in _parquet(path, [], columns.id, 2**16):
            yield list(ids or ())
    else:
        for _, ids in _tfrecord(path, columns, 2**10):
            yield list(ids or ())


def fingerprint(path: Path) -> str:
    """A checksum of what a shard holds; of a folder, of the names and contents of its pictures."""
    if not path.is_dir():
        return sha256_of(path)
    from hashlib import sha256

    listed = "\n".join(f"{name} {sha256_of(path / name)}" for name in pictures_in(path))
    return sha256(listed.encode(errors="surrogateescape")).hexdigest()


def _check_key(path: Path, columns: Columns) -> None:
    if path.name.lower().endswith(_PARQUET):
        with opened_parquet(path) as file:
            _check_columns(path, file.schema_arrow.names, [columns.key])
    else:
        next(_tfrecord(path, columns, 1), None)


def _check_columns(path: Path, names: list[str], wanted: list[str]) -> None:
    for name in wanted:
        if names.count(name) != 1:
            raise ValueError(
                f"{path}: the column {name!r} is missing; found: {', '.join(map(visible, names))}"
            )


def _parquet(path: Path, keys: list[str], id: str | None, size: int) -> Iterator[Block]:
    wanted = [*keys, *([id] if id is not None else [])]
    with opened_parquet(path) as file:
        _check_columns(path, file.schema_arrow.names, wanted)
        row = 0
        try:
            for name in wanted:
                check_column(file, name, path.stat().st_size)
            for batch in file.iter_batches(size, columns=wanted):
                place = f"{path}, row {row}"
                inputs = _values(place, batch.column(keys[0])) if keys else None
                ids = None if id is None else _ids(place, batch.column(id).to_pylist())
                yield inputs, ids
                row += len(batch)
        except CORRUPT as error:
            if str(path) in str(error):
                raise
            raise ValueError(f"{path}, from row {row} on: it is damaged: {error}") from error


def _values(place: str, column: Any) -> Any:
    """Numbers (n, d), strings or bytes."""
    import pyarrow as pa

    if column.null_count:
        raise ValueError(
            f"{place}: expected a value in each row, got {column.null_count} without one from here on"
        )
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        return column.to_pylist()
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise ValueError(
            f"{place}: expected lists of numbers, strings, or picture files as bytes, got {kind}"
        )
    flat = column.flatten()
    if flat.null_count or not (pa.types.is_integer(flat.type) or pa.types.is_floating(flat.type)):
        raise ValueError(
            f"{place}: expected lists of numbers, got {kind} with {flat.null_count} empty places"
        )
    width, rest = divmod(len(flat), max(1, len(column)))
    lengths = {len(cell) for cell in column} if not pa.types.is_fixed_size_list(kind) else {width}
    if rest or len(lengths) > 1:
        raise ValueError(
            f"{place}: expected lists of one length, got lengths from {min(lengths)} to {max(lengths)}"
        )
    return flat.to_numpy(zero_copy_only=False).reshape(len(column), width)


def _ids(place: str, values: list[Any]) -> list[str]:
    for offset, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValueError(
                f"{place}: ids: expected a string or an integer, got {shown(value)} {offset} rows on"
            )
    return [str(value) for value in values]


def _tfrecord(path: Path, columns: Columns, size: int) -> Iterator[Block]:
    from scbch_keras.training.tfx.examples import records

    inputs: list[Any] = []
    ids: list[str] = []
    for number, example in enumerate(records(path)):
        place = f"{path}, record {number}"
        inputs.append(_feature(place, example, columns.key))
        if columns.id is not None:
            (value,) = _feature(place, example, columns.id, of_one=True)
            ids += _ids(place, [value.decode() if isinstance(value, bytes) else int(value)])
        if len(inputs) == size:
            yield _stacked(place, inputs), ids or None
            inputs, ids = [], []
    if inputs:
        yield _stacked(str(path), inputs), ids or None


def _feature(place: str, example: Any, name: str, of_one: bool = False) -> Any:
    features = example.features.feature
    kind = features[name].WhichOneof("kind") if name in features else None
    if kind is None:
        raise ValueError(
            f"{place}: the feature {name!r} is missing; found: {', '.join(map(visible, sorted(features))) or 'none'}"
        )
    values = list(getattr(features[name], kind).value)
    if (of_one or kind == "bytes_list") and len(values) != 1:
        raise ValueError(f"{place}: {name}: expected one value, got {len(values)}")
    return values


def _stacked(place: str, inputs: list[Any]) -> list[Any] | NDArray[Any]:
    if isinstance(inputs[0][0] if inputs[0] else 0.0, bytes):
        return [values[0] for values in inputs]
    if len({len(values) for values in inputs}) > 1:
        raise ValueError(f"{place}: expected lists of one length up to here")
    return np.asarray(inputs, np.float32)
