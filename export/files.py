"""Files that are whole or absent: checksums, flushing to disk, atomic replacement."""

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

_BLOCK = 2**20
NO_ROOM = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
"""Errors of a disk, a quota or a limit that is full."""


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def stored_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON in UTF-8, or nested out of reason.
    """
    try:
        return json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def file_in(folder: Path, name: Any) -> Path:
    """The regular file of that name in a folder, where the name comes out of a file that others may have written.

    Raises:
        ValueError: the name is no plain name, so that it might lead out of the folder; or there stands a link.
        FileNotFoundError: there is no such file.
    """
    if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\:\0"):
        raise ValueError(f"{folder}: expected the plain name of a file in the folder, got {ascii(name)[:80]}")
    path = folder / name
    if path.is_symlink():
        raise ValueError(f"{path} is a link, which is not followed; expected a file")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    return path


def hidden_sibling(path: Path) -> Path:
    """A hidden name beside `path`, so on the same file system, that no other process uses."""
    return path.with_name(f".{path.name}-{secrets.token_hex(6)}")


def hidden_with_suffix(path: Path) -> Path:
    """As `hidden_sibling`, and it ends as `path` does, for libraries that go by that."""
    return path.with_name(f".{path.stem}-{secrets.token_hex(6)}{path.suffix}")


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
def no_room_told(path: Path) -> Iterator[None]:
    """Say of a full disk which file found no room, and that what stood there before still does."""
    try:
        yield
    except OSError as error:
        by_numpy = error.errno is None and " requested and " in str(error)  # it keeps no error number
        if error.errno not in NO_ROOM and not by_numpy:
            raise
        kept = "what it held before is still there" if path.exists() else "nothing of it was left"
        told = (
            f"{error.strerror or error}: {path} could not be written, {kept}; make room there and try again"
        )
        raise OSError(error.errno or errno.ENOSPC, told) from error


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` if the block ends well, and else leaves nothing.

    Readers of `path` see the old content or the new one, never a part.
    """
    beside = hidden_sibling(path)
    try:
        with no_room_told(path), beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        sync(path.parent)
    finally:
        beside.unlink(missing_ok=True)
