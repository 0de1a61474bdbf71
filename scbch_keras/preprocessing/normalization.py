"""Text -> words, in versions that are never changed. Standard library only, and nothing of the package: releases
hold a copy of this file for servers that have no scbch_keras.
"""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

Ranges = tuple[tuple[int, int], ...]

WITH_PUNCTUATION = "nfkc-casefold-14"
"""The former rule, by which pipelines that were stored with it are still read: "mug," is another word than "mug"."""
CURRENT = "nfkc-casefold-trim-14"
"""The rule of new pipelines."""

_FOLDING = {
    "unicode": "14.0.0",
    "rule": "code points that this Unicode version does not assign stay as they are; each stretch between them "
    "becomes NFKC_Casefold(NFKC(stretch)), Default_Ignorable_Code_Points removed with it",
    "normalised": "the words, joined by one space",
}
_PARTED = "what stands between white space (White_Space) and control characters (Cc)"
NORMALIZATIONS: dict[str, dict[str, str]] = {
    WITH_PUNCTUATION: {"name": WITH_PUNCTUATION, **_FOLDING, "words": _PARTED},
    CURRENT: {
        "name": CURRENT,
        **_FOLDING,
        "words": f"{_PARTED}, without the punctuation (categories P*, but for # % & @) at both ends; nothing else, "
        "no word",
    },
}
"""Each rule by its name, for who follows it in another language."""

SEPARATORS: Ranges = (
    (0x00, 0x20),
    (0x7F, 0xA0),
    (0x1680, 0x1680),
    (0x2000, 0x200A),
    (0x2028, 0x2029),
    (0x202F, 0x202F),
    (0x205F, 0x205F),
    (0x3000, 0x3000),
)
"""White_Space and Cc. With NUL among them no word holds one, at which C strings end."""

IGNORABLE: Ranges = (
    (0xAD, 0xAD),
    (0x34F, 0x34F),
    (0x61C, 0x61C),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x2064),
    (0x2066, 0x206F),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0001, 0xE0001),
    (0xE0020, 0xE007F),
    (0xE0100, 0xE01EF),
)
"""Default_Ignorable_Code_Points."""

KEPT_AT_ENDS = "#%&@"
"""Punctuation to Unicode, but with it a word is another: c#, #1, 50%, @home."""

if tuple(map(int, unicodedata.unidata_version.split("."))) < (14,):
    raise ImportError(
        f"words are normalised by Unicode 14.0.0; this Python has {unicodedata.unidata_version}: use Python 3.11 "
        "or later"
    )


def _read_ranges(name: str) -> Ranges:
    lines = Path(__file__).with_name(name).read_text(encoding="ascii").splitlines()
    pairs = (line.split() for line in lines if not line.startswith("#"))
    return tuple((int(first, 16), int(last, 16)) for first, last in pairs)


def _class_of(ranges: Iterable[tuple[int, int]]) -> str:
    return "".join(rf"\U{first:08x}-\U{last:08x}" for first, last in ranges)


UNASSIGNED = _read_ranges("unassigned_14.txt")
"""What Unicode 14.0.0, that of Python 3.11, does not assign. Later versions treat only these otherwise: the
normal forms and case foldings of assigned code points are stable."""
PUNCTUATION = "".join(
    chr(code)
    for first, last in _read_ranges("punctuation_14.txt")
    for code in range(first, last + 1)
    if chr(code) not in KEPT_AT_ENDS
)
"""What falls away at the ends of words. Listed, as later versions of Unicode may change categories. Symbols (S*)
stay: c++, $5 and emoji are words."""

_ASTRAL = 0x10000
# Python tries ranges beyond U+FFFF one by one; looking ahead spares that for all other characters.
_UNASSIGNED = re.compile(
    rf"((?:[{_class_of(r for r in UNASSIGNED if r[0] < _ASTRAL)}]"
    rf"|(?=[{_class_of([(_ASTRAL, 0x10FFFF)])}])[{_class_of(r for r in UNASSIGNED if r[0] >= _ASTRAL)}])+)"
)
_WORD = re.compile(rf"[^{_class_of(SEPARATORS)}]+")
_ASCII_PUNCTUATION = "".join(filter(str.isascii, PUNCTUATION))
_REMOVED = {code: None for first, last in IGNORABLE for code in range(first, last + 1)}


_CHARACTERS = re.compile(r"characters:([1-9])-([1-9])")


def rule_of(tokens: object) -> str:
    """The rule of new pipelines with tokens "words", or "characters:LOW-HIGH", n-grams of 1 to 9 characters.

    N-grams are for languages that write no spaces between words. Raises ValueError for anything else.
    """
    if tokens == "words":
        return CURRENT
    found = _CHARACTERS.fullmatch(tokens) if isinstance(tokens, str) else None
    if not found or found[1] > found[2]:
        raise ValueError(
            f'tokens must be "words" or "characters:LOW-HIGH", such as "characters:2-3", from 1 to 9; got {tokens!r}'
        )
    return f"{CURRENT}/{tokens}"


def check_rule(normalization: object) -> str:
    """The name of a rule. Raises ValueError if it is none that this version knows."""
    if isinstance(normalization, str):
        base, _, tokens = normalization.partition("/")
        found = _CHARACTERS.fullmatch(tokens)
        if base in NORMALIZATIONS and (base == normalization or (found and found[1] <= found[2])):
            return normalization
    known = ", ".join(NORMALIZATIONS)
    raise ValueError(
        f"normalization must be one of {known}, with /characters:LOW-HIGH behind it for n-grams, got {normalization!r}"
    )


def grams_of(normalization: str) -> tuple[str, tuple[int, int] | None]:
    """A rule -> the rule of its words, and the least and greatest length of its n-grams, if it has any."""
    base, _, tokens = normalization.partition("/")
    return base, (int(tokens[-3]), int(tokens[-1])) if tokens else None


def description(normalization: str) -> dict[str, str]:
    """A rule in words, for who follows it in another language."""
    base, grams = grams_of(normalization)
    if grams is None:
        return NORMALIZATIONS[base]
    low, high = grams
    tokens = (
        f"all stretches of {low} to {high} code points of each word; a word of fewer than {low} is one itself"
    )
    return {**NORMALIZATIONS[base], "name": normalization, "tokens": tokens}


def is_token(text: str, normalization: str) -> bool:
    """Whether a text can be a word, or an n-gram, of the rule."""
    base, grams = grams_of(normalization)
    if grams is None or len(text) < grams[0]:
        return words(text, base) == [text]
    return len(text) <= grams[1] and words(text, WITH_PUNCTUATION) == [text]


def words(text: str, normalization: str = CURRENT) -> list[str]:
    """A text -> its words, or n-grams, by a rule. No lone surrogates in the text, which no UTF-8 can hold."""
    if "/" in normalization:
        base, (low, high) = grams_of(normalization)  # type: ignore[misc]
        return [gram for word in words(text, base) for gram in _grams(word, low, high)]
    if text.isascii():
        parts, punctuation = _WORD.findall(text.lower()), _ASCII_PUNCTUATION
    else:
        stretches = _UNASSIGNED.split(text)
        stretches[::2] = map(_folded, stretches[::2])
        parts, punctuation = _WORD.findall("".join(stretches)), PUNCTUATION
    if normalization == WITH_PUNCTUATION:
        return parts
    return [word for part in parts if (word := part.strip(punctuation))]


def _grams(word: str, low: int, high: int) -> list[str]:
    if len(word) < low:
        return [word]
    sizes = range(low, high + 1)
    return [word[start : start + size] for size in sizes for start in range(len(word) - size + 1)]


def _folded(text: str) -> str:
    """NFKC_Casefold(NFKC(text)), which Python has in parts only."""
    folded = unicodedata.normalize("NFKC", text).casefold().translate(_REMOVED)
    return unicodedata.normalize("NFKC", folded)
