"""Broken pictures among many: found by their headers before the work, or left out, counted and listed."""

import csv
import io
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from scbch_keras.export.serving.codes_file import Block
from scbch_keras.files import replaced
from scbch_keras.preprocessing.pictures import Size, check_header, read_picture

_AT_ONCE = 256
_TOLD = 3
SKIP_HINT = "--skip-broken leaves broken pictures out and lists them"


def broken_path(codes: Path) -> Path:
    """The file beside codes with the pictures that were left out."""
    return codes.with_name(f"{codes.stem}.broken.csv")


def checked_headers(blocks: Iterable[Block], again: Iterable[Block]) -> Iterator[Block]:
    """The blocks of `again`, once the header of each picture in `blocks`, the same ones, was found good.

    Raises ValueError naming the first that are not, and how many there are.
    """
    faults: list[str] = []
    total = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for paths, _ in blocks:
            total += len(paths)
            faults += filter(None, pool.map(_header_fault, paths))
    if faults:
        more = f"; and {len(faults) - _TOLD:,} more" if len(faults) > _TOLD else ""
        raise ValueError(
            f"{len(faults):,} of {total:,} pictures cannot be read: {'; '.join(faults[:_TOLD])}{more}. {SKIP_HINT}"
        )
    yield from again


def _header_fault(path: str) -> str:
    try:
        check_header(path)
    except ValueError as error:
        return str(error)
    return ""


@dataclass
class Skipping:
    """Pictures read to the encoder's size, without those that are broken, which are listed in `path` at the end.

    The file has the columns row (from 0, in the input), id, picture and reason; without broken pictures there is none.
    """

    path: Path
    size: Size
    broken: list[tuple[int, str, str, str]] = field(default_factory=list)

    def blocks(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Blocks of paths with ids -> blocks of pictures with ids. Raises ValueError if none can be read."""
        row = whole = 0
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for paths, ids in _smaller(blocks):
                good: list[Any] = []
                kept: list[str] = []
                for path, name, (picture, reason) in zip(
                    paths, ids, pool.map(self._read, paths), strict=True
                ):
                    if picture is None:
                        self.broken.append((row, name, path, reason))
                    else:
                        good.append(picture)
                        kept.append(name)
                    row += 1
                whole += len(good)
                if good or not row:
                    yield good, kept
        if self.broken and not whole:
            raise ValueError(f"none of {row:,} pictures can be read; the first: {self.broken[0][3]}")
        if self.broken:
            text = io.StringIO(newline="")
            writer = csv.writer(text)
            writer.writerow(("row", "id", "picture", "reason"))
            writer.writerows(self.broken)
            with replaced(self.path) as file:
                file.write(text.getvalue().encode("utf-8", "surrogateescape"))

    def _read(self, path: str) -> tuple[Any, str]:
        try:
            return read_picture(path, self.size), ""
        except ValueError as error:
            return None, str(error)


def _smaller(blocks: Iterable[Block]) -> Iterator[tuple[list[str], list[str]]]:
    """Blocks that do not fill the memory with pictures."""
    for paths, ids in blocks:
        rows = iter(zip(paths, ids or paths, strict=True))
        while part := list(islice(rows, _AT_ONCE)):
            yield [path for path, _ in part], [name for _, name in part]
