"""How progress looks in every command: what is done, of how much, for how long."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

Step = Callable[[str], Callable[[int, int], None]]
"""Ends the step before and begins the one of this title; what it gives is told how much of how much is done."""


class _Count(MofNCompleteColumn):
    """Done of how much, where that is known."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.total is not None else Text("")


def display(**options: Any) -> Progress:
    """A display without tasks yet; `options` are `rich.progress.Progress`'s."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        _Count(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, **options)


@contextmanager
def steps(**options: Any) -> Iterator[Step]:
    """A display of named steps, one after the other; `options` as of `display`."""
    with display(**options) as shown:

        def end() -> None:
            for task in shown.tasks[-1:]:
                total = task.total or 1
                shown.update(task.id, completed=total, total=total)

        def begin(title: str) -> Callable[[int, int], None]:
            end()
            task = shown.add_task(title, total=None)

            def advance(done: int, total: int) -> None:
                shown.update(task, completed=done, total=total)

            return advance

        yield begin
        end()
