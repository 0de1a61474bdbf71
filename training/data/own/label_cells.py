"""The labels in a cell of a table: separated names or a JSON list; other notations are recognised and refused."""

import json
import re
from collections.abc import Iterable
from typing import Any

from scbch_keras.checks import shown

SEPARATORS = (
    ",;|/\t\n\r\v\f\u2028\u2029"
    "\uff0c\uff1b\uff5c\uff0f\u3001\uff64"  # full-width and ideographic
    "\ufe50\ufe51\ufe54\u060c\u061b\u037e"  # small, Arabic, Greek
)
"""What separates labels in tables of many origins; full-width, Arabic and Greek signs among them."""

_QUOTES = (
    "''",
    '""',
    "``",
    "\u201c\u201d",
    "\u201e\u201c",
    "\u2018\u2019",
    "\xab\xbb",
    "\u300c\u300d",
    "\u300e\u300f",
)
_QUOTED = re.compile(
    rf"""[\[({{]*(?:{"|".join(f"{first}.*{last}" for first, last in map(tuple, _QUOTES))})[\])}}]*"""
    r"""|[\[({]+['"].*|.*['"][\])}]+""",
    re.DOTALL,
)
_VALUE = r"(?:[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|[Tt]rue|[Ff]alse|TRUE|FALSE)"
_VALUES = re.compile(rf"{_VALUE}(?:\s+{_VALUE})+")
_ONE_VALUE = re.compile(_VALUE)
_BITS = re.compile("[01]{2,}")
_MISSING = {
    *("nan", "NaN", "NAN", "-nan", "-NaN", "None", "null", "NULL", "Null", "undefined"),
    *("NA", "<NA>", "<na>", "#NA", "#N/A", "N/A", "n/a", "NaT", "\\N"),
}
"""As pandas, R, databases, spreadsheets and JavaScript write it."""
_AS_LIST = "a name that is really written so goes into a JSON list"


def is_list(cell: Any) -> bool:
    """Whether a cell holds a list, or the text of a JSON list: its names may hold any sign."""
    return isinstance(cell, list) or (isinstance(cell, str) and json_list(cell) is not None)


def names_in(cell: Any, separator: str) -> list[str] | None:
    """The names in a cell, without blanks around them; None where it holds neither text nor a list of strings."""
    if isinstance(cell, str):
        listed = json_list(cell)
        if listed is None:
            return [name.strip() for name in cell.split(separator)] if cell.strip() else []
        cell = listed
    if isinstance(cell, list) and all(isinstance(name, str) for name in cell):
        return [name.strip() for name in cell]
    return None


def json_list(cell: str) -> list[Any] | None:
    """The list that the text of a JSON list says; None for any other text."""
    text = cell.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def are_bit_strings(cells: Iterable[Any], separator: str) -> bool:
    """Whether the cells are rows of a 0/1 matrix: all that are not blank have the same number of digits 0 and 1.

    Numbers of classes look so only if none begins with a 0.
    """
    texts = {
        re.sub(rf"\s|{re.escape(separator)}", "", cell) if isinstance(cell, str) else "" for cell in cells
    }
    texts -= {""}
    return (
        len({len(text) for text in texts}) == 1
        and all(_BITS.fullmatch(text) for text in texts)
        and any(text.startswith("0") for text in texts)
    )


def other_notation(cell: str, names: list[str], separator: str, separated: bool) -> tuple[str, str]:
    """(kind, message) of a cell that is not names separated by `separator`; ("", "") if it is.

    separated: whether any row has the separator.
    """
    text = cell.strip()
    if _is_enclosed(text) or any(_QUOTED.fullmatch(name) for name in names):
        message = f"expected names separated by {separator!r} or a JSON list, got {shown(cell)}"
        return "other notation", f'{message}: write ["cat", "dog"] or cat{separator}dog; {_AS_LIST}'
    missing = next((name for name in names if name in _MISSING), None)
    if missing is not None:
        message = f"expected names of labels, got {missing!r}, which stands for a missing value"
        return "other notation", f"{message}: leave the cell empty where there is no label; {_AS_LIST}"
    other = next((mark for mark in SEPARATORS if mark != separator and mark in text), None)
    if other and separated:
        hint = f"other labels are parted by {separator!r}"
        return (
            "mixed separators",
            f"expected no {other!r}, got {shown(cell)}: {hint}; {_as_list(names, other)}",
        )
    if other:
        hint = f"no row has the separator {separator!r}: choose {other!r} if it parts labels here"
        return (
            "mixed separators",
            f"expected no {other!r}, got {shown(cell)}: {hint}; {_as_list(names, other)}",
        )
    if any(_VALUES.fullmatch(name) for name in names) or _are_values(names):
        message = f"expected names of labels, got {shown(cell)}, a row of values"
        return (
            "other notation",
            f"{message}: write the names of the labels that are set, or give the 0/1 as npz",
        )
    if any(name.startswith("__label__") for name in names):
        return "other notation", f"expected names of labels, got {shown(cell)}: leave out the '__label__'"
    return "", ""


def _are_values(names: list[str]) -> bool:
    """Whether names are a row of scores, 0.0 and 1.0 or truth values; whole numbers may be those of classes."""
    return (
        len(names) > 1
        and all(_ONE_VALUE.fullmatch(name) for name in names)
        and not all(name.isdecimal() for name in names)
    )


def _as_list(names: list[str], mark: str) -> str:
    name = next(name for name in names if mark in name)
    return f"names that hold it are written as a JSON list: {json.dumps([name], ensure_ascii=False)}"


def _is_enclosed(text: str) -> bool:
    """Whether a pair of brackets holds all of it, as of a list, a set or a dict in some language."""
    closing = {"[": "]", "{": "}", "【": "】"}.get(text[:1])
    if closing is None or not text.endswith(closing):
        return False
    depth = 0
    for place, char in enumerate(text):
        depth += (char == text[0]) - (char == closing)
        if depth == 0:
            return place == len(text) - 1
    return False
