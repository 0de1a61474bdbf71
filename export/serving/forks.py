"""What a forked child makes anew: a fork copies neither the parent's threads nor the holders of its locks.

gunicorn with --preload and multiprocessing's "fork" copy a process that has worked already. Standard library only.
"""

import os
from pathlib import Path
from typing import Protocol
from weakref import WeakSet


class Renewed(Protocol):
    """What has a lock or threads."""

    def renew(self) -> None:
        """Called in a forked child, before anything else runs there."""


_ALIVE: WeakSet[Renewed] = WeakSet()


def renew_in_children(renewed: Renewed) -> None:
    """Have `renewed.renew()` called in every forked child, as long as it lives."""
    _ALIVE.add(renewed)


def is_forked() -> bool:
    """Whether this process was forked from another Python, or from a program that this cannot be told apart from."""
    return _forked


def _after_fork() -> None:
    global _forked
    _forked = True
    for renewed in list(_ALIVE):
        renewed.renew()


def _forked_without_exec() -> bool:
    """What Linux knows of a fork that went before the import of this module."""
    try:
        # After the name in parentheses, which may hold anything: state, five numbers, flags.
        fields = Path("/proc/self/stat").read_text(encoding="latin-1").rpartition(")")[2].split()
        return bool(int(fields[6]) & _PF_FORKNOEXEC)
    except (OSError, IndexError, ValueError):
        return False


_PF_FORKNOEXEC = 0x40
_forked = _forked_without_exec()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
