"""Checks of single arguments, in one form: "NAME must be EXPECTED; got VALUE." Standard library only.

Each returns the value as a plain Python one, which a config and JSON can hold, and raises ValueError for any other.
"""

import math
import re
import sys
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any, NoReturn

_SHOWN = 100


def refuse(name: str, expected: str, value: Any) -> NoReturn:
    """Raise a ValueError that names the argument, what was expected and what it was."""
    raise ValueError(f"{name} must be {expected}; got {shown(value)}.")


def nearest(value: object, allowed: Collection[str]) -> str:
    """What a misspelt word may have meant, as the end of a message; empty where nothing is near."""
    matches = get_close_matches(value, allowed, 1) if isinstance(value, str) and len(value) <= _SHOWN else []
    return f"; did you mean {matches[0]!r}?" if matches else ""


def shown(value: Any) -> str:
    """A value as a message shows it: on one line, and not all of a long one."""
    text = re.sub(r"\s*\n\s*", " ", repr(value))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def whole(
    name: str, value: Any, low: int | None = None, high: int | None = None, optional: bool = False
) -> Any:
    """An int in [low, high], no bool; or None where it is `optional`."""
    if optional and value is None:
        return None
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or (low is not None and value < low) or (high is not None and value > high):
        expected = "an int"
        if low is not None:
            expected += f" of at least {low}" if high is None else f" from {low} to {high}"
        refuse(name, expected + (", or None" if optional else ""), value)
    return int(value)


def number(
    name: str,
    value: Any,
    low: float | None = None,
    high: float | None = None,
    *,
    above: bool = False,
    below: bool = False,
) -> Any:
    """A finite number in [low, high], no bool; greater than low with `above`, less than high with `below`."""
    fits = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if fits and low is not None:
        fits = value > low if above else value >= low
    if fits and high is not None:
        fits = value < high if below else value <= high
    if not fits:
        ends = [] if low is None else [f"{'above' if above else 'of at least'} {low}"]
        ends += [] if high is None else [f"{'below' if below else 'at most'} {high}"]
        expected = " and ".join(["a finite number " + ends[0], *ends[1:]]) if ends else "a finite number"
        refuse(name, expected, value)
    return value if type(value) in (int, float) else float(value)


def share(name: str, value: Any, *, above: bool = False, below: bool = False, optional: bool = False) -> Any:
    """A number in [0, 1]; greater than 0 with `above`, less than 1 with `below`."""
    if optional and value is None:
        return None
    try:
        return number(name, value, 0, 1, above=above, below=below)
    except ValueError:
        interval = f"{'(' if above else '['}0, 1{')' if below else ']'}"
        refuse(name, f"a number in {interval}" + (", or None" if optional else ""), value)


def flag(name: str, value: Any) -> bool:
    """True or False."""
    numpy = sys.modules.get("numpy")  # until it is imported, nothing can be of its types
    if not isinstance(value, bool) and not (numpy and isinstance(value, numpy.bool_)):
        refuse(name, "True or False", value)
    return bool(value)


def one_of(name: str, value: Any, allowed: Collection[str], optional: bool = False) -> Any:
    """One of some words."""
    if optional and value is None:
        return None
    if not isinstance(value, str) or value not in allowed:
        words = ", ".join(map(repr, allowed)) + (", or None" if optional else "")
        raise ValueError(f"{name} must be one of {words}; got {shown(value)}{nearest(value, allowed) or '.'}")
    return str(value)


def some_of(name: str, value: Any, allowed: Sequence[str], least: int = 1) -> tuple[str, ...]:
    """At least `least` of the `allowed` words, each once, in the order of `allowed`."""
    if (
        isinstance(value, str)
        or not isinstance(value, Collection)
        or len(value) < least
        or not all(isinstance(word, str) and word in allowed for word in value)
    ):
        refuse(name, f"a sequence of {', '.join(map(repr, allowed))}{', at least one' * bool(least)}", value)
    return tuple(word for word in allowed if word in value)


def widths(name: str, value: Any) -> tuple[int, ...]:
    """A sequence of ints of at least 1, which may be empty."""
    try:
        if not isinstance(value, str | bytes | dict) and isinstance(value, Collection):
            return tuple(whole(name, width, 1) for width in value)
    except ValueError:
        pass
    refuse(name, "a sequence of ints of at least 1", value)


def text(name: str, value: Any) -> str:
    """A string that is not empty."""
    if not isinstance(value, str) or not value:
        refuse(name, "text that is not empty", value)
    return str(value)


def thread_count(value: Any) -> int | None:
    """The argument `threads`: an int from 1 to 1024, more than any machine uses; or None."""
    threads: int | None = whole("threads", value, 1, 1024, optional=True)
    return threads


def check_neighbors(neighbors: int, num_samples: int) -> int:
    """The number of neighbours, which must be less than the number of samples."""
    neighbors = whole("neighbors", neighbors, 1)
    if num_samples < neighbors + 1:
        raise ValueError(
            f"neighbors={neighbors} needs at least {neighbors + 1} training samples; got {num_samples}."
        )
    return neighbors
