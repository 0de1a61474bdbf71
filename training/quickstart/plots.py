"""The report's figures: mAP by epoch, precision over recall, and histograms of the confidence weights."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from scbch_keras.modalities import Direction
from scbch_keras.training.pages.plots import CHANCE_DASHES, draw, page_colours, two_histograms
from scbch_keras.training.quickstart.results import Confidence, Results

# what each line means, in the order of the legend: title, dash pattern (in line widths)
SERIES: dict[str, tuple[str, tuple[float, ...]]] = {
    "clean": ("SCBCH on true labels", (1.0, 1.6)),
    "posterior": ("SCBCH on posterior labels", (8.0, 1.6)),
    "full": ("SCBCH", ()),
    "unweighted": ("SCBCH without confidence weights", (4.0, 2.0)),
    "random": ("a random order", CHANCE_DASHES),
}
TITLES: dict[Direction, str] = {"t2i": "Words find pictures", "i2t": "Pictures find words"}
_COLOURS = page_colours("ink", *SERIES)


def map_by_epoch(results: Results, direction: Direction) -> str:
    """Line of mAP over epochs for each training, with random ranking as the floor."""

    def plot(axes: Axes) -> None:
        for run in results.runs:
            values = [np.nan if value is None else value for value in run.epochs[f"{direction}_map"]]
            _line(axes, run.name, np.arange(1, len(values) + 1), values)
        _line(axes, "random", [1, results.settings.epochs], [results.random_map[direction]] * 2)
        warmup = results.settings.warmup_epochs
        axes.axvline(warmup + 0.5, color=_COLOURS["ink"], linewidth=1, dashes=(1, 2))
        axes.text(
            warmup + 0.5 + results.settings.epochs / 60,
            0.02,
            "confidence\nweights start",
            fontsize=9,
            va="bottom",
        )
        axes.set(xlabel="epoch", ylabel="mAP", ylim=(0, 1), xlim=(0.5, results.settings.epochs + 0.5))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    return draw(f"map-{direction}", TITLES[direction], plot)


def precision_recall(results: Results, direction: Direction) -> str:
    """Precision over recall for each training: from the first icon retrieved to all of them."""

    def plot(axes: Axes) -> None:
        for run in results.runs:
            _line(axes, run.name, run.recall[direction], run.precision[direction])
        _line(axes, "random", [0, 1], [results.random_precision[direction]] * 2)
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1))

    return draw(f"pr-{direction}", TITLES[direction], plot)


def confidence_histograms(confidence: Confidence, epochs: dict[str, int]) -> dict[str, str]:
    """Shares of clean and of corrupted pictures by confidence weight, in [0.5, 1] (the paper's Fig. 6).

    Args:
        confidence: the weights.
        epochs: "first" or "last" -> the epoch that used them.

    Returns:
        By the same names; all on one scale.
    """
    corrupted, edges = np.array(confidence.corrupted), np.linspace(0.5, 1, 26)
    weights = {when: np.clip(np.array(getattr(confidence, when)), 0.5, 1) for when in epochs}
    peak = max(_shares(values, corrupted, edges) for values in weights.values())

    def histogram(when: str) -> str:
        def plot(axes: Axes) -> None:
            two_histograms(axes, weights[when], corrupted, edges)
            axes.set(
                xlabel="confidence weight", ylabel="share of pictures", xlim=(0.5, 1), ylim=(0, 1.05 * peak)
            )

        return draw(f"confidence-{when}", f"Epoch {epochs[when]}", plot)

    return {when: histogram(when) for when in epochs}


def _shares(values: NDArray[np.floating], corrupted: NDArray[np.bool_], edges: NDArray[np.floating]) -> float:
    """The highest bar of both groups."""
    groups: Iterable[NDArray[np.floating]] = (values[~corrupted], values[corrupted])
    return max(float(np.histogram(group, edges)[0].max()) / len(group) for group in groups if len(group))


def _line(axes: Axes, name: str, x: Sequence[float] | NDArray[np.int64], y: Sequence[float]) -> None:
    axes.plot(x, y, color=_COLOURS[name], dashes=SERIES[name][1], label=name)
