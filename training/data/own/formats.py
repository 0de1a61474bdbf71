"""Files of a user's own data as they stand: CSV and JSONL tables, and the arrays of npz, HDF5 and Parquet.

Nothing is interpreted here. What cannot be read is told to a `Report`: `refuse` raises it, and a list's `append`
collects it, after which reading goes on as far as it can.
"""

import csv
import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.limits import check_unfolded
from scbch_keras.npz import load_npz, npz_names, string_array
from scbch_keras.training.data.own.encodings import check_encoding
from scbch_keras.training.data.problems import CORRUPT, Problem, Report, short

ARRAYS = ("image", "text", "labels", "ids", "clean_labels", "label_names", "split", "group")
_STRINGS = ("ids", "label_names", "split", "group")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True)
class Table:
    """Rows of a CSV or JSONL file: `cells` by column, and the line on which each row begins."""

    name: str
    columns: tuple[str, ...]
    cells: list[dict[str, Any]]
    lines: list[int]

    def place(self, row: int) -> str:
        """Where a row (from 0) is, as messages say it: rows are counted from 1, after the header."""
        return f"{self.name}, row {row + 1} (line {self.lines[row]})"


def read_csv(path: Path, report: Report) -> Table:
    """A CSV file in UTF-8 with a header; ',' parts the columns, '"' quotes cells. Empty lines are no rows."""
    table = Table(path.name, *_csv_rows(path, report))
    for row, cells in enumerate(table.cells):
        for column, cell in cells.items():
            cells[column] = _utf8(cell, f"{table.place(row)}, {column}", row, report)
    return table


def _decoded(path: Path) -> str:
    content = path.read_bytes()
    check_encoding(path.name, content[:4])
    return content.decode("utf-8-sig", errors="surrogateescape")


def _csv_rows(path: Path, report: Report) -> tuple[tuple[str, ...], list[dict[str, Any]], list[int]]:
    # bytes that are not UTF-8 come as lone surrogates: their row is known once the CSV is parsed
    text = _decoded(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: tuple[str, ...] = ()
    cells: list[dict[str, Any]] = []
    lines: list[int] = []
    line = 1
    try:
        for row in reader:
            if row and not columns:
                header = f"{path.name}, header (line {line})"
                columns = tuple(_utf8(name, header, None, report) for name in row)
                _check_header(header, columns, report)
            elif row:
                if len(row) != len(columns):
                    message = f"expected {len(columns)} cells, as in the header, got {len(row)}: {short(row)}"
                    place = f"{path.name}, row {len(cells) + 1} (line {line})"
                    report(Problem("number of cells", f"{place}: {message}", len(cells)))
                cells.append(dict(zip(columns, row, strict=False)))
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        place = f"{path.name}, row {len(cells) + 1} (line {line})"
        report(Problem("no CSV", f"{place}: {error}; is a quote left open, or not doubled inside quotes?"))
    return columns, cells, lines


def _check_header(place: str, columns: tuple[str, ...], report: Report) -> None:
    twice = sorted(name for name, count in Counter(columns).items() if count > 1)
    if twice:
        report(
            Problem("column named twice", f"{place}: expected each column once, got twice: {short(twice)}")
        )
    if len(columns) == 1 and (other := re.search("[;\t|]", columns[0])):
        message = f"columns must be parted by ',', got {other[0]!r} in {columns[0]!r}"
        report(Problem("column separator", f"{place}: {message}; save the table with commas"))


def read_jsonl(path: Path, report: Report) -> Table:
    """A JSON object a line, in UTF-8; the columns are all keys that occur. Empty lines are no rows."""
    text = _decoded(path)
    cells: list[dict[str, Any]] = []
    lines: list[int] = []
    for line, content in enumerate(re.split("\r\n|\n|\r", text), 1):
        if not content.strip():
            continue
        row = len(cells)
        place = f"{path.name}, row {row + 1} (line {line})"
        cells.append(_json_object(_utf8(content, place, row, report), place, row, report))
        lines.append(line)
    columns = tuple(dict.fromkeys(name for row_cells in cells for name in row_cells))
    return Table(path.name, columns, cells, lines)


def _json_object(content: str, place: str, row: int, report: Report) -> dict[str, Any]:
    try:
        value = json.loads(content, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        report(Problem("no JSON", f"{place}: expected a JSON object, got {short(content)}: {error}", row))
        return {}
    if not isinstance(value, dict) or not value:
        report(Problem("no JSON", f"{place}: expected a JSON object with keys, got {short(value)}", row))
        return {}
    return value


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """`object_pairs_hook` that refuses a key that stands twice, of which json would keep the last. ValueError."""
    if len(dict(pairs)) < len(pairs):
        twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        raise ValueError(f"a key stands there twice: {short(twice)}")
    return dict(pairs)


def _utf8(text: str, place: str, row: int | None, report: Report) -> str:
    if found := _NOT_UTF8.search(text):
        byte = ord(found[0]) - 0xDC00
        around = _NOT_UTF8.sub("\N{REPLACEMENT CHARACTER}", text[max(0, found.start() - 15) :])
        message = f"{place}: byte 0x{byte:02x} is not UTF-8, in {short(around)}; save the table as UTF-8"
        report(Problem("not UTF-8", message, row))
    return _NOT_UTF8.sub("\N{REPLACEMENT CHARACTER}", text)


def read_npz(path: Path, report: Report) -> dict[str, Any]:
    """Those of `ARRAYS` that an npz file holds; pickled ones are not read. ValueError: it is no npz file."""
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path.name}: expected an npz file as numpy.savez writes it; it is none, or truncated"
        )
    try:
        names = npz_names(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.name}: expected an npz file as numpy.savez writes it: {error}") from error
    return _read_arrays(path.name, names, lambda name: load_npz(path, (name,))[name], report)


def read_hdf5(path: Path, report: Report) -> dict[str, Any]:
    """Those of `ARRAYS` that an HDF5 file holds; contiguous ones stay on disk. ValueError: it is no HDF5 file."""
    import h5py

    from scbch_keras.training.data.hdf5 import names_in

    try:
        file = h5py.File(path, "r")
        names = names_in(file)
    except CORRUPT as error:
        raise ValueError(f"{path.name}: expected an HDF5 file: {error}") from error
    with file:
        return _read_arrays(path.name, names, lambda name: _from_hdf5(file, name), report)


def _from_hdf5(file: Any, name: str) -> NDArray[Any]:
    import h5py

    from scbch_keras.training.data.hdf5 import dataset_in, strings_in

    dataset = dataset_in(file, name)
    if h5py.check_string_dtype(dataset.dtype):
        return strings_in(dataset)
    offset = dataset.id.get_offset()  # None unless contiguous
    if offset is None or dataset.dtype.kind not in "fiu" or file.userblock_size or not dataset.size:
        return dataset[()]
    return np.memmap(file.filename, dataset.dtype, "r", offset, dataset.shape)


def _read_arrays(
    file: str, names: Collection[str], read: Callable[[str], NDArray[Any]], report: Report
) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    for key in (key for key in ARRAYS if key in names):
        try:
            value = read(key)
            arrays[key] = as_strings(value) if key in _STRINGS else value
        except CORRUPT as error:
            fault = Problem("unreadable array", f"{file}: the array {key!r} cannot be read: {error}")
        else:
            continue
        report(fault)
    return arrays


def as_strings(values: NDArray[Any]) -> NDArray[np.str_]:
    """Strings and integers as str, bytes as UTF-8. ValueError for anything else."""
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8")
    if values.dtype.kind not in "Uiu":
        raise ValueError(f"expected strings or integers, got dtype {values.dtype}")
    return values.astype(str)


def read_parquet(path: Path, report: Report) -> dict[str, Any]:
    """The columns image, text, labels and, where there are any, id (as ids), clean_labels, split and group.

    List columns of numbers become arrays (n, width), of strings lists of lists. Rows of another width, or none,
    are reported and become NaN.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: it is no Parquet file.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(f"{path.name}: reading Parquet files needs pyarrow: pip install pyarrow") from error

    names = {"ids": "id"}
    try:
        with parquet.ParquetFile(path) as file:
            there = file.schema_arrow.names
            columns = [name for key in ARRAYS if (name := names.get(key, key)) in there]
            texts = _check_parquet(file, columns, path.stat().st_size)
        # A string of a dictionary is held once, however often it occurs.
        with parquet.ParquetFile(path, read_dictionary=texts) as file:
            # Lists of strings of a dictionary can be read within a row group alone.
            groups = [file.read_row_group(group, columns) for group in range(file.metadata.num_row_groups)]
            table = pa.concat_tables(groups) if groups else file.read(columns)
    except (pa.ArrowException, *CORRUPT) as error:
        raise ValueError(f"{path.name}: expected a Parquet file: {error}") from error
    arrays: dict[str, Any] = {}
    for key in ARRAYS:
        column = names.get(key, key)
        if column in columns:
            place = f"{path.name}: column {column!r}"
            read = _parquet_strings if key in _STRINGS else _parquet_lists
            value = read(place, table.column(column), report, path.stat().st_size)
            if value is not None:
                arrays[key] = value
    return arrays


def _check_parquet(file: Any, columns: Collection[str], stored: int) -> list[str]:
    """Refuse columns that unfold out of proportion to the file; the paths of those of strings."""
    widths = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}
    texts: set[str] = set()
    unpacked = 0
    for group in range(file.metadata.num_row_groups):
        for number in range(file.metadata.num_columns):
            column = file.metadata.row_group(group).column(number)
            path = column.path_in_schema
            if path.split(".")[0] not in columns:
                continue
            # Values, and the bits that say which are there; of strings the places in their dictionary.
            unpacked += column.num_values * (widths.get(column.physical_type, 4) + 1)
            if column.physical_type == "BYTE_ARRAY":
                texts.add(path)
                unpacked += column.total_uncompressed_size
                if "DELTA_BYTE_ARRAY" in column.encodings:
                    check_unfolded(path, column.num_values * column.total_uncompressed_size, stored)
    check_unfolded("its columns", unpacked, stored)
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


def _parquet_strings(place: str, column: Any, report: Report, stored: int) -> NDArray[np.str_] | None:
    values = _shared_strings(column)
    for row, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, str | int):
            report(Problem("no string", f"{place}: row {row}: expected a string, got {short(value)}", row))
    return string_array(place, [value if isinstance(value, str) else str(value) for value in values], stored)


def _parquet_lists(place: str, column: Any, report: Report, stored: int) -> Any:
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
        return _parquet_string_lists(place, column, report)
    if not (types.is_integer(inner) or types.is_floating(inner) or types.is_boolean(inner)):
        report(Problem("column type", f"{place}: expected lists of numbers, got {kind}"))
        return None
    return _parquet_matrix(place, column, report, stored)


def _list_hint(place: str) -> str:
    return '; write the names of a row as a list, such as ["cat", "dog"]' if "labels" in place else ""


def _parquet_string_lists(place: str, column: Any, report: Report) -> list[list[str]]:
    lists = _string_lists(column)
    for row, names in enumerate(lists):
        if names is None or None in names:
            message = f"{place}: row {row}: expected a list of strings, got {short(names)}"
            report(Problem("no labels list", message, row))
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


def _parquet_matrix(place: str, column: Any, report: Report, stored: int) -> NDArray[Any]:
    import pyarrow as pa
    from pyarrow import compute

    widths = compute.fill_null(compute.list_value_length(column), -1).to_numpy()
    width = max(0, int(widths[np.argmax(widths >= 0)])) if len(widths) else 0
    good = widths == width
    for row in np.flatnonzero(~good):
        got = f"{widths[row]}" if widths[row] >= 0 else "null"
        message = f"{place}: row {row}: expected {width} numbers, as in the rows before, got {got}"
        report(Problem("width of a list", message, int(row)))
    whole = column if good.all() else column.filter(pa.array(good))
    parts = [chunk.flatten() for chunk in whole.chunks]
    start = 0
    for part in parts:
        for position in np.flatnonzero(part.is_null().to_numpy(zero_copy_only=False)):
            bad = int(np.flatnonzero(good)[(start + position) // width])
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
