"""How progress looks in every command: what is done, of how much, for how long."""

from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


def display(**options: Any) -> Progress:
    """A display without tasks yet; `options` are `rich.progress.Progress`'s."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, **options)
