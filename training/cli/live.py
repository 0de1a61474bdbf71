"""A training as it runs: a row an epoch. In a terminal a live table, else plain lines. Imports keras."""

import time
from typing import Any, Self

import keras
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from scbch_keras.modalities import DIRECTIONS

_COLUMNS = ("epoch", "loss", *(f"{way.upper()} mAP" for way in DIRECTIONS), "time")
_AROUND = 7
"""Lines of a terminal that are not rows of the table."""


class TrainingTable(keras.callbacks.Callback):
    """Shows what was logged after each epoch; within `with`, where it can be live.

    Args:
        console: where.
        epochs: how many there are.
    """

    def __init__(self, console: Console, epochs: int):
        super().__init__()
        self._console, self._epochs = console, epochs
        self._rows: list[tuple[str, ...]] = []
        self._epoch, self._batch, self._began = 0, 0, time.perf_counter()
        self._live = Live(console=console, get_renderable=self._drawn, refresh_per_second=4)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live.is_started:
            self._batch = 0
            self._live.refresh()
            self._live.stop()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch, self._batch, self._began = epoch + 1, 0, time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._batch = batch + 1

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        values = logs or {}
        scores = [values.get(name) for name in ("loss", *(f"{way}_map" for way in DIRECTIONS))]
        row = (
            f"{epoch + 1}/{self._epochs}",
            *("" if score is None else f"{float(score):.4f}" for score in scores),
            f"{time.perf_counter() - self._began:.1f} s",
        )
        self._batch = 0
        self._rows.append(row)
        if not self._live.is_started:
            named = [f"{name} {cell}" for name, cell in zip(_COLUMNS, row, strict=True) if cell]
            self._console.print("  ".join(named), soft_wrap=True, markup=False, highlight=False)

    def _drawn(self) -> RenderableType:
        table = Table()
        for name in _COLUMNS:
            table.add_column(name, justify="right")
        room = max(3, self._console.height - _AROUND)
        for row in self._rows[-room:]:
            table.add_row(*row)
        if not self._batch:
            return table
        steps = (self.params or {}).get("steps")
        of = f" of {steps}" if steps else ""
        return Group(table, Text(f"epoch {self._epoch}, batch {self._batch}{of}", style="dim"))
