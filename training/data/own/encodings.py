"""Text files: UTF-8, with or without its mark; others are refused by name. Line ends of any system."""

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_BLOCK = 2**16


def check_encoding(name: str, start: bytes) -> None:
    """Refuse a file that begins as UTF-16 or UTF-32 does, with its mark or with a NUL beside each letter.

    Raises ValueError naming the file `name`.
    """
    encoding = next((known for mark, known in _MARKS.items() if start.startswith(mark)), None)
    if encoding is None and len(start) >= 4 and start[:4].count(0) >= 2 and start[:4].strip(b"\0"):
        encoding = "UTF-16 or UTF-32"
    if encoding:
        raise ValueError(
            f"{name}: expected UTF-8, got {encoding}; save it as UTF-8 (of spreadsheets: CSV UTF-8)"
        )


def split_lines(path: Path) -> Iterator[bytes]:
    """Lines of a UTF-8 file with their ends, where the first line end says which they are: LF (or CR LF), or CR.

    Other breaks may stand inside a text. Raises ValueError as `check_encoding` does.
    """
    with path.open("rb") as file:
        check_encoding(path.name, file.read(4))
        file.seek(0)
        if not _ends_with_cr(file):
            file.seek(0)
            yield from file
            return
        file.seek(0)
        rest = b""
        while block := file.read(_BLOCK):
            *lines, rest = (rest + block).split(b"\r")
            yield from (line + b"\n" for line in lines)
        if rest:
            yield rest


def _ends_with_cr(file: BinaryIO) -> bool:
    while block := file.read(_BLOCK):
        places = [place for place in (block.find(b"\n"), block.find(b"\r")) if place >= 0]
        if places:
            place = min(places)
            following = block[place + 1 : place + 2] or file.read(1)
            return block[place : place + 1] == b"\r" and following != b"\n"
    return False
