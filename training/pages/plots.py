"""Figures as inline SVG that takes its colours and its font from the page around it."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from scbch_keras.labels.audit import Reliability
from scbch_keras.training.quickstart.results import Confidence, Direction, Results

# what each line means, in the order of the legend: title, dash pattern (in line widths)
SERIES = {
    "clean": ("SCBCH on true labels", (1.0, 1.6)),
    "posterior": ("SCBCH on posterior labels", (8.0, 1.6)),
    "full": ("SCBCH", ()),
    "unweighted": ("SCBCH without confidence weights", (4.0, 2.0)),
    "random": ("a random order", (6.0, 2.0, 1.0, 2.0)),
}

# Matplotlib wants colours, the page has its own for light and dark: these stand in for them in the
# drawing and become CSS variables in the text.
_INK, _GRID = "#0a0b0c", "#0a0b0d"
STAND_INS = {
    "clean": "#0a0b10",
    "full": "#0a0b11",
    "unweighted": "#0a0b12",
    "random": "#0a0b13",
    "corrupted": "#0a0b14",
    "posterior": "#0a0b15",
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 11.0,
    "font.family": "sans-serif",
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.titlesize": 12.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _GRID,
    "lines.linewidth": 2.0,
    "hatch.linewidth": 1.4,
    "lines.scale_dashes": True,
}
TITLES: dict[Direction, str] = {"t2i": "Words find pictures", "i2t": "Pictures find words"}


def map_by_epoch(results: Results, direction: Direction) -> str:
    """Line of mAP over epochs for each training, with random ranking as the floor."""

    def plot(axes: Axes) -> None:
        for run in results.runs:
            values = [np.nan if value is None else value for value in run.epochs[f"{direction}_map"]]
            _line(axes, run.name, np.arange(1, len(values) + 1), values)
        _line(axes, "random", [1, results.settings.epochs], [results.random_map[direction]] * 2)
        warmup = results.settings.warmup_epochs
        axes.axvline(warmup + 0.5, color=_INK, linewidth=1, dashes=(1, 2))
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


def confidence_histogram(confidence: Confidence, when: str, title: str) -> str:
    """Shares of clean and of corrupted pictures by confidence weight, in [0.5, 1] (the paper's Fig. 6)."""

    def plot(axes: Axes) -> None:
        weights, corrupted = np.array(getattr(confidence, when)), np.array(confidence.corrupted)
        edges = np.linspace(0.5, 1, 26)
        two_histograms(axes, np.clip(weights, 0.5, 1), corrupted, edges)
        axes.set(xlabel="confidence weight", ylabel="share of pictures", xlim=(0.5, 1))

    return draw(f"confidence-{when}", title, plot)


def two_histograms(
    axes: Axes, values: NDArray[np.floating], marked: NDArray[np.bool_], edges: NDArray[np.floating]
) -> None:
    """Shares of two groups of values (n,) by bin: marked (n,) hatched and dashed, the others filled."""
    for name, chosen, hatch in (("full", ~marked, None), ("corrupted", marked, "////")):
        if not chosen.any():
            continue
        share = np.histogram(values[chosen], edges)[0] / chosen.sum()
        colour = STAND_INS[name]
        if hatch is None:
            axes.stairs(share, edges, fill=True, color=colour, alpha=0.35)
        else:
            axes.stairs(share, edges, fill=True, facecolor="none", edgecolor=colour, hatch=hatch)
        axes.stairs(share, edges, color=colour, linewidth=1.6, linestyle="--" if hatch else "-")
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def reliability(curves: Mapping[str, Reliability]) -> str:
    """Share of true labels over their probability, a line for each of at most two curves, beside the diagonal."""

    def plot(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=STAND_INS["random"], linewidth=1.2, dashes=SERIES["random"][1])
        for name, marker, (title, curve) in zip(("full", "corrupted"), "os", curves.items(), strict=False):
            axes.plot(
                curve.probability,
                curve.true,
                marker=marker,
                linestyle="-" if name == "full" else "--",
                color=STAND_INS[name],
                label=title,
            )
        axes.legend(frameon=False, loc="upper left")
        axes.set(xlabel="probability", ylabel="share of true labels", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))

    return draw("audit-reliability", "Probability and truth", plot)


def legend_mark(name: str) -> str:
    """A short sample of the line of `name`, for a legend in HTML."""
    dashes = " ".join(str(2 * length) for length in SERIES[name][1]) or "none"
    return (
        '<svg class="mark" viewBox="0 0 36 10" aria-hidden="true">'
        f'<path d="M0 5H36" stroke="var(--{name})" stroke-width="2.5" stroke-dasharray="{dashes}"/></svg>'
    )


def _line(axes: Axes, name: str, x: Sequence[float] | np.ndarray, y: Sequence[float]) -> None:
    axes.plot(x, y, color=STAND_INS[name], dashes=SERIES[name][1], label=name)


def draw(name: str, title: str, plot: Callable[[Axes], None]) -> str:
    """One plot as inline SVG; `name` tells it from the page's others, `title` is its alternative text."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(4.6, 3.3), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title)
        axes.grid(linewidth=0.8)
        plot(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return inline(buffer.getvalue(), name)


def inline(svg: str, name: str) -> str:
    """The SVG without its prologue and metadata, with ids of its own and the page's colours and font."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", svg, count=1)
    for series, stand_in in STAND_INS.items():
        svg = svg.replace(stand_in, f"var(--{series})")
    svg = svg.replace(_INK, "currentColor").replace(_GRID, "var(--line)")
    return re.sub(r"(font: [^;\"]*?)'[^\"]*?(sans-serif)", r"\1\2", svg)
