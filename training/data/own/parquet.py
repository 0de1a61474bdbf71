"""Parquet files: list columns of numbers as arrays (n, width), of strings as lists of lists."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.checks import shown
from scbch_keras.files import check_plain
from scbch_keras.limits import check_unfolded
from scbch_keras.npz import string_array
from scbch_keras.stored import CORRUPT
from scbch_keras.training.data.own.formats import STRINGS, Column
from scbch_keras.training.data.own.parquet_check import check_description
from scbch_keras.training.data.problems import Problem, RefusedError, Report, refuse


def read_parquet(path: Path, report: Report) -> dict[str, Column]:
    """The columns of a Parquet file; the column id is `ids`.

    Rows of another width, or none, are reported and become NaN.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: it is no Parquet file.
    """
    with opened_parquet(path) as file:
        names = [str(name) for name in file.schema_arrow.names]
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise ValueError(f"{path.name}: expected each column once, got twice: {shown(twice)}")
    columns = {"ids" if name == "id" else name: name for name in names}
    return {
        key: Column(partial(_whole, path, key, name, report), partial(_blocks, path, key, name))
        for key, name in columns.items()
    }


def opened_parquet(path: Path, **options: Any) -> Any:
    """A `pyarrow.parquet.ParquetFile`, whose columns can be looked at.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: it is no Parquet file.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(f"{path.name}: reading Parquet files needs pyarrow: pip install pyarrow") from error
    check_plain(path)
    try:
        status = path.stat()
        check_description(path, status.st_mtime_ns, status.st_size)
        return parquet.ParquetFile(path, **options)
    except Exception as error:  # pyarrow raises nearly anything for a damaged one
        raise ValueError(f"{path.name}: expected a Parquet file: {error}") from error


def _whole(path: Path, key: str, name: str, report: Report) -> Any:
    return next(_parts(path, key, name, None, report))


def _blocks(path: Path, key: str, name: str, size: int) -> tuple[int, Iterator[Any]]:
    with opened_parquet(path) as file:
        rows = file.metadata.num_rows
    return rows, _parts(path, key, name, size, refuse)


def _parts(path: Path, key: str, name: str, size: int | None, report: Report) -> Iterator[Any]:
    """The column in blocks, or at once."""
    import pyarrow as pa

    stored = path.stat().st_size
    place = f"{path.name}: column {name!r}"
    start = 0
    try:
        with opened_parquet(path) as file:
            texts = check_column(file, name, stored)
            kind = file.schema_arrow.field(name).type
        strings = key in STRINGS or (
            size is not None and (pa.types.is_string(kind) or pa.types.is_large_string(kind))
        )
        read = _parquet_strings if strings else _parquet_lists
        # A string of a dictionary is held once, however often it occurs.
        with opened_parquet(path, read_dictionary=texts if size is None else None) as file:
            if size is None or not file.metadata.num_rows:
                # Row groups one by one: pyarrow reads lists of strings of several at once not at all.
                groups = range(file.num_row_groups)
                empty = file.schema_arrow.empty_table().select([name])
                tables = iter(
                    [pa.concat_tables([file.read_row_group(group, [name]) for group in groups] or [empty])]
                )
            else:
                tables = (pa.Table.from_batches([batch]) for batch in file.iter_batches(size, columns=[name]))
            for table in tables:
                yield read(place, table.column(name), report, stored, start)
                start += len(table)
    except RefusedError:
        raise
    except (pa.ArrowException, *CORRUPT) as error:
        raise ValueError(f"{path.name}: expected a Parquet file: {error}") from error


def check_column(file: Any, name: str, stored: int) -> list[str]:
    """Refuse a column that unfolds out of proportion to the file; its paths of strings."""
    widths = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}
    texts: set[str] = set()
    unpacked = 0
    for group in range(file.metadata.num_row_groups):
        for number in range(file.metadata.num_columns):
            column = file.metadata.row_group(group).column(number)
            path = column.path_in_schema
            if path.split(".")[0] != name:
                continue
            # Values, and the bits that say which are there; of strings the places in their dictionary.
            unpacked += column.num_values * (widths.get(column.physical_type, 4) + 1)
            if column.physical_type == "BYTE_ARRAY":
                texts.add(path)
                unpacked += column.total_uncompressed_size
                if "DELTA_BYTE_ARRAY" in column.encodings:
                    check_unfolded(path, column.num_values * column.total_uncompressed_size, stored)
    check_unfolded(name, unpacked, stored)
    return sorted(texts)


def _shared_strings(column: Any) -> list[Any]:
    """The values of a column of strings or other scalars, equal strings of a dictionary being one object."""
    import pyarrow as pa

    values: list[Any] = []
    for chunk in column.chunks:
        if pa.types.is_dictionary(chunk.type):
            known = chunk.dictionary.to_pylist()
            values += [None if place is None else known[place] for place in chunk.indices.to_pylist()]
        else:
            values += chunk.to_pylist()
    return values


def _parquet_strings(
    place: str, column: Any, report: Report, stored: int, first: int
) -> NDArray[np.str_] | None:
    values = _shared_strings(column)
    for row, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, str | int):
            report(
                Problem(
                    "no string",
                    f"{place}: row {first + row}: expected a string, got {shown(value)}",
                    first + row,
                )
            )
    return string_array(place, [value if isinstance(value, str) else str(value) for value in values], stored)


def _parquet_lists(place: str, column: Any, report: Report, stored: int, first: int) -> Any:
    import pyarrow as pa

    types = pa.types
    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    if not (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)):
        report(Problem("column type", f"{place}: expected a column of lists, got {kind}{_list_hint(place)}"))
        return None
    inner = kind.value_type
    if types.is_dictionary(inner):
        inner = inner.value_type
    if types.is_string(inner) or types.is_large_string(inner):
        return _parquet_string_lists(place, column, report, first)
    if not (types.is_integer(inner) or types.is_floating(inner) or types.is_boolean(inner)):
        report(Problem("column type", f"{place}: expected lists of numbers, got {kind}"))
        return None
    return _parquet_matrix(place, column, report, stored, first)


def _list_hint(place: str) -> str:
    return '; write the names of a row as a list, such as ["cat", "dog"]' if "labels" in place else ""


def _parquet_string_lists(place: str, column: Any, report: Report, first: int) -> list[list[str]]:
    lists = _string_lists(column)
    for row, names in enumerate(lists):
        if names is None or None in names:
            message = f"{place}: row {first + row}: expected a list of strings, got {shown(names)}"
            report(Problem("no labels list", message, first + row))
            lists[row] = [name for name in names or [] if name is not None]
    return lists


def _string_lists(column: Any) -> list[Any]:
    import pyarrow as pa

    lists: list[Any] = []
    for chunk in column.chunks:
        flat = iter(_shared_strings(pa.chunked_array([chunk.flatten()])))
        lengths = chunk.value_lengths().to_pylist()
        lists += [None if length is None else list(islice(flat, length)) for length in lengths]
    return lists


def _parquet_matrix(place: str, column: Any, report: Report, stored: int, first: int) -> NDArray[Any]:
    import pyarrow as pa
    from pyarrow import compute

    widths = compute.fill_null(compute.list_value_length(column), -1).to_numpy()
    width = max(0, int(widths[np.argmax(widths >= 0)])) if len(widths) else 0
    good = widths == width
    for row in np.flatnonzero(~good):
        got = f"{widths[row]}" if widths[row] >= 0 else "null"
        message = f"{place}: row {first + row}: expected {width} numbers, as in the rows before, got {got}"
        report(Problem("width of a list", message, first + int(row)))
    whole = column if good.all() else column.filter(pa.array(good))
    parts = [chunk.flatten() for chunk in whole.chunks]
    start = 0
    for part in parts:
        for position in np.flatnonzero(part.is_null().to_numpy(zero_copy_only=False)):
            bad = first + int(np.flatnonzero(good)[(start + position) // width])
            report(
                Problem("null", f"{place}: row {bad}: expected {width} numbers, got a null among them", bad)
            )
        start += len(part)
    values = np.concatenate([part.to_numpy(zero_copy_only=False) for part in parts] or [np.empty(0)])
    if values.dtype == object:  # booleans with nulls
        values = values.astype(float)
    if good.all():
        return values.reshape(len(good), width)
    check_unfolded(place, len(good) * width * 8, stored)
    matrix = np.full((len(good), width), np.nan)
    matrix[good] = values.reshape(-1, width)
    return matrix
