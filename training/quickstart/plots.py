"""The report's figures: mAP by epoch, precision over recall, and histograms of the confidence weights."""

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from scbch_keras.modalities import Direction
from scbch_keras.training.pages import curves
from scbch_keras.training.pages.curves import RANDOM, Line, LineStyle
from scbch_keras.training.pages.plots import draw, two_histograms
from scbch_keras.training.quickstart.results import Confidence, Results

# in the order of the legend
SERIES = {
    "clean": LineStyle("clean", "SCBCH on true labels", (1.0, 1.6)),
    "posterior": LineStyle("posterior", "SCBCH on posterior labels", (8.0, 1.6)),
    "full": LineStyle("full", "SCBCH"),
    "unweighted": LineStyle("unweighted", "SCBCH without confidence weights", (4.0, 2.0)),
    "random": RANDOM,
}
TITLES: dict[Direction, str] = {"t2i": "Words find pictures", "i2t": "Pictures find words"}


def map_by_epoch(results: Results, direction: Direction) -> str:
    """Line of mAP over epochs for each training, with random ranking as the floor."""
    epochs, warmup = results.settings.epochs, results.settings.warmup_epochs
    lines = [
        Line(SERIES[run.name], range(1, epochs + 1), run.epochs[f"{direction}_map"]) for run in results.runs
    ]
    return curves.by_epoch(
        f"map-{direction}",
        TITLES[direction],
        lines,
        epochs,
        "mAP",
        results.random_map[direction],
        (warmup, "confidence\nweights start"),
    )


def precision_recall(results: Results, direction: Direction) -> str:
    """Precision over recall for each training: from the first icon retrieved to all of them."""
    lines = [Line(SERIES[run.name], run.recall[direction], run.precision[direction]) for run in results.runs]
    return curves.precision_recall(
        f"pr-{direction}", TITLES[direction], lines, results.random_precision[direction]
    )


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
