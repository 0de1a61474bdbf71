"""The same data file with other labels: everything else in it stays as it is, in text files byte for byte."""

import csv
import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scbch_keras.checks import shown
from scbch_keras.training.data.own.label_cells import is_list, names_in
from scbch_keras.training.data.own.matlab import is_matlab_hdf5
from scbch_keras.training.data.own.parquet import opened_parquet
from scbch_keras.training.data.own.vocabulary import wrong_labels

Changes = Mapping[int, Sequence[str]]
"""Row (from 0) -> its new labels."""
_BLANK = re.compile(r"\s*")


def write_labels(
    source: Path,
    target: Path,
    changes: Changes,
    label_names: Sequence[str],
    separator: str,
    column: str = "labels",
    rows: int | None = None,
) -> None:
    """Write `target`, which is `source` with the labels of some rows changed.

    Args:
        source: a data file that `read_own` takes.
        target: where there is none yet; of the same ending.
        changes: the new labels of rows.
        label_names: what the columns of labels 0/1 are called.
        separator: between the labels of a cell.
        column: of the labels, or what their array is called.
        rows: how many the data has, where it is a table.

    Raises:
        ValueError: a kind of file that is read but not written, or a table whose rows are not those of the data.
    """
    ending = source.suffix.lower()
    if ending not in _ENDINGS or (ending in (".h5", ".hdf5") and is_matlab_hdf5(source)):
        raise ValueError(
            f"{source.name}: labels are written to {', '.join(_ENDINGS)}, and MATLAB's files are read alone; save "
            "the arrays as .npz or .h5 and audit these"
        )
    if ending in (".csv", ".jsonl"):
        written = (_write_csv if ending == ".csv" else _write_jsonl)(
            source, target, changes, separator, column
        )
        if rows is not None and written != rows:
            raise ValueError(
                f"{source.name}: the data has {rows:,} rows, the table {written:,}, as where a row has several "
                "captions: labels are written to tables with a row a row; write one so"
            )
    else:
        _ARRAY_WRITERS[ending](source, target, changes, label_names, column)


def _cell(before: Any, names: Sequence[str], separator: str) -> Any:
    """Labels in the notation of the cell that they replace; as a JSON list where no other can hold them."""
    ordered = _ordered(names_in(before, separator) or [], names)
    if isinstance(before, list):
        return ordered
    joined = separator.join(ordered)
    readable = names_in(joined, separator) == ordered and not any(
        wrong_labels(joined, ordered, separator, True, set())
    )
    return joined if readable and not is_list(before) else json.dumps(ordered, ensure_ascii=False)


def _ordered(before: Sequence[str], names: Sequence[str]) -> list[str]:
    """The names, those that were there before first and in their order."""
    return [*(name for name in before if name in names), *(name for name in names if name not in before)]


def _write_csv(source: Path, target: Path, changes: Changes, separator: str, name: str) -> int:
    content = source.read_bytes()
    encoding = "utf-8-sig" if content.startswith(b"\xef\xbb\xbf") else "utf-8"
    lines = list(io.StringIO(content.decode(encoding), newline=""))
    reader = csv.reader(lines, strict=True)
    column, number, start = -1, -1, 0
    written: list[str] = []
    for cells in reader:
        raw = lines[start : reader.line_num]
        start = reader.line_num
        if not cells:
            written += raw
            continue
        if column < 0:
            if name not in cells:
                raise ValueError(
                    f"{source.name}: expected the column {name!r} of label names to correct, got {shown(cells)}"
                )
            column = cells.index(name)
        else:
            number += 1
            if number in changes:
                cells[column] = _cell(cells[column], changes[number], separator)
                end = raw[-1][len(raw[-1].rstrip("\r\n")) :]
                row = io.StringIO(newline="")
                csv.writer(row, lineterminator=end).writerow(cells)
                raw = [row.getvalue()]
        written += raw
    target.write_bytes("".join(written).encode(encoding))
    return number + 1


def _write_jsonl(source: Path, target: Path, changes: Changes, separator: str, name: str) -> int:
    content = source.read_bytes()
    encoding = "utf-8-sig" if content.startswith(b"\xef\xbb\xbf") else "utf-8"
    number, written = -1, []
    for line in re.split("(\r\n|\n|\r)", content.decode(encoding)):
        if line.strip():
            number += 1
            if number in changes:
                start, end, before = _labels_in(line, name)
                after = json.dumps(_cell(before, changes[number], separator), ensure_ascii=False)
                line = line[:start] + after + line[end:]
        written.append(line)
    target.write_bytes("".join(written).encode(encoding))
    return number + 1


def _labels_in(line: str, name: str) -> tuple[int, int, Any]:
    """Where the value of a key stands in a JSON object, and the value. Numbers beside it are left as written."""
    decoder = json.JSONDecoder()

    def after_blanks(place: int) -> int:
        blank = _BLANK.match(line, place)
        return blank.end() if blank else place

    place = after_blanks(after_blanks(0) + 1)
    while line[place] != "}":
        key, place = decoder.raw_decode(line, place)
        start = after_blanks(after_blanks(place) + 1)
        value, end = decoder.raw_decode(line, start)
        if key == name:
            return start, end, value
        place = after_blanks(end)
        if line[place] == ",":
            place = after_blanks(place + 1)
    raise ValueError(f"expected the key {name!r}, got {shown(line)}")


def _bits(names: Sequence[str], label_names: Sequence[str]) -> np.ndarray[Any, Any]:
    return np.isin(np.array(label_names), np.array(list(names), dtype=str))


def _write_npz(source: Path, target: Path, changes: Changes, label_names: Sequence[str], name: str) -> None:
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "x") as copy:
        for member in archive.infolist():
            beside = zipfile.ZipInfo(member.filename, member.date_time)
            beside.compress_type = member.compress_type
            with archive.open(member) as content, copy.open(beside, "w", force_zip64=True) as file:
                if member.filename != f"{name}.npy":
                    shutil.copyfileobj(content, file)
                    continue
                labels = np.lib.format.read_array(content, allow_pickle=False)
                for row, names in changes.items():
                    labels[row] = _bits(names, label_names)
                np.lib.format.write_array(file, labels, allow_pickle=False)


def _write_hdf5(source: Path, target: Path, changes: Changes, label_names: Sequence[str], name: str) -> None:
    import h5py

    shutil.copyfile(source, target)
    with h5py.File(target, "r+") as file:
        labels = file[name]
        for row, names in changes.items():
            labels[row] = _bits(names, label_names).astype(labels.dtype)


def _write_parquet(
    source: Path, target: Path, changes: Changes, label_names: Sequence[str], name: str
) -> None:
    from pyarrow import parquet

    with opened_parquet(source) as file:
        schema, metadata = file.schema_arrow, file.metadata
        place = schema.names.index(name)
        packing = metadata.row_group(0).column(0).compression if metadata.num_row_groups else "NONE"
        start = 0
        with parquet.ParquetWriter(target, schema, compression=packing) as writer:
            for group in range(metadata.num_row_groups):
                table = file.read_row_group(group)
                rows = [row for row in changes if start <= row < start + len(table)]
                if rows:
                    labels = table.column(place).to_pylist()
                    for row in rows:
                        labels[row - start] = _listed_as(labels[row - start], changes[row], label_names)
                    table = table.set_column(
                        place, schema.field(place), _column(labels, schema.field(place).type)
                    )
                writer.write_table(table)
                start += len(table)


def _listed_as(before: Sequence[Any], names: Sequence[str], label_names: Sequence[str]) -> list[Any]:
    """Names, or 0/1 of the type that stands there; an empty list may be either, of names as 0/1 have a width."""
    if before and not isinstance(before[0], str):
        return [type(before[0])(bit) for bit in _bits(names, label_names).tolist()]
    return _ordered([name.strip() for name in before], names)


def _column(values: list[Any], kind: Any) -> Any:
    import pyarrow as pa

    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # of dictionaries within lists
        return pa.array(values).cast(kind)


_ARRAY_WRITERS: dict[str, Callable[[Path, Path, Changes, Sequence[str], str], None]] = {
    ".npz": _write_npz,
    ".h5": _write_hdf5,
    ".hdf5": _write_hdf5,
    ".parquet": _write_parquet,
}
_ENDINGS = (".csv", ".jsonl", *_ARRAY_WRITERS)
