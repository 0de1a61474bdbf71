"""The commands around doubtful labels: audit, fix, gain."""

import os
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console
from rich.table import Table

from scbch_keras.safe_text import terminal
from scbch_keras.training.cli.app import Columns, Settings, app, bad_input_ends, parsed_settings, quiet_import
from scbch_keras.training.cli.data import Data, Separator
from scbch_keras.training.cli.runs import Backend
from scbch_keras.training.environment import choose_backend


@app.command()
def audit(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="DATA|RUN", help="Your own data, or the folder of a run, with its training data."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="DATA: the folder to write to, scbch-audit. RUN: its own folder.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Samples on the page.")] = 100,
    by: Annotated[str, typer.Option(help="RUN: posterior or neighbours.")] = "posterior",
    separator: Annotated[str | None, typer.Option(help="DATA: between labels in a table.")] = None,
    columns: Columns = None,
    image_features: Annotated[
        str | None,
        typer.Option(help="DATA: a backbone for pictures, see `scbch features`; without, the texts alone."),
    ] = None,
    image_weights: Annotated[
        Path | None, typer.Option(help="DATA: file with the backbone's weights.")
    ] = None,
    text_features: Annotated[
        str | None, typer.Option(help="DATA: bow, tfidf, doc2vec or an encoder's folder.")
    ] = None,
    checked: Annotated[
        Path | None, typer.Option(help="DATA: table of ids and labels that were checked by hand.")
    ] = None,
    propose: Annotated[
        int | None, typer.Option(help="So many rows to check by hand, into check.csv.", min=1)
    ] = None,
    propose_by: Annotated[str, typer.Option(help="random, doubtful or balanced.")] = "random",
) -> None:
    """List the samples whose labels are probably wrong: audit.csv, and audit.html to decide on each."""
    flags = {
        "separator": separator,
        "columns": columns,
        "image_features": image_features,
        "image_weights": image_weights,
        "text_features": text_features,
        "checked": checked,
    }
    passed: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    proposed: dict[str, Any] = {"proposed": propose, "proposed_by": propose_by}
    with bad_input_ends():
        from scbch_keras.training.data.own.fixed_data import is_data
        from scbch_keras.training.pages.audit_run import audit_data, audit_run
        from scbch_keras.training.runs.folder import STATE

        if (path / STATE).is_file():
            if named := [*passed, *(["out"] if out is not None else [])]:
                raise ValueError(f"--{named[0].replace('_', '-')} is for data; {path} is a run")
            audited = audit_run(path, limit, cast(Any, by), propose, cast(Any, propose_by))
        else:
            if by != "posterior":
                raise ValueError(f"--by {by} is for a run, which has neighbours; {path} is data")
            if path.is_dir() and not is_data(path):
                raise ValueError(
                    f"{path}: expected a run's folder, with {STATE} in it, or data: a folder with one table"
                )
            audited = audit_data(path, out or Path("scbch-audit"), limit, **passed, **proposed)
    console = Console()
    for line in audited.summary:
        console.print(terminal(line), soft_wrap=True, markup=False)


@app.command()
def fix(
    data: Data,
    corrections: Annotated[
        Path, typer.Argument(metavar="CORRECTIONS", help="The CSV file that the audit page saved.")
    ],
    out: Annotated[
        Path, typer.Option(help="The folder to write, new or empty; `scbch train` takes it as data.")
    ],
    separator: Separator = ";",
    columns: Columns = None,
    pictures: Annotated[
        str, typer.Option(help="copy: the folder has its own pictures; link: hard links, which need no room.")
    ] = "copy",
) -> None:
    """Apply corrections to a copy of your data, with a log of what was changed by whom; the data stays as it is."""
    from scbch_keras.training.data.own.fixing import fix as apply

    with bad_input_ends():
        fixed = apply(data, corrections, out, separator, cast(Any, pictures), columns)
    for line in fixed.summary:
        typer.echo(terminal(line))
    typer.echo(terminal(f"Next: scbch train {out}, or scbch gain {out}"))


@app.command()
def gain(
    data: Annotated[Path, typer.Argument(metavar="NEW", help="The folder that `scbch fix` wrote.")],
    out: Annotated[
        Path, typer.Option(help="Folder of the runs; the same command goes on with those that are there.")
    ],
    backend: Backend = None,
    seeds: Annotated[int, typer.Option(help="How many seeds, from 0.", min=1)] = 3,
    separator: Separator = ";",
    columns: Columns = None,
    image_features: Annotated[
        str | None, typer.Option(help="Own pictures: a backbone, see `scbch features`.")
    ] = None,
    variant: Annotated[str | None, typer.Option(help="As for `scbch train`; so are the others.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs.")] = None,
    settings: Settings = None,
) -> None:
    """Train on the labels before and after the corrections, and print what they gained on the same queries."""
    from scbch_keras.training.runs.recipe import resolve
    from scbch_keras.training.runs.stopping import ended_in_time

    with bad_input_ends(), ended_in_time():
        os.environ["KERAS_BACKEND"] = choose_backend(backend)
        recipe = resolve(
            data=str(data),
            backend=os.environ["KERAS_BACKEND"],
            separator=separator,
            columns=columns,
            image_features=image_features,
            variant=variant,
            epochs=epochs,
            **parsed_settings(settings),
        )
        with quiet_import():
            from scbch_keras.training.runs.gain import gain as measure
            from scbch_keras.training.runs.stopping import RunStopped
        try:
            measured = measure(recipe, out, range(seeds))
        except RunStopped as stopped:
            typer.echo(f"{terminal(stopped).capitalize()}. The same command goes on from there.")
            raise typer.Exit(stopped.status) from stopped
    console = Console()
    console.print(
        terminal(f"Corrected labels: {measured.note}"), soft_wrap=True, markup=False, highlight=False
    )
    table = Table("mAP@all, mean of both directions", title_justify="left")
    for column in ("before", "after", "gain"):
        table.add_column(column, justify="right")
    for seed, before, after in measured.seeds:
        table.add_row(f"seed {seed}", f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}")
    table.add_row("mean", *measured.means, style="bold")
    console.print(table)
    console.print(terminal(measured.judged), soft_wrap=True, markup=False, highlight=False)
