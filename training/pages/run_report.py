"""The report of a finished run: what was trained, how well it finds, what it doubts, what it cost, what to try next."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from scbch_keras.files import replaced
from scbch_keras.labels.audit import LabelAudit
from scbch_keras.metrics import precision_at_n
from scbch_keras.metrics.comparison import compared_once
from scbch_keras.metrics.graded import precision_with_all_labels
from scbch_keras.modalities import DIRECTIONS, Direction
from scbch_keras.training.data.pairs import RetrievalData
from scbch_keras.training.grid.tables import method_name
from scbch_keras.training.pages import curves
from scbch_keras.training.pages.audit_run import audit_of
from scbch_keras.training.pages.curves import RANDOM, Line, LineStyle
from scbch_keras.training.pages.frame import duration, percent, render
from scbch_keras.training.pages.run_advice import advice, evaluated_epochs, mean_map
from scbch_keras.training.pages.run_searches import Search, example_searches
from scbch_keras.training.runs.evaluate import Chance, metric_rows, random_order
from scbch_keras.training.runs.folder import POSTERIOR, RunError, RunFolder
from scbch_keras.training.runs.open_data import open_data
from scbch_keras.training.runs.own_audit import takes_seconds

PAGE = "report.html"
RANKS = (1, 5, 10, 50, 100, 1000)
DOUBTS = 12
# Words before pictures: what a person tries first.
ORDER: tuple[Direction, ...] = ("t2i", "i2t")
TITLES: dict[Direction, str] = {"t2i": "Texts find images", "i2t": "Images find texts"}
STYLES: dict[Direction, LineStyle] = {
    "t2i": LineStyle("plain", "texts find images (T2I)"),
    "i2t": LineStyle("marked", "images find texts (I2T)", (4.0, 2.0)),
}
LOSS = LineStyle("ink", "loss")


def write_run_report(
    path: Path, out: Path | None = None, progress: Callable[[str], object] = lambda step: None
) -> Path:
    """Write the page of a finished run: one HTML file that loads nothing, for light and dark, a phone and paper.

    Args:
        path: folder of the run; its data has to be where the run found it.
        out: folder of the page, report.html; it is made. None: the run's.
        progress: called with the name of each step as it begins.

    Returns:
        The page. One that was there is replaced as a whole.

    Raises:
        RunError: the run is not finished, its data has moved or changed, or its files are damaged.
        ValueError: `out` is a file, or named as one.
    """
    run = RunFolder.open(path)
    run.check_finished()
    folder = path if out is None else out
    if folder.suffix == ".html" or (folder.exists() and not folder.is_dir()):
        raise ValueError(f"out: expected a folder, in which report.html is written; got the file {folder}")
    progress("Opening the run's data")
    data = _opened(run)
    progress("Measuring and drawing")
    with _whole(run):
        html = draw_run_report(run, data)
    folder.mkdir(parents=True, exist_ok=True)
    with replaced(folder / PAGE) as file:
        file.write(html.encode())
    return folder / PAGE


def draw_run_report(run: RunFolder, data: RetrievalData) -> str:
    """The page of a finished run on its data, the same text for the same run.

    Raises:
        ValueError: files of the run that are missing, damaged, or do not fit each other or the data.
    """
    chance = random_order(data.query.labels, data.database.labels)
    audit, noise, note = _audited(run, data)
    metrics, epochs = run.state["metrics"], run.epochs_done
    searches = example_searches(run, data)
    return render(
        "run.html",
        title=f"Report of a run: {data.title}",
        run=run,
        data=data,
        method=method_name(run.recipe.variant),
        order=ORDER,
        titles=TITLES,
        styles=STYLES,
        random=RANDOM,
        chance=chance,
        facts=_facts(run, chance),
        scores=[(way, metrics[way]["map"]) for way in ORDER],
        mean_map=mean_map(run),
        **_precision(run, data),
        metrics=metric_rows(metrics),
        directions=list(DIRECTIONS),
        recall_curves=[(_recall_curve(run, way, chance), _in_words(run, way, chance)) for way in ORDER],
        learning=_learning(run, chance),
        epochs=epochs,
        searches=[(way, _counted(searches, way, chance)) for way in ORDER],
        noise=noise,
        note=note,
        audit=_doubts(audit),
        cost=_cost(run, data),
        advice=advice(run, chance, audit),
        settings=[(name, str(value)) for name, value in run.recipe.as_dict().items()],
        versions=[(name, str(value)) for name, value in run.state["versions"].items()],
    )


def _opened(run: RunFolder) -> RetrievalData:
    try:
        data = open_data(run.recipe, run.path)
        run.check_data(data)
    except (OSError, ValueError) as error:
        place = run.recipe.folder or run.recipe.data
        here = "" if Path(place).is_absolute() else ", seen from the folder where it was trained,"
        raise RunError(
            f"{run.path}: the report shows the run's data, which cannot be opened: {error}; put it back at "
            f"{place}{here} as it was"
        ) from error
    return data


@contextmanager
def _whole(run: RunFolder) -> Iterator[None]:
    """Say of files that do not fit each other that the run is damaged."""
    try:
        yield
    except RunError:
        raise
    except (IndexError, KeyError, OSError, TypeError, ValueError) as error:
        reason = f"there is no {error}" if isinstance(error, KeyError) else error
        raise RunError(
            f"{run.path}: the run is damaged, its files do not fit each other or the data: {reason}; take the folder "
            "from a backup, or train the run anew"
        ) from error


def _audited(run: RunFolder, data: RetrievalData) -> tuple[LabelAudit, str | None, str | None]:
    """As `audit_of`, but by the neighbours where a posterior would take longer than seconds."""
    train = data.train
    columns = int(np.prod(train.image.shape[1:]) + np.prod(train.text.shape[1:]))
    if (run.path / POSTERIOR).is_file() or takes_seconds(len(train), columns, train.labels.shape[1]):
        return audit_of(run, "posterior", data)
    note = (
        "Ranked by the neighbours: estimating how probable the labels are takes longer; scbch audit does it"
    )
    return audit_of(run, "neighbours")[0], None, note


def _facts(run: RunFolder, chance: Chance) -> list[tuple[str, str]]:
    metrics, bits = run.state["metrics"], run.recipe.bits
    words = {"t2i": "when texts search for images", "i2t": "when images search for texts"}
    facts = [
        (f"{metrics[way]['map']:.2f}", f"mAP {words[way]}; a random order gives {chance.map:.2f}")
        for way in ORDER
    ]
    stored = f"{-(-bits // 8)} byte{'s' if bits > 8 else ''}"
    return [*facts, (f"{bits} bit{'s' if bits > 1 else ''}", f"are kept of each image and text: {stored}")]


def _precision(run: RunFolder, data: RetrievalData) -> dict[str, Any]:
    """Share of right ones among the first: right by one shared label, and by all labels of the query."""
    ranks = [rank for rank in RANKS if rank <= len(data.database)]
    rows: list[tuple[str, Direction, list[float]]] = []
    with compared_once():
        for way in ORDER:
            source, target = DIRECTIONS[way]
            both = (
                *(
                    run.array(f"{part}_{side}_codes")
                    for part, side in (("query", source), ("database", target))
                ),
                data.query.labels,
                data.database.labels,
            )
            for kind, measure in (("one", precision_at_n), ("all", precision_with_all_labels)):
                values = measure(*both, bits=run.recipe.bits, n=ranks)
                rows.append((kind, way, [float(value) for value in values]))
    return {"ranks": ranks, "precision": rows}


def _recall_curve(run: RunFolder, way: Direction, chance: Chance) -> str:
    curve = run.state["metrics"][way]
    line = Line(STYLES[way], curve["recall"], curve["precision"])
    return curves.precision_recall(f"pr-{way}", TITLES[way], [line], chance.precision)


def _in_words(run: RunFolder, way: Direction, chance: Chance) -> str:
    score = run.state["metrics"][way]["map"]
    return (
        f"Precision over recall. {TITLES[way]}: mAP {score:.3f}; a random order has a precision of "
        f"{chance.precision:.3f} everywhere."
    )


def _learning(run: RunFolder, chance: Chance) -> list[tuple[str, str]]:
    """(plot, what it shows in words) of mAP and loss by epoch."""
    history, epochs = run.state["history"], run.epochs_done
    drawn = []
    numbers, means = evaluated_epochs(run)
    if numbers:
        logged = {logs["epoch"]: logs for logs in history}
        lines = [
            Line(STYLES[way], numbers, [logged[epoch][f"{way}_map"] for epoch in numbers]) for way in ORDER
        ]
        words = (
            f"mAP by epoch: the mean of both directions was {means[0]:.3f} after epoch {numbers[0]} and "
            f"{means[-1]:.3f} after epoch {numbers[-1]}; a random order has {chance.map:.3f}."
        )
        drawn.append((curves.by_epoch("map", "mAP", lines, epochs, "mAP", chance.map), words))
    losses = [logs.get("loss") for logs in history]
    known = [loss for loss in losses if loss is not None]
    if known:
        line = Line(LOSS, range(1, epochs + 1), losses)
        words = f"Loss by epoch: {known[0]:.3f} at first, {known[-1]:.3f} at last."
        drawn.append((curves.by_epoch("loss", "Loss", [line], epochs, "loss"), words))
    return drawn


def _counted(searches: list[Search], way: Direction, chance: Chance) -> dict[str, Any]:
    shown = [search for search in searches if search.direction == way]
    hits = [hit for search in shown for hit in search.hits]
    return {
        "searches": shown,
        "hits": len(hits),
        "right": sum(bool(hit.shared) for hit in hits),
        "chance": chance.precision * len(hits),
    }


def _doubts(audit: LabelAudit) -> dict[str, Any]:
    wrong, missing = audit.contradicted(), audit.suggested()
    shown = [
        sample for sample in audit.samples(audit.suspects(DOUBTS)) if sample.contradicted or sample.suggested
    ]
    return {
        "labels": int((audit.labels != 0).sum()),
        "wrong": int(wrong.sum()),
        "missing": int(missing.sum()),
        "samples": shown,
    }


def _cost(run: RunFolder, data: RetrievalData) -> list[tuple[str, str]]:
    state, epochs = run.state, run.epochs_done
    seconds, cpu, peak = state["seconds"], state.get("cpu_seconds"), state.get("peak_memory")
    pairs = [
        ("time", f"{duration(seconds)} for {epochs} epochs, measuring mAP included"),
        ("an epoch", f"{seconds / epochs:.2f} s in the mean, {len(data.train):,} training pairs"),
    ]
    if cpu is not None:
        pairs.append(
            ("processor", f"{duration(cpu)} of one core, {percent(cpu / max(seconds, 1e-9))} of the time")
        )
    if peak is not None:
        pairs.append(("memory", f"{peak / 2**20:,.0f} MiB at most"))
    if state["model"] is not None:
        pairs.append(("model", f"{(run.path / state['model']).stat().st_size / 2**20:,.1f} MiB on disk"))
    return pairs
