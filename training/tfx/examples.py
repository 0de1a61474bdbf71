"""TFRecord files of tf.Example: every record checked, all of them as arrays. Read with TensorFlow."""

import glob
import gzip
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.files import check_plain
from scbch_keras.limits import check_unfolded
from scbch_keras.training.data.pairs import Pairs, SourceFile
from scbch_keras.training.data.problems import source_file

_KINDS = {"image": ("float_list",), "text": ("float_list",), "labels": ("int64_list", "float_list")}
_DTYPES = {"image": "float32", "text": "float32", "labels": "uint8"}
FEATURES = tuple(_KINDS)


def read_examples(
    argument: str, patterns: Any, names: Mapping[str, str], like: Pairs | None = None
) -> tuple[Pairs, tuple[SourceFile, ...]]:
    """All records: image float32 (n, d), text float32 (n, e), labels uint8 0/1 (n, C); and the files they are from.

    They come in the order of `patterns`, the files of a pattern by name. A record's id is its number.

    Args:
        argument: what messages call `patterns`.
        patterns: a list of local paths with the wildcards of `glob`. A file named *.gz is GZIP, any other plain.
        names: what image, text (both lists of floats) and labels (of 0 and 1, int64 or float) are called in an
            Example. Its other features are not read.
        like: pairs with the widths to expect; None: those of the first record.

    Raises:
        ValueError: a pattern without a file, a file that cannot be read, no record at all, or a record whose
            features are missing, of another type or width, not finite, or no 0 and 1. The message names the
            file, the record (from 0, in its file) and the feature.
    """
    files = _files(argument, patterns)
    counts: Counter[Path] = Counter()
    rows = _rows(files, names, None if like is None else _widths(like), counts)
    first = next(rows, None)
    if first is None:
        raise ValueError(
            f"{argument}: expected at least one record, got none in {', '.join(map(str, files))}"
        )
    # Aligned, since torch takes no array whose rows do not start at a multiple of its item size.
    row_type = np.dtype([(name, _DTYPES[name], (len(values),)) for name, values in first.items()], align=True)
    table = np.fromiter((tuple(row.values()) for row in chain([first], rows)), row_type)
    sources = tuple(
        source_file(
            file, {name: f"({counts[file]}, {len(first[name])}) {_DTYPES[name]}" for name in FEATURES}
        )
        for file in files
    )
    image, text, labels = (table[name] for name in FEATURES)
    return Pairs(image, text, labels, np.arange(len(table)).astype(str)), sources


def _widths(pairs: Pairs) -> dict[str, int]:
    return {name: getattr(pairs, name).shape[1] for name in FEATURES}


def _rows(
    files: Sequence[Path], names: Mapping[str, str], widths: Mapping[str, int] | None, counts: Counter[Path]
) -> Iterator[dict[str, NDArray[Any]]]:
    """The values of each record, which is counted with its file."""
    for file in files:
        for number, example in enumerate(records(file)):
            place = f"{file}, record {number}"
            row = {name: _values(place, example, name, names[name]) for name in FEATURES}
            widths = widths or {name: len(values) for name, values in row.items()}
            for name, values in row.items():
                if len(values) != widths[name]:
                    raise ValueError(
                        f"{place}: {names[name]}: expected {widths[name]} values, as in the first record that "
                        f"was read, got {len(values)}"
                    )
            counts[file] += 1
            yield row


def _files(argument: str, patterns: Any) -> list[Path]:
    is_list = isinstance(patterns, list | tuple) and all(isinstance(item, str) for item in patterns)
    if not is_list or not patterns:
        raise ValueError(f"{argument}: expected a list of paths or patterns, got {patterns!r}")
    files: dict[Path, None] = {}
    for pattern in patterns:
        if "://" in pattern:
            raise ValueError(f"{argument}: expected local paths, got {pattern!r}")
        paths = [Path(path) for path in sorted(glob.glob(pattern))]
        if not paths:
            raise ValueError(f"{argument}: there is no file {pattern}")
        for file in paths:
            if not file.is_file():
                raise ValueError(f"{argument}: expected files, got the folder {file} by {pattern}")
            if file in files:
                raise ValueError(f"{argument}: expected each file once, got {file} again by {pattern}")
            files[file] = None
    return list(files)


def records(file: Path) -> Iterator[Any]:
    """The Examples of a file, parsed. Raises ValueError for one that is cut short, damaged, or no TFRecord file."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    compression = "GZIP" if file.suffix == ".gz" else ""
    expected = "GZIP, as its name ends in .gz" if compression else "not compressed; GZIP files end in .gz"
    if (cut := _first_cut_record(file, bool(compression))) is not None:
        raise ValueError(f"{file}, record {cut}: cut short, damaged, or no TFRecord file ({expected})")
    number = 0
    try:
        for record in tf.data.TFRecordDataset(str(file), compression).as_numpy_iterator():
            yield tf.train.Example.FromString(record)
            number += 1
    except DecodeError as error:
        raise ValueError(f"{file}, record {number}: expected a tf.Example: {error}") from error
    except tf.errors.OpError as error:
        raise ValueError(
            f"{file}, record {number}: cut short, damaged, or no TFRecord file ({expected})"
        ) from error


def _first_cut_record(file: Path, compressed: bool) -> int | None:
    """The first record that declares more bytes than follow, None if all are whole.

    TensorFlow takes the memory that a record declares before it reads it, and ends the process where there is none.
    ValueError if a compressed file unfolds out of proportion.
    """
    check_plain(file)
    stored, number, unpacked = file.stat().st_size, 0, 0
    try:
        with gzip.open(file) if compressed else file.open("rb") as stream:
            while head := stream.read(12):
                left = int.from_bytes(head[:8], "little") + 4
                unpacked += 12 + left
                if len(head) < 12 or (not compressed and unpacked > stored):
                    return number
                check_unfolded(f"{file}, record {number}", unpacked, stored)
                if compressed:
                    while left:
                        block = stream.read(min(left, 2**20))
                        if not block:
                            return number
                        left -= len(block)
                else:
                    stream.seek(left, 1)
                number += 1
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return number
    return None


def _values(place: str, example: Any, name: str, called: str) -> NDArray[Any]:
    """The checked values (width,) of one feature."""
    features = example.features.feature
    kind = features[called].WhichOneof("kind") if called in features else None
    if kind is None:
        raise ValueError(
            f"{place}: the feature {called!r} is missing; found: {', '.join(sorted(features)) or 'none'}"
        )
    if kind not in _KINDS[name]:
        raise ValueError(f"{place}: {called}: expected a {' or '.join(_KINDS[name])}, got a {kind}")
    values = np.asarray(getattr(features[called], kind).value, None if kind == "int64_list" else np.float32)
    if not len(values):
        raise ValueError(f"{place}: {called}: expected at least one value, got none")
    if name == "labels":
        wrong, expected = (values != 0) & (values != 1), "0 and 1"
    else:
        wrong, expected = ~np.isfinite(values), "finite numbers"
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(f"{place}: {called}: expected {expected}, got {values[at]} at {at}")
    return values
