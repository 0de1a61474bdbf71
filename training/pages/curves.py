"""Line plots that the pages share: scores by epoch, and precision over recall, with a random order beside."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from scbch_keras.training.pages.plots import CHANCE_DASHES, draw, page_colours

Numbers = Sequence[float] | NDArray[np.floating]


class LineStyle(NamedTuple):
    """How a line looks, in the plot and in the legend: told apart by its dashes too, so that no colour is needed."""

    colour: str
    """The CSS variable that has it."""
    title: str
    dashes: tuple[float, ...] = ()
    """In line widths."""


RANDOM = LineStyle("chance", "a random order", CHANCE_DASHES)


class Line(NamedTuple):
    """A line of a plot: y over x; None where there is no value."""

    style: LineStyle
    x: Numbers
    y: Numbers | Sequence[float | None]


def by_epoch(
    name: str,
    title: str,
    lines: Sequence[Line],
    epochs: int,
    ylabel: str,
    chance: float | None = None,
    start: tuple[int, str] | None = None,
) -> str:
    """What was logged after each epoch, as inline SVG.

    Args:
        name: tells the plot from the page's others.
        title: above the plot.
        lines: over the numbers of the epochs, from 1.
        epochs: how many there are.
        ylabel: what was logged.
        chance: in [0, 1], what a random order gives; the axis is then that of a share.
        start: (epoch, words), what began after that epoch.
    """

    def plot(axes: Axes) -> None:
        _plot(axes, lines)
        if chance is not None:
            _plot(axes, [Line(RANDOM, [1, epochs], [chance, chance])])
            axes.set_ylim(0, 1)
        if start is not None:
            after, words = start
            axes.axvline(after + 0.5, color=page_colours("ink")["ink"], linewidth=1, dashes=(1, 2))
            axes.text(
                after + 0.5 + epochs / 60,
                0.02,
                words,
                fontsize=9,
                va="bottom",
                transform=axes.get_xaxis_transform(),
            )
        axes.set(xlabel="epoch", ylabel=ylabel, xlim=(0.5, epochs + 0.5))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    return draw(name, title, plot)


def precision_recall(name: str, title: str, lines: Sequence[Line], chance: float) -> str:
    """Precision over recall, from the first item retrieved to all of them, as inline SVG; arguments as `by_epoch`."""

    def plot(axes: Axes) -> None:
        _plot(axes, [*lines, Line(RANDOM, [0, 1], [chance, chance])])
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1))

    return draw(name, title, plot)


def _plot(axes: Axes, lines: Sequence[Line]) -> None:
    for style, x, y in lines:
        values = [np.nan if value is None else value for value in y]
        colour = page_colours(style.colour)[style.colour]
        # A single epoch is no line.
        marker = "o" if len(values) == 1 else None
        axes.plot(x, values, color=colour, dashes=style.dashes, label=style.title, marker=marker)
