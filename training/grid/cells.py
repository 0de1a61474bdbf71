"""The cells of a reproduction grid, a JSON object a line: one training each, evaluated epoch by epoch."""

import json
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic.dataclasses import dataclass

from scbch_keras import checks
from scbch_keras.checks import flag, one_of, refuse, shown
from scbch_keras.files import opened
from scbch_keras.methods import VARIANTS
from scbch_keras.metrics import CrossModalMAP
from scbch_keras.modalities import DIRECTIONS
from scbch_keras.training.runs.evaluate import GRADED
from scbch_keras.training.typed import STRICT, Count, Natural, Seconds, Share, by, typed


def _name(name: str, value: Any) -> Any:
    if not isinstance(value, str) or not value.strip():
        refuse(name, "a name", value)
    return value


_Name = Annotated[str, by(_name)]


@dataclass(frozen=True, config=STRICT)
class Cell:
    """One training of the grid. An epoch of `history` has both "i2t" and "t2i", or it was not evaluated."""

    dataset: _Name
    title: _Name
    stand_in: Annotated[bool, by(flag)]
    noise: Annotated[Share, AfterValidator(float)]
    bits: Count
    seed: Natural
    variant: Annotated[str, by(one_of, VARIANTS)]
    backend: _Name
    epochs: Count
    versions: dict[str, str]
    data_checksum: str
    history: tuple[dict[str, Any], ...]
    seconds: Seconds
    settings: dict[str, Any]
    chance: float | None = None
    """Precision of a random order, the share of relevant items: mean of both directions, None if it is not known."""
    graded: dict[str, float] | None = None
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
    with opened(path) as file:
        lines = file.read().split(b"\n")
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
            raise ValueError(f"{where}: expected a JSON object, got {shown(text)}") from error
        cell = _cell(content, line, where)
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


def _cell(content: Any, line: bytes, where: str) -> Cell:
    cell = typed(Cell, line, f"{where}: ")
    if len(cell.history) != cell.epochs:
        raise ValueError(f"{where}: expected history to have {cell.epochs} epochs, got {len(cell.history)}")
    for number, epoch in enumerate(cell.history, 1):
        _check_epoch(epoch, number, number == cell.epochs, where)
    metrics = content.get("metrics") or {}
    return replace(cell, chance=_chance(metrics, where), graded=_graded(metrics, where))


def _chance(metrics: Any, where: str) -> float | None:
    """What the curves of precision end with, where everything is retrieved."""
    if not metrics:
        return None
    try:
        ends = [metrics[direction]["precision"][-1] for direction in DIRECTIONS]
    except (KeyError, IndexError, TypeError):
        ends = [None]
    if not all(_is_share(end) for end in ends):
        raise ValueError(
            f"{where}: expected metrics to have precision from 0 to 1 of {', '.join(DIRECTIONS)}, got {shown(metrics)}"
        )
    return sum(ends) / len(ends)


def _graded(metrics: Any, where: str) -> dict[str, float] | None:
    """Those of `GRADED` that were measured, in both directions or in none."""
    if not isinstance(metrics, dict):
        return None
    sides = {direction: metrics.get(direction) or {} for direction in DIRECTIONS}
    means = {}
    for name in (name for name in GRADED if any(name in side for side in sides.values())):
        values = [
            checks.number(f"{where}: {name} of {direction}", side.get(name), 0)
            for direction, side in sides.items()
        ]
        means[name] = sum(values) / len(values)
    return means or None


def _check_epoch(epoch: Any, number: int, last: bool, where: str) -> None:
    if not isinstance(epoch, dict) or epoch.get("epoch") != number:
        raise ValueError(f"{where}: expected history to have epoch {number} in its place, got {shown(epoch)}")
    scores = [epoch.get(name) for name in CrossModalMAP._fields]
    if scores == [None, None] and not last:
        return
    for name, score in zip(CrossModalMAP._fields, scores, strict=True):
        if not _is_share(score):
            raise ValueError(
                f"{where}: expected {name} of epoch {number} to be a share from 0 to 1, got {shown(score)}"
            )


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
