"""Figures as inline SVG that takes its colours and its font from the page around it."""

import io
import re
from collections.abc import Callable, Mapping
from typing import Any
from zlib import crc32

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from scbch_keras.labels.audit import Reliability

CHANCE_DASHES = (6.0, 2.0, 1.0, 2.0)
_VARIABLES: dict[str, str] = {}


def page_colours(*names: str) -> dict[str, str]:
    """Colours to draw with, by the name of the CSS variable that each becomes in the page.

    Matplotlib wants colours, the page has its own for light and dark: these stand in for them in the drawing.
    """
    colours = {name: f"#0a{crc32(name.encode()) % 2**16:04x}" for name in names}
    for name, colour in colours.items():
        if _VARIABLES.setdefault(colour, name) != name:
            raise ValueError(
                f"names: {name!r} and {_VARIABLES[colour]!r} have one colour; rename one of them"
            )
    return colours


_COLOURS = page_colours("ink", "line", "plain", "marked", "chance")
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 11.0,
    "font.family": "sans-serif",
    "text.color": _COLOURS["ink"],
    "axes.edgecolor": _COLOURS["ink"],
    "axes.labelcolor": _COLOURS["ink"],
    "axes.titlesize": 12.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": _COLOURS["ink"],
    "ytick.color": _COLOURS["ink"],
    "grid.color": _COLOURS["line"],
    "lines.linewidth": 2.0,
    "hatch.linewidth": 1.4,
    "lines.scale_dashes": True,
}


def two_histograms(
    axes: Axes, values: NDArray[np.floating], marked: NDArray[np.bool_], edges: NDArray[np.floating]
) -> None:
    """Shares of two groups of values (n,) by bin: marked (n,) hatched and dashed, the others filled."""
    for name, chosen, hatch in (("plain", ~marked, None), ("marked", marked, "////")):
        if not chosen.any():
            continue
        share = np.histogram(values[chosen], edges)[0] / chosen.sum()
        colour = _COLOURS[name]
        if hatch is None:
            axes.stairs(share, edges, fill=True, color=colour, alpha=0.35)
        else:
            axes.stairs(share, edges, fill=True, facecolor="none", edgecolor=colour, hatch=hatch)
        axes.stairs(share, edges, color=colour, linewidth=1.6, linestyle="--" if hatch else "-")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def reliability(curves: Mapping[str, Reliability]) -> str:
    """Share of true labels over their probability, a line for each of at most two curves, beside the diagonal."""

    def plot(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=_COLOURS["chance"], linewidth=1.2, dashes=CHANCE_DASHES)
        for name, marker, (title, curve) in zip(("plain", "marked"), "os", curves.items(), strict=False):
            axes.plot(
                curve.probability,
                curve.true,
                marker=marker,
                linestyle="-" if name == "plain" else "--",
                color=_COLOURS[name],
                label=title,
            )
        axes.legend(frameon=False, loc="upper left")
        axes.set(xlabel="probability", ylabel="share of true labels", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))

    return draw("audit-reliability", "Probability and truth", plot)


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
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return re.sub(r"(font: [^;\"]*?)'[^\"]*?(sans-serif)", r"\1\2", svg)
