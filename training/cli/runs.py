"""The commands around a run: train, evaluate, figures, reproduce."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scbch_keras.methods import VARIANTS
from scbch_keras.modalities import DIRECTIONS
from scbch_keras.safe_text import terminal
from scbch_keras.training.cli.app import (
    Columns,
    Settings,
    Tokens,
    app,
    bad_input_ends,
    parsed_settings,
    quiet_import,
)
from scbch_keras.training.environment import BACKENDS, choose_backend
from scbch_keras.training.runs.named import PRECISIONS, SETTINGS

Backend = Annotated[str | None, typer.Option(help=f"Keras backend: {', '.join(BACKENDS)}.")]
Folder = Annotated[Path | None, typer.Option(help="Folder of a benchmark's files.")]
Config = Annotated[Path | None, typer.Option(help="TOML file with settings; flags go over it.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]


@app.command()
def train(
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help=f"{', '.join(SETTINGS)}, or a path to your own data.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the run, new or empty.")] = Path("scbch-run"),
    config: Config = None,
    folder: Folder = None,
    backend: Backend = None,
    noise: Annotated[float | None, typer.Option(help="Share of training samples to corrupt.")] = None,
    bits: Annotated[int | None, typer.Option(help="Code length.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all that is drawn at random.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs.")] = None,
    variant: Annotated[str | None, typer.Option(help=f"One of {', '.join(VARIANTS)}.")] = None,
    queries: Annotated[
        float | None, typer.Option(help="Own data without a split: share or number of queries.")
    ] = None,
    separator: Annotated[str | None, typer.Option(help="What stands between labels in a table.")] = None,
    columns: Columns = None,
    image_features: Annotated[
        str | None, typer.Option(help="Own pictures: a backbone, see `scbch features`.")
    ] = None,
    image_weights: Annotated[Path | None, typer.Option(help="File with the backbone's weights.")] = None,
    text_features: Annotated[
        str | None, typer.Option(help="Own texts: bow, tfidf, doc2vec or an encoder's folder.")
    ] = None,
    tokens: Tokens = None,
    checked: Annotated[
        Path | None,
        typer.Option(help="Table of ids and labels that were checked by hand; posterior variants."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help=f"Of the products in training, one of {', '.join(PRECISIONS)}; float32."),
    ] = None,
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
) -> None:
    """Train on a benchmark or on your own data. Ctrl-C leaves a checkpoint of the last epoch to resume from."""
    from scbch_keras.training.runs.folder import RunFolder
    from scbch_keras.training.runs.stopping import ended_in_time

    flags: dict[str, Any] = {
        "data": data,
        "folder": None if folder is None else str(folder),
        "noise": noise,
        "bits": bits,
        "seed": seed,
        "epochs": epochs,
        "variant": variant,
        "queries": queries,
        "separator": separator,
        "columns": columns,
        "image_features": image_features,
        "image_weights": None if image_weights is None else str(image_weights),
        "text_features": text_features,
        "tokens": tokens,
        "precision": precision,
        "checked": None if checked is None else str(checked),
    }
    with bad_input_ends(), ended_in_time():
        if resume:
            run = RunFolder.open(out)
            passed = [name for name, value in flags.items() if value is not None]
            if passed or config or settings:
                raise ValueError(
                    f"--resume takes the run's own settings; {(passed or ['config'])[0]} was given too"
                )
            recipe = run.recipe
        else:
            from scbch_keras.training.runs.recipe import resolve

            recipe = resolve(config, **{**flags, **parsed_settings(settings)})
        os.environ["KERAS_BACKEND"] = choose_backend(backend or recipe.backend)
        with quiet_import():
            from scbch_keras.training.environment import versions
            from scbch_keras.training.runs import train as training
            from scbch_keras.training.runs.open_data import open_data
        console = Console()
        if not resume:
            recipe = replace(recipe, backend=os.environ["KERAS_BACKEND"])
            run = RunFolder.create(out, recipe, versions(recipe.backend or ""))
        try:
            pairs = open_data(recipe, out)
        except ValueError:
            if not resume:
                run.discard()
            raise
        show_sources(console, pairs)
        try:
            training.train(run, pairs)
        except training.RunStopped as stopped:
            message = f"{str(stopped).capitalize()}. Go on with: scbch train --resume --out {out}"
            console.print(terminal(message), soft_wrap=True, markup=False, highlight=False)
            raise typer.Exit(stopped.status) from stopped
    show_metrics(console, run.state["metrics"], run.state["data"])
    console.print(terminal(f"Run: {out.resolve()}"), soft_wrap=True, markup=False, highlight=False)


@app.command()
def evaluate(
    run: RunPath,
    data: Annotated[Path | None, typer.Option(help="Other data of your own, with the run's labels.")] = None,
    columns: Columns = None,
    backend: Backend = None,
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
        model = load_model(stored)
        query, database = (
            {name: pack_codes(codes) for name, codes in encode(model, part).items()}
            for part in (pairs.query, pairs.database)
        )
        labels = pairs.query.labels, pairs.database.labels
        metrics = retrieval_metrics(query, database, *labels, model.bits, graded or bool(recipe.graded))
    show_metrics(console, metrics, stored.state["data"])


@app.command()
def figures(run: RunPath) -> None:
    """Draw the paper's Figures 4, 5 and 6 from a stored run, as PNG and SVG in its folder figures/."""
    from scbch_keras.training.pages.run_figures import draw_figures

    with bad_input_ends():
        for path in draw_figures(run):
            typer.echo(terminal(path))


@app.command()
def reproduce(
    dataset: Annotated[
        list[str], typer.Option(help=f"One of {', '.join(SETTINGS)}, or a path. Can be repeated.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the grid.")] = Path("scbch-grid"),
    noise: Annotated[list[float] | None, typer.Option(help="Noise rates; all of the paper's and 0.")] = None,
    bits: Annotated[list[int] | None, typer.Option(help="Code lengths; 64.")] = None,
    seeds: Annotated[int, typer.Option(help="How many seeds, from 0.", min=1)] = 5,
    variant: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(VARIANTS)}; full.")] = None,
    folder: Folder = None,
    backend: Backend = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs; the authors' 50.")] = None,
    settings: Settings = None,
) -> None:
    """Run a grid of the paper's protocol, resumable at any moment, and write its tables beside the published ones."""
    from scbch_keras.training.grid.cells import read_cells
    from scbch_keras.training.runs.stopping import ended_in_time

    with bad_input_ends(), ended_in_time():
        os.environ["KERAS_BACKEND"] = choose_backend(backend)
        grid: dict[str, Any] = {
            "datasets": dataset,
            "noises": noise or [0.0, 0.2, 0.5, 0.8],
            "bits": bits or [64],
            "seeds": range(seeds),
            "variants": variant or ["full"],
        }
        unknown = [name for name in dataset if name not in SETTINGS and not Path(name).exists()]
        if unknown:
            raise ValueError(f"dataset: expected one of {', '.join(SETTINGS)}, or a path; got {unknown[0]!r}")
        with quiet_import():
            from scbch_keras.training.grid.reproduce import Grid, reproduce
            from scbch_keras.training.runs.stopping import RunStopped
        recipes = list(
            Grid(**grid).recipes(
                backend=os.environ["KERAS_BACKEND"],
                folder=None if folder is None else str(folder),
                epochs=epochs,
                **parsed_settings(settings),
            )
        )
        try:
            with _cell_progress() as (advance, progress):
                cells = reproduce(recipes, out, advance, progress)
        except RunStopped as stopped:
            typer.echo(f"{terminal(stopped).capitalize()}. The same command goes on from there.")
            raise typer.Exit(stopped.status) from stopped
        from scbch_keras.training.pages.grid_page import write_grid

        written = write_grid(read_cells(cells), out)
    typer.echo(terminal((out / "table.md").read_text(encoding="utf-8"), lines=True))
    for path in written:
        typer.echo(terminal(path))


def show_sources(console: Console, data: Any) -> None:
    """Print what was loaded: files, checksums, shapes, rows."""
    lines = [
        f"{data.title}: {len(data.train):,} training pairs, {len(data.query):,} queries, "
        f"{len(data.database):,} in the database, {data.train.labels.shape[1]} labels"
    ]
    for source in data.sources:
        arrays = ", ".join(f"{key} {shape}" for key, shape in source.arrays.items())
        lines.append(f"  {source.name}  sha256 {source.sha256[:16]}  {arrays}")
    lines += [f"  {name}: {note}" for name, note in data.notes.items()]
    for line in lines:
        console.print(terminal(line), markup=False, highlight=False)


def show_metrics(console: Console, metrics: dict[str, Any], data: dict[str, Any]) -> None:
    """Print the metrics of both directions; a run holds those of the version that trained it."""
    from scbch_keras.training.runs.evaluate import GRADED, METRICS

    titles = {name: metric.title for name, metric in {**METRICS, **GRADED}.items()}
    table = Table(title=Text(terminal(f"{data['title']}, last epoch")), title_justify="left")
    table.add_column("metric")
    for modalities in DIRECTIONS.values():
        table.add_column(" to ".join(modalities), justify="right")
    for key in (key for key in titles if key in metrics["i2t"]):
        values = (metrics[direction][key] for direction in DIRECTIONS)
        table.add_row(titles[key], *(f"{value:.4f}" for value in values))
    for n in metrics["i2t"]["precision_at"]:
        values = (metrics[direction]["precision_at"][n] for direction in DIRECTIONS)
        table.add_row(f"precision@{n}", *(f"{value:.4f}" for value in values))
    console.print(table)


@contextmanager
def _cell_progress() -> Iterator[Any]:
    from scbch_keras.training.progress import display

    with display() as shown:
        cells = shown.add_task("Cells", total=None)
        epochs = shown.add_task("")

        def advance(done: int, total: int, cell: str) -> None:
            shown.update(cells, completed=done, total=total)
            shown.reset(epochs, description=terminal(cell) or "done")

        def progress(epoch: int, of: int) -> None:
            shown.update(epochs, completed=epoch, total=of)

        yield advance, progress
