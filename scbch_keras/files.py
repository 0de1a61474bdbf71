"""Files that are whole or absent: checksums, flushing to disk, atomic replacement."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_BLOCK = 2**20


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def hidden_sibling(path: Path) -> Path:
    """A hidden name beside `path`, so on the same file system, that no other process uses."""
    return path.with_name(f".{path.name}-{secrets.token_hex(6)}")


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder`, and `folder` itself."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` if the block ends well, and else leaves nothing.

    Readers of `path` see the old content or the new one, never a part.
    """
    beside = hidden_sibling(path)
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        sync(path.parent)
    finally:
        beside.unlink(missing_ok=True)
