"""JSON read piece by piece: a row is checked before the next one is read, and none is longer than it may be.

`json.loads` of some MB makes hundreds of MB of Python objects and lets no other thread run meanwhile.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from scbch_keras.checks import shown
from scbch_keras.export.service.limits import InputError

NUMBER_CHARACTERS = 64
"""Of a number in JSON with the space around it, at most: 17 digits make a float64."""
_SPACE = re.compile(r"[ \t\n\r]*")
_PLAIN = re.compile(r'[^\[\]{}"]*')
_MAX_TOKENS = 2**17
_CHUNK = 2**14


class Scanner:
    """A place in a JSON text, and what is read from there on. All methods raise InputError for what is no JSON."""

    def __init__(self, body: bytes):
        try:
            self.text = body.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"body: JSON must be UTF-8; byte {error.start} is none") from error
        self.at = 0

    def peek(self) -> str:
        """The next character that is no space; "" at the end."""
        end = _SPACE.match(self.text, self.at)
        self.at = end.end() if end else self.at
        return self.text[self.at : self.at + 1]

    def expect(self, name: str, character: str) -> None:
        """Go past that character."""
        if self.peek() != character:
            raise self.error(name, f"{character!r}")
        self.at += 1

    def error(self, name: str, expected: str) -> InputError:
        """What was expected here, and what is here."""
        return InputError(f"{name}: JSON: expected {expected} at character {self.at}, got {self.here()}")

    def value(self, name: str, limit: int = NUMBER_CHARACTERS, expected: str = "a value") -> Any:
        """The next value, which may have `limit` characters. Integers of more than 18 digits become floats."""
        self.peek()
        try:
            value, length = _DECODER.raw_decode(self.text[self.at : self.at + limit])
        except (ValueError, RecursionError) as error:
            if self.at + limit < len(self.text) and _is_cut(error, limit):
                raise InputError(f"{name}: expected {expected} in at most {limit} characters") from error
            raise InputError(f"{name}: {_reason(error)} (invalid JSON)") from error
        self.at += length
        return value

    def string(self, name: str) -> str:
        """The next value, a string of any length."""
        if self.peek() != '"':
            raise InputError(f"{name}: expected a string, got {self.here()} at character {self.at}")
        try:
            value, self.at = _DECODER.raw_decode(self.text, self.at)
        except ValueError as error:
            raise InputError(f"{name}: {_reason(error)} (invalid JSON)") from error
        return value

    def here(self) -> str:
        """What stands here, as a message shows it."""
        return shown(self.text[self.at : self.at + 20]) if self.at < len(self.text) else "its end"

    def keys(self, name: str) -> Iterator[str]:
        """The keys of an object, each once; the caller reads the value before it goes on."""
        self.expect(name, "{")
        seen = set()
        if self.peek() == "}":
            self.at += 1
            return
        while True:
            if self.peek() != '"':
                raise self.error(name, "a key in quotes")
            key = self.value(f"{name}: a key", 256, "a key")
            if key in seen:
                raise InputError(f"{name}: the key {key!r} comes twice")
            seen.add(key)
            self.expect(name, ":")
            yield key
            if self.peek() == "}":
                self.at += 1
                return
            self.expect(name, ",")

    def elements(self, name: str, limit: int) -> Iterator[int]:
        """The numbers, from 0, of the elements of a list of 1 to `limit`; the caller reads each."""
        if self.peek() != "[":
            raise self.error(name, "a list")
        self.at += 1
        if self.peek() == "]":
            raise InputError(f"{name}: expected at least 1 element, got none")
        for place in range(limit):
            yield place
            if self.peek() == "]":
                self.at += 1
                return
            self.expect(name, ",")
        raise InputError(f"{name}: expected at most {limit} elements, got more")

    def numbers(self, name: str) -> Iterator[list[Any]]:
        """The elements of a flat list, many at a time."""
        if self.peek() != "[":
            raise self.error(name, "a list")
        self.at += 1
        if self.peek() == "]":
            self.at += 1
            return
        end = self.text.find("]", self.at)
        if end < 0:
            raise self.error(name, "a list that ends")
        while True:
            last = end - self.at <= _CHUNK
            stop = end if last else self.text.rfind(",", self.at, self.at + _CHUNK)
            if stop < 0:
                raise InputError(f"{name}: expected numbers with commas between them")
            try:
                yield _DECODER.decode(f"[{self.text[self.at : stop]}]")
            except (ValueError, RecursionError) as error:
                raise InputError(f"{name}: {_reason(error)} (invalid JSON)") from error
            self.at = stop + 1
            if last:
                return

    def skip(self, name: str) -> int:
        """Go past a value, whose brackets and strings are limited in number; returns where it began."""
        self.peek()
        start, depth = self.at, 0
        if self.text[start : start + 1] not in ("[", "{", '"'):
            self.value(name)
            return start
        for _ in range(_MAX_TOKENS):
            character = self.text[self.at : self.at + 1]
            if not character:
                raise self.error(name, "a value that ends")
            if character == '"':
                self.string(name)
            else:
                depth += 1 if character in "[{" else -1
                self.at += 1
            if depth <= 0:
                return start
            plain = _PLAIN.match(self.text, self.at)
            self.at = plain.end() if plain else self.at
        raise InputError(f"{name}: expected at most {_MAX_TOKENS} lists and strings, got more")

    def end(self, name: str) -> None:
        """Nothing but space may follow."""
        if self.peek():
            raise self.error(name, "nothing more")


class _ConstantError(ValueError):
    """NaN or Infinity."""


def _constant(word: str) -> Any:
    raise _ConstantError(f"numbers must be finite, got {word}")


def _whole(digits: str) -> Any:
    return int(digits) if len(digits) <= 18 else float(digits)


_DECODER = json.JSONDecoder(parse_int=_whole, parse_constant=_constant)


def _is_cut(error: Exception, limit: int) -> bool:
    """Whether the value may have gone on behind the limit."""
    return isinstance(error, json.JSONDecodeError) and (
        error.pos >= limit - NUMBER_CHARACTERS or error.msg.startswith("Unterminated")
    )


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "JSON: too many lists within one another"
    return str(error) if isinstance(error, _ConstantError) else f"JSON: {error}"
