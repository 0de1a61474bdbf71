"""Files that are whole or absent: checksums, flushing to disk, atomic replacement; and reading only plain ones."""

import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

_BLOCK = 2**20
NO_ROOM = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
"""Errors of a disk, a quota or a limit that is full."""
_MAX_DEPTH = 100


def opened(path: Path, links: bool = True) -> BinaryIO:
    """A plain file, opened for reading. A pipe or a device, which might never end, is not waited for.

    Args:
        path: of the file.
        links: whether it may be a symbolic link to one.

    Raises:
        ValueError: it is something else.
        OSError: it is missing, or cannot be opened.
    """
    # Looked at before, as opening a device may do something, and after, as it may be another by then.
    if path.is_symlink() and not links:
        raise ValueError(f"{path} must be a plain file, got a symbolic link: put the file itself there")
    _check_plain(path, path.stat().st_mode)
    flags = (
        os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    )
    file = os.fdopen(os.open(path, flags | (0 if links else getattr(os, "O_NOFOLLOW", 0))), "rb")
    try:
        _check_plain(path, os.fstat(file.fileno()).st_mode)
    except BaseException:
        file.close()
        raise
    return file


def check_plain(path: Path) -> None:
    """For files that another library opens, which would wait for a pipe. Raises as `opened`."""
    _check_plain(path, path.stat().st_mode)


def _check_plain(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
        kind = next((name for test, name in kinds.items() if test(mode)), "a device")
        raise ValueError(f"{path} must be a plain file, got {kind}: put the file itself there")


def read_bytes(path: Path, limit: int, links: bool = True) -> bytes:
    """The content of a plain file of at most `limit` bytes. Raises ValueError for a longer one, and as `opened`."""
    with opened(path, links) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path} has more than {limit} bytes, which is more than such a file has")
    return content


def loads(content: bytes | str) -> Any:
    """Read JSON. Raises ValueError for anything else, and for lists nested too deeply to be meant."""
    try:
        value = json.loads(content)
    except RecursionError as error:
        raise ValueError(f"JSON may be {_MAX_DEPTH} levels deep, got more") from error
    level, depth = [value], 0
    while level := [
        child
        for outer in level
        if isinstance(outer, dict | list)
        for child in (outer.values() if isinstance(outer, dict) else outer)
        if isinstance(child, dict | list)
    ]:
        depth += 1
        if depth >= _MAX_DEPTH:
            raise ValueError(f"JSON may be {_MAX_DEPTH} levels deep, got more")
    return value


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal. Raises as `opened`."""
    digest = hashlib.sha256()
    with opened(path) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def stored_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no plain file, no JSON in UTF-8, or nested out of reason.
    """
    with opened(path) as file:
        return loads(file.read())


def file_in(folder: Path, name: Any) -> Path:
    """The regular file of that name in a folder, where the name comes from a file that others may have written.

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
    """A hidden name beside `path`, so on the same file system, that no other process uses. Its suffix is the same."""
    return path.with_name(f".{path.name}-{secrets.token_hex(6)}{path.suffix}")


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
def explained_full_disk(path: Path) -> Iterator[None]:
    """Let the error of a full disk name the file, and say that its earlier content is still there."""
    try:
        yield
    except OSError as error:
        by_numpy = error.errno is None and " requested and " in str(error)  # it keeps no error number
        if error.errno not in NO_ROOM and not by_numpy:
            raise
        kept = "what it held before is still there" if path.exists() else "nothing of it was left"
        message = (
            f"{error.strerror or error}: {path} could not be written, {kept}; make room there and try again"
        )
        raise OSError(error.errno or errno.ENOSPC, message) from error


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` if the block ends well, and else leaves nothing.

    Readers of `path` see the old content or the new one, never a part.

    Raises:
        IsADirectoryError: `path` is a folder.
        FileNotFoundError: its folder is not there.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; the name of a file is needed.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: there is no folder {path.parent}.")
    beside = hidden_sibling(path)
    try:
        with explained_full_disk(path), beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        sync(path.parent)
    finally:
        beside.unlink(missing_ok=True)
