"""The cells of a reproduction grid, a JSON object a line: one training each, evaluated epoch by epoch."""

import json
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scbch_keras.methods import VARIANTS
from scbch_keras.metrics import CrossModalMAP
from scbch_keras.modalities import DIRECTIONS
from scbch_keras.training.data.problems import short
from scbch_keras.training.runs.evaluate import GRADED


@dataclass(frozen=True)
class Cell:
    """One training of the grid. An epoch of `history` has both "i2t" and "t2i", or it was not evaluated."""

    dataset: str
    title: str
    stand_in: bool
    noise: float
    bits: int
    seed: int
    variant: str
    backend: str
    epochs: int
    versions: dict[str, str]
    data_checksum: str
    history: tuple[dict[str, Any], ...]
    seconds: float
    settings: dict[str, Any]
    chance: float | None
    """Precision of a random order, the share of relevant items: mean of both directions, None if it is not known."""
    graded: Mapping[str, float] | None = None
    """Metrics of relevance in degrees after the last epoch, means of both directions; None: not measured."""

    @property
    def place(self) -> tuple[Any, ...]:
        """The cell's coordinates in the grid but for its seed."""
        return (self.dataset, self.stand_in, self.variant, self.noise, self.bits, self.backend)

    @property
    def last(self) -> CrossModalMAP:
        """Scores after the last epoch."""
        return self._evaluated()[-1]

    @property
    def best(self) -> CrossModalMAP:
        """Scores after the epoch with the highest mean on the test set, the first of equals: optimistic."""
        return max(self._evaluated(), key=lambda scores: scores.mean)

    def _evaluated(self) -> list[CrossModalMAP]:
        return [
            CrossModalMAP(epoch["i2t"], epoch["t2i"])
            for epoch in self.history
            if epoch.get("i2t") is not None
        ]


def read_cells(path: str | os.PathLike[str]) -> list[Cell]:
    """The cells of a file, in its order. Fields beyond those of `Cell` are not read.

    A cell that is there twice with the same results is taken once. A last line without its end that cannot be read
    is what an interrupted write leaves: it is left out with a UserWarning that names it.

    Raises:
        ValueError: another line is damaged, a field is missing or out of range, or a cell is there twice with
            other results.
    """
    path = Path(path)
    lines = path.read_bytes().split(b"\n")
    cells: list[Cell] = []
    places: dict[tuple[Any, ...], tuple[int, Cell]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                warnings.warn(
                    f"{where}: the last line was cut off in writing; its cell is left out", stacklevel=2
                )
                break
            text = line.decode(errors="replace")
            raise ValueError(f"{where}: expected a JSON object, got {short(text)}") from error
        cell = _cell(content, where)
        key = (*cell.place, cell.seed)
        if key not in places:
            places[key] = number, cell
            cells.append(cell)
        elif _result(cell) != _result(places[key][1]):
            raise ValueError(
                f"{where}: expected each cell once, got that of line {places[key][0]} again with other results: "
                f"{key}; delete one of the two lines"
            )
    return cells


def _result(cell: Cell) -> Cell:
    """A cell without what differs from one computation of it to the next."""
    return replace(cell, seconds=0, versions={})


def _cell(content: Any, where: str) -> Cell:
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected a JSON object, got {short(content)}")
    for name, (wanted, fits) in _FIELDS.items():
        if name not in content:
            raise ValueError(f"{where}: expected the field {name!r}, got only {sorted(content)}")
        if not fits(content[name]):
            raise ValueError(f"{where}: expected {name} to be {wanted}, got {short(content[name])}")
    history, epochs = content["history"], content["epochs"]
    if len(history) != epochs:
        raise ValueError(f"{where}: expected history to have {epochs} epochs, got {len(history)}")
    for number, epoch in enumerate(history, 1):
        _check_epoch(epoch, number, number == epochs, where)
    return Cell(
        **{name: content[name] for name in _FIELDS if name not in ("history", "noise")},
        history=tuple(history),
        noise=float(content["noise"]),
        chance=_chance(content.get("metrics") or {}, where),
        graded=_graded(content.get("metrics") or {}, where),
    )


def _chance(metrics: Any, where: str) -> float | None:
    """What the curves of precision end with, where everything is retrieved."""
    if not metrics:
        return None
    try:
        ends = [metrics[direction]["precision"][-1] for direction in DIRECTIONS]
    except (KeyError, IndexError, TypeError):
        ends = [None]
    if not all(_is_number(end, 0, 1) for end in ends):
        raise ValueError(
            f"{where}: expected metrics to have precision from 0 to 1 of {', '.join(DIRECTIONS)}, got {short(metrics)}"
        )
    return sum(ends) / len(ends)


def _graded(metrics: Any, where: str) -> dict[str, float] | None:
    """Those of `GRADED` that were measured, in both directions or in none."""
    if not isinstance(metrics, dict):
        return None
    sides = [metrics.get(direction) or {} for direction in DIRECTIONS]
    names = [name for name in GRADED if any(name in side for side in sides)]
    for name in names:
        if not all(_is_number(side.get(name), 0, 1e9) for side in sides):
            raise ValueError(
                f"{where}: expected {name} of {', '.join(DIRECTIONS)} to be numbers of at least 0, got {short(sides)}"
            )
    return {name: sum(side[name] for side in sides) / len(sides) for name in names} or None


def _check_epoch(epoch: Any, number: int, last: bool, where: str) -> None:
    if not isinstance(epoch, dict) or epoch.get("epoch") != number:
        raise ValueError(f"{where}: expected history to have epoch {number} in its place, got {short(epoch)}")
    scores = [epoch.get(name) for name in CrossModalMAP._fields]
    if scores == [None, None] and not last:
        return
    for name, score in zip(CrossModalMAP._fields, scores, strict=True):
        if not _is_number(score, 0, 1):
            raise ValueError(
                f"{where}: expected {name} of epoch {number} to be a share from 0 to 1, got {short(score)}"
            )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_whole(value: Any, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _is_number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


# what a field must be, in words and as a check
_FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "dataset": ("a name", _is_name),
    "title": ("a name", _is_name),
    "stand_in": ("true or false", lambda value: isinstance(value, bool)),
    "noise": ("a share from 0 to 1", lambda value: _is_number(value, 0, 1)),
    "bits": ("a whole number of at least 1", lambda value: _is_whole(value, 1)),
    "seed": ("a whole number of at least 0", lambda value: _is_whole(value, 0)),
    "variant": (f"one of {', '.join(VARIANTS)}", lambda value: isinstance(value, str) and value in VARIANTS),
    "backend": ("a name", _is_name),
    "epochs": ("a whole number of at least 1", lambda value: _is_whole(value, 1)),
    "versions": ("an object", lambda value: isinstance(value, dict)),
    "data_checksum": ("text", lambda value: isinstance(value, str)),
    "history": ("a list", lambda value: isinstance(value, list)),
    "seconds": ("a number of at least 0", lambda value: _is_number(value, 0, 1e12)),
    "settings": ("an object", lambda value: isinstance(value, dict)),
}
