"""Who is at work in a folder of releases: locks that end with their process, however it ends.

Not on Windows, which has no such locks: there only one process may write to a folder.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl

USING = ".using.lock"
"""Shared by all that have something unfinished in the folder; who has it alone may clear what others left."""
CHANGING = ".changing.lock"
"""Held while versions come and go and `latest` moves."""


@contextmanager
def held(path: Path, shared: bool = False) -> Iterator[None]:
    """Hold the lock file `path`, which is made if it is missing; wait for it as long as it takes."""
    handle = _locked(path, shared, wait=True)
    try:
        yield
    finally:
        os.close(handle)


@contextmanager
def held_alone(path: Path) -> Iterator[bool]:
    """Whether nobody else holds `path`; nobody does for the length of the block, if so."""
    try:
        handle = _locked(path, shared=False, wait=False)
    except BlockingIOError:
        yield False
        return
    try:
        yield True
    finally:
        os.close(handle)


def _locked(path: Path, shared: bool, wait: bool) -> int:
    while True:
        # Open for writing: some network file systems ask that of an exclusive lock.
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if sys.platform == "win32":
                return handle
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
            if _is_at(handle, path):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file is still the one at `path`: it may have been deleted before it was locked."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
