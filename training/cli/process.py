"""What a process of the command line sets for itself before it loads a library of numbers."""

import os
import sys
from collections.abc import Sequence

TRAINING = ("gain", "quickstart", "reproduce", "train", "tune")
"""Commands that train."""
SWITCH = "SCBCH_ALLOCATOR"
"""Of the environment: 0 leaves the allocator as it is."""
TUNABLES = (
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=8589934592:"
    "glibc.malloc.trim_threshold=17179869184:glibc.malloc.top_pad=268435456"
)
_VARIABLE = "GLIBC_TUNABLES"
_SPINS = {"GOMP_SPINCOUNT": "1000"}


def spin_shortly() -> None:
    """Let idle threads of OpenMP sleep soon: where other work wants their core, spinning takes it away."""
    if "OMP_WAIT_POLICY" not in os.environ:
        for name, value in _SPINS.items():
            os.environ.setdefault(name, value)


def keep_memory(arguments: Sequence[str]) -> None:
    """Start this process anew, once, with an allocator that keeps memory between a training's steps, in huge pages.

    A step writes gigabytes that live until the next; by default glibc gives them back and the kernel clears them anew,
    4 KB at a time. Only glibc's environment can say so, and it is read as a process starts. An environment that has
    tunables of its own stays as it is.

    Args:
        arguments: of the command line, the command first.
    """
    if os.environ.get(_VARIABLE) == TUNABLES:
        # Processes that this one starts do not train.
        del os.environ[_VARIABLE]
        return
    tunables = keeping_memory(arguments)
    if not tunables:
        return
    print(
        f"Started anew with an allocator that keeps memory between steps, which takes some more of it and less time; "
        f"--no-allocator, or {SWITCH}=0 in the environment, leaves it as it is.",
        file=sys.stderr,
        flush=True,
    )
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **tunables})  # noqa: S606


def keeping_memory(arguments: Sequence[str]) -> dict[str, str]:
    """The environment in which a process with these arguments has the allocator of `keep_memory`; {} for its own."""
    if (
        not arguments
        or arguments[0] not in TRAINING
        or {"-h", "--help", "--no-allocator"} & set(arguments)
        or os.environ.get(SWITCH) == "0"
        or _VARIABLE in os.environ
        or not _has_glibc()
    ):
        return {}
    return {_VARIABLE: TUNABLES}


def _has_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, OSError, ValueError):  # not Linux, or another C library
        return False
