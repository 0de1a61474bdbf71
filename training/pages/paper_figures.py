"""The paper's Figures 4 to 6 for any run, each as PNG (200 dpi) and as SVG with its text as text."""

import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from scbch_keras.files import replaced
from scbch_keras.modalities import DIRECTIONS, Direction
from scbch_keras.training.pages.plots import CHANCE_DASHES, STYLE

DPI = 200
MAX_SAMPLES = 64
"""Samples of a similarity map; more would be too small to see."""
PANELS: dict[Direction, str] = {"i2t": "Image queries text (I2T)", "t2i": "Text queries image (T2I)"}

# told apart without colour by dashes and marker, and by colour-blind eyes
_COLOURS = ("#1f5fbf", "#b8460a", "#00735c", "#9a3d7d", "#8a6100", "#4b5563", "#3a9bd6", "#1d2026")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h")
_DASHES: tuple[tuple[float, ...], ...] = ((), (4.0, 1.6), (1.0, 1.4), (6.0, 1.6, 1.0, 1.6), (2.5, 1.2))
_CLEAN, _CORRUPTED, _CHANCE = "#1f5fbf", "#a8490b", "#666c78"
_MAP = "viridis"
_WIDTH = 9.2
_ROUNDING = 1e-5
_INK, _GRID = "#1d2026", "#d9d7d0"
_STYLE: dict[Any, Any] = {
    **STYLE,
    "figure.facecolor": "white",
    "text.parse_math": False,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _GRID,
}

Curve = tuple[Sequence[float] | NDArray[Any], Sequence[float] | NDArray[Any]]
Codes = tuple[NDArray[Any], NDArray[Any]]


def precision_recall(
    curves: Mapping[str, Mapping[Direction, Curve]],
    path_stem: str | os.PathLike[str],
    title: str,
    chance: Mapping[Direction, float] | None = None,
) -> tuple[Path, Path]:
    """Fig. 4: precision over recall, a panel a direction, a line a method or run.

    Args:
        curves: name -> {"i2t": (recall, precision), "t2i": (recall, precision)}, each (points,) in [0, 1]. Where
            nothing was retrieved precision is NaN, and the point is left out.
        path_stem: files are written to path_stem.png and path_stem.svg, in an existing folder.
        title: above both panels.
        chance: precision of a random order in each direction, in [0, 1], drawn as a line where it is known.

    Returns:
        Both paths.

    Raises:
        ValueError: the curves are not as said, or the folder is not there.
    """
    checked = _check_curves(curves)
    if chance is not None and (
        set(chance) != set(DIRECTIONS) or not all(0 <= level <= 1 for level in chance.values())
    ):
        raise ValueError(f'chance must map "i2t" and "t2i" to precisions in [0, 1], got {chance!r:.80}')

    def plot(drawing: Figure) -> None:
        both = drawing.subplots(1, 2, sharey=True)
        for axes, direction in zip(both, DIRECTIONS, strict=True):
            for number, (name, by_direction) in enumerate(checked.items()):
                axes.plot(*by_direction[direction], label=name, **_look(number))
            if chance is not None:
                axes.axhline(chance[direction], label="a random order", color=_CHANCE, dashes=CHANCE_DASHES)
            axes.set_title(PANELS[direction])
            axes.set(xlabel="recall", xlim=(0, 1), ylim=(0, 1))
            axes.grid(linewidth=0.8)
        both[0].set_ylabel("precision")
        _legend(drawing, both[0], columns)

    # what a line of the legend needs, by its longest name
    columns = max(1, min(4, int(_WIDTH / (0.9 + 0.088 * max(map(len, checked))))))
    return _save(
        path_stem,
        title,
        (_WIDTH, 4.0 + 0.22 * math.ceil((len(checked) + (chance is not None)) / columns)),
        plot,
    )


def similarity_maps(
    labels: NDArray[Any], first: Codes, last: Codes, path_stem: str | os.PathLike[str]
) -> tuple[Path, Path]:
    """Fig. 5: what samples share by label, and how alike images and texts are after the first and last epoch.

    Args:
        labels: 0/1 (n, C) of 2 to 64 training samples (the paper has 16).
        first: continuous codes (image, text), each (n, L), after the first epoch. Their cosines are drawn, images
            down and texts across.
        last: the same after the last epoch, on the same scale.
        path_stem: files are written to path_stem.png and path_stem.svg, in an existing folder.

    Returns:
        Both paths.

    Raises:
        ValueError: labels or codes are not as said, or the folder is not there.
    """
    shared = _jaccard(_check_labels(labels))
    cosines = [_cosine(name, codes, len(shared)) for name, codes in (("first", first), ("last", last))]
    low = min(0.0, *(math.floor(10 * cosine.min()) / 10 for cosine in cosines))
    high = max(math.ceil(10 * cosine.max()) / 10 for cosine in cosines)

    def plot(drawing: Figure) -> None:
        panels = drawing.subplots(1, 3)
        by_label = _heat_map(panels[0], shared, "Shared labels", ("sample", "sample"), (0, 1))
        for axes, cosine, title in zip(
            panels[1:], cosines, ("After the first epoch", "After the last epoch"), strict=True
        ):
            by_code = _heat_map(axes, cosine, title, ("text", "image"), (low, high))
        bar: dict[str, Any] = {"location": "bottom", "pad": 0.03, "aspect": 30}
        drawing.colorbar(by_label, ax=panels[0], shrink=0.9, label="label similarity (Jaccard)", **bar)
        drawing.colorbar(
            by_code,
            ax=list(panels[1:]),
            shrink=0.6,
            label="similarity of image and text codes (cosine)",
            **bar,
        )

    return _save(path_stem, "", (11.5, 4.9), plot)


def confidence_histograms(
    early: NDArray[Any],
    last: NDArray[Any],
    corrupted: NDArray[np.bool_],
    path_stem: str | os.PathLike[str],
    titles: tuple[str, str],
) -> tuple[Path, Path]:
    """Fig. 6: confidence weights of samples with clean and with corrupted labels, early and at the end.

    Args:
        early: weights (n,) in [0, 1]; the axis begins at 0.5 unless there are lower ones.
        last: the same at the end.
        corrupted: bool (n,), where a sample's labels are wrong.
        path_stem: files are written to path_stem.png and path_stem.svg, in an existing folder.
        titles: of both panels.

    Returns:
        Both paths.

    Raises:
        ValueError: an array or the titles are not as said, or the folder is not there.
    """
    weights = _check_weights(early, last, corrupted)
    if len(titles) != 2 or isinstance(titles, str):
        raise ValueError(f"titles must be two, got {titles!r}")
    low = 0.5 if min(values.min() for values in weights) >= 0.5 else 0.0
    edges = np.linspace(low, 1, 26 if low else 51)
    both_kinds = (("clean labels", ~corrupted, _CLEAN), ("corrupted labels", corrupted, _CORRUPTED))
    kinds = tuple(kind for kind in both_kinds if kind[1].any())

    def shares(values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.histogram(values[chosen], edges)[0] / chosen.sum()

    peak = max(shares(values, chosen).max() for values in weights for _, chosen, _ in kinds)

    def plot(drawing: Figure) -> None:
        both = drawing.subplots(1, 2, sharey=True)
        for axes, values, title in zip(both, weights, titles, strict=True):
            for name, chosen, colour in kinds:
                _steps(axes, shares(values, chosen), edges, colour, f"{name} ({chosen.sum():,} samples)")
            axes.set_title(title)
            axes.set(xlabel="confidence weight", xlim=(low, 1), ylim=(0, 1.05 * peak))
            axes.grid(linewidth=0.8)
        both[0].set_ylabel("share of the samples of a kind")
        both[0].yaxis.set_major_formatter(PercentFormatter(1))
        _legend(drawing, both[0], columns=2)

    return _save(path_stem, "", (_WIDTH, 3.9), plot)


def _steps(
    axes: Axes, share: NDArray[np.float64], edges: NDArray[np.float64], colour: str, label: str
) -> None:
    if colour == _CLEAN:
        axes.stairs(
            share, edges, fill=True, facecolor=f"{colour}59", edgecolor=colour, linewidth=1.6, label=label
        )
    else:
        axes.stairs(
            share,
            edges,
            fill=True,
            facecolor="none",
            edgecolor=colour,
            hatch="////",
            ls="--",
            linewidth=1.6,
            label=label,
        )


def _heat_map(
    axes: Axes, values: NDArray[np.float64], title: str, words: tuple[str, str], limits: tuple[float, float]
) -> Any:
    drawn = axes.imshow(values, cmap=_MAP, vmin=limits[0], vmax=limits[1], interpolation="nearest")
    axes.set_title(title)
    axes.set(xlabel=words[0], ylabel=words[1])
    # samples count from 1
    ticks = MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10], prune=None).tick_values(1, len(values))
    shown = [int(tick) for tick in ticks if 1 <= tick <= len(values)]
    axes.set_xticks([tick - 1 for tick in shown], [str(tick) for tick in shown])
    axes.set_yticks([tick - 1 for tick in shown], [str(tick) for tick in shown])
    axes.spines[:].set_visible(False)
    return drawn


def _look(number: int) -> dict[str, Any]:
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "marker": _MARKERS[number % len(_MARKERS)],
        "dashes": _DASHES[number % len(_DASHES)],
        "markersize": 5,
        "linewidth": 1.8,
        "clip_on": False,
    }


def _legend(drawing: Figure, axes: Axes, columns: int) -> None:
    handles, names = axes.get_legend_handles_labels()
    count = min(columns, len(names))
    drawing.legend(handles, names, loc="outside lower center", ncols=count, frameon=False, handlelength=3)


def _save(
    path_stem: str | os.PathLike[str], title: str, size: tuple[float, float], plot: Callable[[Figure], None]
) -> tuple[Path, Path]:
    stem = Path(path_stem)
    if not stem.name or not stem.parent.is_dir():
        raise ValueError(f"path_stem must be a file name in an existing folder, got {os.fspath(path_stem)!r}")
    contents = {}
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": stem.name}):
        drawing = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.06))
        if title:
            drawing.suptitle(title, fontsize=13, fontweight="bold")
        plot(drawing)
        for kind, extra in (("png", {"dpi": DPI}), ("svg", {"metadata": {"Date": None}})):
            buffer = io.BytesIO()
            drawing.savefig(buffer, format=kind, **extra)
            contents[stem.with_name(f"{stem.name}.{kind}")] = buffer.getvalue()
    for path, content in contents.items():
        with replaced(path) as file:
            file.write(content)
    png, svg = contents
    return png, svg


def _jaccard(labels: NDArray[Any]) -> NDArray[np.float64]:
    """0/1 (n, C) -> (n, n): labels in common over labels in either; 0 for two samples without any."""
    ones = labels.astype(np.float64)
    common = ones @ ones.T
    sizes = ones.sum(axis=1)
    return common / np.maximum(sizes[:, None] + sizes - common, 1)


def _cosine(name: str, codes: Any, samples: int) -> NDArray[np.float64]:
    if not isinstance(codes, tuple | list) or len(codes) != 2:
        raise ValueError(f"{name} must be (image codes, text codes), got {type(codes).__name__}")
    unit = []
    for side, array in zip(("image", "text"), codes, strict=True):
        values = np.asarray(array)
        if values.ndim != 2 or len(values) != samples or not np.issubdtype(values.dtype, np.floating):
            raise ValueError(
                f"{name}: expected {side} codes of floats with shape ({samples}, bits), "
                f"got {values.dtype} {values.shape}"
            )
        norms = np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
        if not np.isfinite(norms).all() or not norms.all():
            raise ValueError(f"{name}: expected finite {side} codes, none of them all zero")
        unit.append(values / norms)
    if unit[0].shape != unit[1].shape:
        raise ValueError(
            f"{name}: expected codes of one length, got {unit[0].shape[1]} for image and {unit[1].shape[1]} for text"
        )
    return unit[0] @ unit[1].T


def _check_labels(labels: Any) -> NDArray[Any]:
    values = np.asarray(labels)
    if values.ndim != 2 or not 2 <= len(values) <= MAX_SAMPLES or not values.shape[1]:
        raise ValueError(f"labels must have shape (2 to {MAX_SAMPLES} samples, classes), got {values.shape}")
    if not np.isin(values, (0, 1)).all():
        raise ValueError("labels must hold only 0 and 1")
    return values


def _check_curves(curves: Any) -> dict[str, dict[Direction, Curve]]:
    if not isinstance(curves, Mapping) or not curves:
        raise ValueError(f"curves must map at least one name to its curves, got {curves!r:.80}")
    checked: dict[str, dict[Direction, Curve]] = {}
    for name, by_direction in curves.items():
        if not isinstance(by_direction, Mapping) or set(by_direction) != set(DIRECTIONS):
            raise ValueError(f'curves: expected "i2t" and "t2i" for {name!r}, got {by_direction!r:.80}')
        checked[name] = {way: _check_curve(f"{name}, {way}", by_direction[way]) for way in DIRECTIONS}
    return checked


def _check_curve(name: str, curve: Any) -> Curve:
    if not isinstance(curve, tuple | list) or len(curve) != 2:
        raise ValueError(f"curves: expected (recall, precision) for {name}, got {curve!r:.80}")
    recall, precision = (np.asarray(values, np.float64) for values in curve)
    if recall.ndim != 1 or recall.shape != precision.shape or not len(recall):
        raise ValueError(
            f"curves: expected recall and precision of equal length for {name}, got {recall.shape} "
            f"and {precision.shape}"
        )
    defined = ~np.isnan(precision)
    for what, values in (("recall", recall), ("precision", precision[defined])):
        if not ((values >= 0) & (values <= 1 + 1e-9)).all():
            raise ValueError(f"curves: expected {what} of {name} in [0, 1]")
    return recall[defined], precision[defined]


def _check_weights(early: Any, last: Any, corrupted: Any) -> list[NDArray[np.float64]]:
    if (
        not isinstance(corrupted, np.ndarray)
        or corrupted.dtype != bool
        or corrupted.ndim != 1
        or not len(corrupted)
    ):
        raise ValueError(f"corrupted must be a bool array (n,), got {corrupted!r:.80}")
    checked = []
    for name, array in (("early", early), ("last", last)):
        values = np.asarray(array, np.float64)
        if values.shape != corrupted.shape:
            raise ValueError(
                f"{name} must have a weight for each of {len(corrupted)} samples, got {values.shape}"
            )
        if not ((values >= -_ROUNDING) & (values <= 1 + _ROUNDING)).all():
            raise ValueError(f"{name} must hold weights in [0, 1], got {values.min()} to {values.max()}")
        # float32 ends a hair beside 0.5 and 1, which are the outer edges
        checked.append(np.clip(np.where(np.abs(values - 0.5) < _ROUNDING, 0.5, values), 0, 1))
    return checked
