"""How much a file may unfold into: a few bytes can declare more than any memory holds."""

ROOM = 2**28
"""Bytes that any file may unfold into."""
TIMES = 256
"""So many times its own size a larger one may; matrices of words, mostly zeros, reach about a hundred."""


def allowed(stored: int) -> int:
    """Bytes that a file of `stored` bytes may unfold into."""
    return max(ROOM, TIMES * stored)


def check_unfolded(what: str, size: int, stored: int) -> None:
    """Refuse an array that is far larger than its file, before it is allocated.

    Args:
        what: the array, as messages call it.
        size: bytes that it takes, unpacked.
        stored: bytes of the file.

    Raises:
        ValueError: saying both sizes and the remedy.
    """
    if size > allowed(stored):
        raise ValueError(
            f"{what}: it takes {size:,} bytes unpacked, in a file of {stored:,}; expected at most {allowed(stored):,}. "
            "If that is meant, save it without compression, or in several files"
        )
