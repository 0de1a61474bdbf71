"""Files of a user's own data as they stand: CSV and JSONL tables, and the arrays of npz, HDF5 and Parquet.

Nothing is interpreted here. What cannot be read is told to a `Report`: `refuse` raises it, and a list's `append`
collects it, after which reading goes on as far as it can.
"""

import csv
import io
import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.training.data.encodings import check_encoding
from scbch_keras.training.data.problems import Problem, Report, short

ARRAYS = ("image", "text", "labels", "ids", "clean_labels", "label_names", "split", "group")
_STRINGS = ("ids", "label_names", "split", "group")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
CORRUPT = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError),
    *(SyntaxError, TypeError, ValueError, zipfile.BadZipFile, zlib.error),
)
"""What numpy, zipfile and h5py raise for files that are damaged."""


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
                    row += [""] * (len(columns) - len(row))
                cells.append(dict(zip(columns, row, strict=False)))
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        place = f"{path.name}, row {len(cells) + 1} (line {line})"
        report(Problem("no CSV", f"{place}: {error}; is a quote left open, or not doubled inside quotes?"))
    return columns, cells, lines


def _check_header(place: str, columns: tuple[str, ...], report: Report) -> None:
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        report(Problem("column named twice", f"{place}: expected each column once, got twice: {twice}"))
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
        raise ValueError(f"a key stands there twice: {[key for key, _ in pairs]}")
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
    faults: list[Problem] = []  # told below, where a report that raises is not taken for a damaged file
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = _read_arrays(path.name, file, faults.append)
    except CORRUPT as error:
        raise ValueError(f"{path.name}: expected an npz file as numpy.savez writes it: {error}") from error
    for fault in faults:
        report(fault)
    return arrays


def read_hdf5(path: Path, report: Report) -> dict[str, Any]:
    """Those of `ARRAYS` that an HDF5 file holds; contiguous ones stay on disk. ValueError: it is no HDF5 file."""
    import h5py

    faults: list[Problem] = []
    try:
        with h5py.File(path) as file:
            arrays = _read_arrays(path.name, {name: _Dataset(file, name) for name in file}, faults.append)
    except CORRUPT as error:
        raise ValueError(f"{path.name}: expected an HDF5 file: {error}") from error
    for fault in faults:
        report(fault)
    return arrays


def own_dataset(file: Any, name: str) -> Any:
    """The dataset `name` of an open HDF5 file. ValueError if it is none, or its values lie in another file."""
    import h5py

    if isinstance(file.get(name, getlink=True), h5py.ExternalLink):
        raise ValueError("it is a link to another file, which is not followed")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError("it is a group")
    if dataset.external or dataset.is_virtual:
        raise ValueError("its values lie in other files, which are not read")
    return dataset


@dataclass(frozen=True)
class _Dataset:
    file: Any
    name: str

    def read(self) -> NDArray[Any]:
        import h5py

        dataset = own_dataset(self.file, self.name)
        if h5py.check_string_dtype(dataset.dtype):
            return np.asarray(dataset.asstr()[()], dtype=str)
        offset = dataset.id.get_offset()  # None unless contiguous
        if offset is None or dataset.dtype.kind not in "fiu" or self.file.userblock_size or not dataset.size:
            return dataset[()]
        return np.memmap(self.file.filename, dataset.dtype, "r", offset, dataset.shape)


def _read_arrays(name: str, file: Mapping[str, Any], report: Report) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    for key in (key for key in ARRAYS if key in file):
        try:
            value = file[key]
            value = value.read() if isinstance(value, _Dataset) else value
            arrays[key] = as_strings(value) if key in _STRINGS else value
        except CORRUPT as error:
            hint = ""
            if "allow_pickle" in str(error):
                hint = "; objects would be unpickled, which can run code: save it as numbers, or as str"
            report(Problem("unreadable array", f"{name}: the array {key!r} cannot be read: {error}{hint}"))
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
            table = file.read(columns)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path.name}: expected a Parquet file: {error}") from error
    arrays: dict[str, Any] = {}
    for key in ARRAYS:
        column = names.get(key, key)
        if column in columns:
            place = f"{path.name}: column {column!r}"
            read = _parquet_strings if key in _STRINGS else _parquet_lists
            value = read(place, table.column(column), report)
            if value is not None:
                arrays[key] = value
    return arrays


def _parquet_strings(place: str, column: Any, report: Report) -> NDArray[np.str_] | None:
    values = column.to_pylist()
    for row, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, str | int):
            report(Problem("no string", f"{place}: row {row}: expected a string, got {short(value)}", row))
    return np.array([str(value) for value in values], dtype=str)


def _parquet_lists(place: str, column: Any, report: Report) -> Any:
    import pyarrow as pa

    types = pa.types
    kind = column.type
    if not (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)):
        report(Problem("column type", f"{place}: expected a column of lists, got {kind}{_list_hint(place)}"))
        return None
    inner = kind.value_type
    if types.is_string(inner) or types.is_large_string(inner):
        return _parquet_string_lists(place, column, report)
    if not (types.is_integer(inner) or types.is_floating(inner) or types.is_boolean(inner)):
        report(Problem("column type", f"{place}: expected lists of numbers, got {kind}"))
        return None
    return _parquet_matrix(place, column, report)


def _list_hint(place: str) -> str:
    return '; write the names of a row as a list, such as ["cat", "dog"]' if "labels" in place else ""


def _parquet_string_lists(place: str, column: Any, report: Report) -> list[list[str]]:
    lists = column.to_pylist()
    for row, names in enumerate(lists):
        if names is None or None in names:
            message = f"{place}: row {row}: expected a list of strings, got {short(names)}"
            report(Problem("no labels list", message, row))
            lists[row] = [name for name in names or [] if name is not None]
    return lists


def _parquet_matrix(place: str, column: Any, report: Report) -> NDArray[Any]:
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
    matrix = np.full((len(good), width), np.nan)
    matrix[good] = values.reshape(-1, width)
    return matrix
