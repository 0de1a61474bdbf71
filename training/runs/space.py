"""What a search for settings may vary: ranges and choices by the name of a recipe's setting."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from scbch_keras.checks import nearest, shown
from scbch_keras.training.runs.recipe import Recipe, resolve

# What says which data there is stays: trials are compared on the same pairs.
FIXED = ("data", "folder", "backend", "seed", "noise", "queries", "separator", "columns", "image_features",
         "image_weights", "text_features", "tokens", "checked", "evaluate_every", "graded")  # fmt: skip
TUNABLE = tuple(field.name for field in fields(Recipe) if field.name not in FIXED)


class Range(NamedTuple):
    """From low to high, both among them; whole numbers where both ends are; evenly in the logarithm with `log`."""

    low: float
    high: float
    log: bool = False

    @property
    def ends(self) -> tuple[Any, Any]:
        """What a recipe has to take."""
        return self.low, self.high

    def suggested(self, trial: Any, name: str) -> Any:
        """The value of an Optuna trial."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def has(self, value: Any) -> bool:
        """Whether a value lies in it."""
        return isinstance(value, int | float) and self.low <= value <= self.high


class Choices(NamedTuple):
    """One of some values."""

    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """What a recipe has to take."""
        return self.values

    def suggested(self, trial: Any, name: str) -> Any:
        """The value of an Optuna trial; by its place, as a value may be a list."""
        return self.values[trial.suggest_categorical(name, range(len(self.values)))]

    def has(self, value: Any) -> bool:
        """Whether a value is one of them."""
        return (list(value) if isinstance(value, tuple) else value) in self.values


Space = dict[str, Range | Choices]


def read_space(recipe: Recipe, flags: Iterable[str] = (), file: Path | None = None) -> Space:
    """The space of a TOML file, and over it that of flags.

    Args:
        recipe: what is varied.
        flags: "NAME=LOW:HIGH", "NAME=LOW:HIGH:log" or "NAME=VALUE,VALUE,...", values as TOML has them or words.
        file: a table for each setting, with low, high and log, or with choices.

    Raises:
        ValueError: a setting that there is not or that stays as it is, a value that the recipe does not take, or no
            space at all.
    """
    space: Space = {} if file is None else _read_file(file)
    for flag in flags:
        name, equals, text = flag.partition("=")
        if not equals or not text:
            raise ValueError(f"space: expected NAME=LOW:HIGH or NAME=VALUE,VALUE, got {flag!r}")
        space[name] = _parsed(name, text)
    if not space:
        raise ValueError("space: name at least one setting to vary, such as learning_rate=1e-5:1e-3:log")
    for name, values in space.items():
        if name not in TUNABLE:
            known = f"expected one of {', '.join(TUNABLE)}; got {name!r}{nearest(name, TUNABLE)}"
            fixed = f"{name} says which data there is, and is the same in all trials"
            raise ValueError(f"space: {fixed if name in FIXED else known}")
        for value in values.ends:
            try:
                resolve(**{**recipe.as_dict(), name: value})
            except ValueError as error:
                raise ValueError(f"space: {error}") from error
    return space


def in_words(space: Space) -> dict[str, Any]:
    """The space as JSON has it, to compare."""
    return {
        name: list(values.values) if isinstance(values, Choices) else list(values)
        for name, values in space.items()
    }


def _parsed(name: str, text: str) -> Range | Choices:
    parts = text.split(":")
    if len(parts) > 1:
        if len(parts) > 3 or parts[2:] not in ([], ["log"]):
            raise ValueError(f"space: {name}: expected LOW:HIGH or LOW:HIGH:log, got {text!r}")
        return _range(name, _value(parts[0]), _value(parts[1]), len(parts) == 3)
    try:
        values = tomllib.loads(f"value = [{text}]")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        values = [_value(part.strip()) for part in text.split(",")]
    return _choices(name, values)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def _range(name: str, low: Any, high: Any, log: Any) -> Range:
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
    if not numbers or not low < high or not isinstance(log, bool) or (log and low <= 0):
        above = ", both above 0 with log" if log else ""
        raise ValueError(
            f"space: {name}: expected numbers LOW < HIGH{above}, got {shown(low)} and {shown(high)}"
        )
    return Range(low, high, log)


def _choices(name: str, values: Any) -> Choices:
    if not isinstance(values, list) or len(values) < 2 or any(values.count(value) > 1 for value in values):
        raise ValueError(f"space: {name}: expected at least two values, each once, got {shown(values)}")
    return Choices(tuple(values))


def _read_file(file: Path) -> Space:
    try:
        stored = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"space_file: there is no file {file}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"space_file: {file} is not a TOML file: {error}") from error
    space: Space = {}
    for name, table in stored.items():
        keys = set(table) if isinstance(table, Mapping) else set()
        if keys == {"choices"}:
            space[name] = _choices(name, table["choices"])
        elif {"low", "high"} <= keys <= {"low", "high", "log"}:
            space[name] = _range(name, table["low"], table["high"], table.get("log", False))
        else:
            raise ValueError(
                f"space_file: {file}: {name}: expected a table with low and high, and log, or with choices"
            )
    return space
