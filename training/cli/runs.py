"""The commands on a run: evaluate, report, figures."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scbch_keras.safe_text import terminal
from scbch_keras.training.cli.app import app, bad_input_ends, quiet_import
from scbch_keras.training.cli.options import Columns, RunBackend, RunPath, option
from scbch_keras.training.cli.shown import show_metrics, show_sources
from scbch_keras.training.environment import choose_backend
from scbch_keras.training.progress import steps


@app.command()
def evaluate(
    run: RunPath,
    data: Annotated[
        Path | None, option("Other data of your own, with the run's labels.", "the run's")
    ] = None,
    columns: Columns = None,
    backend: RunBackend = None,
    graded: Annotated[
        bool, typer.Option("--graded", help="Metrics of relevance in degrees too: nDCG, ACG, weighted mAP.")
    ] = False,
) -> None:
    """Encode queries and database with a run's model and print every retrieval metric."""
    from scbch_keras.training.runs.folder import RunFolder

    with bad_input_ends():
        stored = RunFolder.open(run)
        os.environ["KERAS_BACKEND"] = choose_backend(backend or stored.recipe.backend)
        with quiet_import():
            from scbch_keras.codes import pack_codes
            from scbch_keras.training.runs.evaluate import encode, retrieval_metrics
            from scbch_keras.training.runs.open_data import open_data, open_other
            from scbch_keras.training.runs.train import load_model
        console = Console()
        if columns is not None and data is None:
            raise ValueError("columns goes with --data; the run has those of its own data")
        recipe = stored.recipe if columns is None else replace(stored.recipe, columns=columns)
        pairs = open_data(recipe, run) if data is None else open_other(recipe, run, data)
        if data is None:
            stored.check_data(pairs)
        show_sources(console, pairs)
        with steps(transient=True) as step:
            step("Encoding queries and database")
            model = load_model(stored)
            query, database = (
                {name: pack_codes(codes) for name, codes in encode(model, part).items()}
                for part in (pairs.query, pairs.database)
            )
            step("Measuring")
            labels = pairs.query.labels, pairs.database.labels
            metrics = retrieval_metrics(query, database, *labels, model.bits, graded or bool(recipe.graded))
    show_metrics(console, metrics, stored.state["data"])


@app.command()
def report(
    run: RunPath,
    out: Annotated[Path | None, option("Folder of the page, report.html.", "the run's")] = None,
    backend: RunBackend = None,
) -> None:
    """Write a page on a finished run: how well it finds, examples, doubtful labels, cost, what to try next."""
    from scbch_keras.training.runs.folder import RunFolder

    with bad_input_ends():
        stored = RunFolder.open(run)
        stored.check_finished()
        os.environ["KERAS_BACKEND"] = choose_backend(backend or stored.recipe.backend)
        # Only a backbone for pictures needs Keras; whatever that imports shall not write into the display.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        from scbch_keras.training.pages.run_report import write_run_report

        with steps(transient=True) as step:
            page = write_run_report(run, out, step)
    typer.echo(terminal(page))


@app.command()
def figures(run: RunPath) -> None:
    """Draw the paper's Figures 4, 5 and 6 from a stored run, as PNG and SVG in its folder figures/."""
    from scbch_keras.training.pages.run_figures import draw_figures

    with bad_input_ends(), steps(transient=True) as step:
        step("Drawing")
        paths = draw_figures(run)
    for path in paths:
        typer.echo(terminal(path))
