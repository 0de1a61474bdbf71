"""Cells of a reproduction grid -> rows: mean and deviation over seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from scbch_keras.checks import shown
from scbch_keras.methods import VARIANTS
from scbch_keras.metrics import CrossModalMAP
from scbch_keras.training.grid.cells import Cell
from scbch_keras.training.grid.published import BENCHMARKS, ablation, comparison
from scbch_keras.training.runs.evaluate import GRADED

TABLE_3 = ("no-classification", "no-contrastive", "no-confidence", "no-attraction", "full")
"""Variants of the paper's ablations, in its order."""
Place = tuple[float, int]
"""Noise rate and bits: a column."""


class Moments(NamedTuple):
    """Mean and standard deviation (divisor n - 1) over seeds; the deviation of one seed is None."""

    mean: float
    deviation: float | None


class Summary(NamedTuple):
    """Mean average precision in [0, 1] over seeds: of each direction, and of their mean."""

    i2t: Moments
    t2i: Moments
    mean: Moments


@dataclass(frozen=True)
class Row:
    """The cells that differ only in their seed."""

    dataset: str
    title: str
    stand_in: bool
    variant: str
    noise: float
    bits: int
    backend: str
    epochs: int
    seeds: tuple[int, ...]
    last: Summary
    best: Summary
    chance: float | None
    graded: Mapping[str, Moments] | None = None
    """Metrics of relevance in degrees after the last epoch; None: not all cells have them."""

    @property
    def place(self) -> Place:
        return self.noise, self.bits

    @property
    def benchmark(self) -> str | None:
        """The paper's name of the data set; None if this is not that data set, or its features are made up."""
        return None if self.stand_in else BENCHMARKS.get(self.dataset)

    @property
    def published(self) -> float | None:
        """The paper's number in percent for the same variant, noise rate and length on the same data set."""
        method, change = VARIANTS[self.variant].method, VARIANTS[self.variant].change
        if change and self.variant not in TABLE_3:
            return None
        results = ablation() if change else comparison()
        row = self.benchmark, method
        return next(
            (one.percent.get(self.place) for one in results if (one.dataset, one.method) == row), None
        )


def summarize(cells: Iterable[Cell]) -> list[Row]:
    """Mean and deviation over seeds; data sets in the order of the cells, then by backend, variant, noise, bits.

    Raises:
        ValueError: cells that differ in their seed alone have other epochs or settings, or the same seed.
    """
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.place, []).append(cell)
    datasets = list(dict.fromkeys(place[:2] for place in groups))
    variants = list(VARIANTS)

    def order(row: Row) -> tuple[Any, ...]:
        dataset = datasets.index((row.dataset, row.stand_in))
        return dataset, row.backend, variants.index(row.variant), row.place

    return sorted((_row(sorted(group, key=lambda cell: cell.seed)) for group in groups.values()), key=order)


def _row(cells: list[Cell]) -> Row:
    first = cells[0]
    for name, values in (
        ("epochs", [cell.epochs for cell in cells]),
        ("settings", [_decisive(cell.settings) for cell in cells]),
    ):
        for cell, value in zip(cells, values, strict=True):
            if value != values[0]:
                raise ValueError(
                    f"cells: expected the same {name} for every seed of {first.place}, got {shown(values[0])} "
                    f"for seed {first.seed} and {shown(value)} for seed {cell.seed}"
                )
    seeds = tuple(cell.seed for cell in cells)
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"cells: expected each seed of {first.place} once, got {seeds}")
    return Row(
        first.dataset,
        first.title,
        first.stand_in,
        first.variant,
        first.noise,
        first.bits,
        first.backend,
        first.epochs,
        seeds,
        _summary([cell.last for cell in cells]),
        _summary([cell.best for cell in cells]),
        next((cell.chance for cell in cells if cell.chance is not None), None),
        _graded_moments([cell.graded for cell in cells]),
    )


def _summary(scores: list[CrossModalMAP]) -> Summary:
    return Summary(*(_moments([getattr(one, name) for one in scores]) for name in Summary._fields))


def _graded_moments(cells: Sequence[Mapping[str, float] | None]) -> dict[str, Moments] | None:
    measured = [cell for cell in cells if cell is not None]
    names = [name for name in GRADED if all(name in cell for cell in measured)]
    if not measured or len(measured) < len(cells):
        return None
    return {name: _moments([cell[name] for cell in measured]) for name in names}


def _moments(values: list[float]) -> Moments:
    return Moments(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)


def _decisive(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings that have to be equal: not the seed, nor the place of the files."""
    return {name: value for name, value in settings.items() if name not in ("seed", "folder")}
