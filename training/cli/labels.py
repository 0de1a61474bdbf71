"""The commands around doubtful labels: audit, fix, gain."""

import os
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console
from rich.table import Table

from scbch_keras.safe_text import terminal
from scbch_keras.training.cli.app import (
    app,
    bad_input_ends,
    given_settings,
    quiet_import,
    show_line,
    show_next,
    stopped_ends,
    uses_tensorflow,
)
from scbch_keras.training.cli.options import (
    AUDITED_BY,
    PROPOSED_BY,
    Backend,
    Checked,
    Columns,
    Data,
    Epochs,
    ImageFeatures,
    ImageWeights,
    NoAllocator,
    Seeds,
    Separator,
    Settings,
    TextFeatures,
    Variant,
    choice,
    option,
)
from scbch_keras.training.environment import choose_backend
from scbch_keras.training.progress import steps


@app.command()
def audit(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="DATA|RUN", help="Your own data, or the folder of a run, with its training data."
        ),
    ],
    out: Annotated[
        Path | None, option("DATA: the folder to write to.", "scbch-audit; RUN: its own folder")
    ] = None,
    limit: Annotated[int, option("Samples on the page.")] = 100,
    by: Annotated[str, choice(AUDITED_BY, "RUN: what labels are compared with.")] = "posterior",
    separator: Separator = None,
    columns: Columns = None,
    image_features: ImageFeatures = None,
    image_weights: ImageWeights = None,
    text_features: TextFeatures = None,
    checked: Checked = None,
    propose: Annotated[
        int | None, option("So many rows to check by hand, into check.csv.", "none", min=1)
    ] = None,
    propose_by: Annotated[str, choice(PROPOSED_BY, "Which rows those are.")] = "random",
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
        from scbch_keras.training.runs.folder import STATE, RunFolder

        if (path / STATE).is_file():
            if named := [*passed, *(["out"] if out is not None else [])]:
                raise ValueError(f"--{named[0].replace('_', '-')} is for data; {path} is a run")
            with steps(transient=True) as step:
                step("Looking for doubtful labels")
                audited = audit_run(path, limit, cast(Any, by), propose, cast(Any, propose_by))
            recipe = RunFolder.open(path).recipe
            fixing = (
                None
                if recipe.is_named
                else _fixing(
                    recipe.data, None if recipe.separator == ";" else recipe.separator, recipe.columns
                )
            )
        else:
            if by != "posterior":
                raise ValueError(f"--by {by} is for a run, which has neighbours; {path} is data")
            if path.is_dir() and not is_data(path):
                raise ValueError(
                    f"{path}: expected a run's folder, with {STATE} in it, or data: a folder with one table"
                )
            with steps(transient=True) as step:
                step("Looking for doubtful labels")
                audited = audit_data(path, out or Path("scbch-audit"), limit, **passed, **proposed)
            fixing = _fixing(str(path), separator, columns)
    for line in audited.summary:
        show_line(line)
    page = next(file for file in audited.written if file.suffix == ".html")
    show_line(f"Next: open {page}, decide on each doubt, and save corrections.csv")
    if fixing is not None:
        show_next(fixing)


def _fixing(data: str, separator: str | None, columns: str | None) -> list[object]:
    """The command that applies the corrections to one's own data."""
    named = {"--separator": separator, "--columns": columns}
    flags = [part for name, value in named.items() if value is not None for part in (name, value)]
    return ["fix", data, "corrections.csv", "--out", f"{Path(data).stem}-fixed", *flags]


@app.command()
def fix(
    data: Data,
    corrections: Annotated[
        Path, typer.Argument(metavar="CORRECTIONS", help="The CSV file that the audit page saved.")
    ],
    out: Annotated[
        Path, typer.Option(help="The folder to write, new or empty; `scbch train` takes it as data.")
    ],
    separator: Separator = None,
    columns: Columns = None,
    link: Annotated[
        bool,
        typer.Option("--link", help="Hard links to the pictures, which need no room, in place of copies."),
    ] = False,
) -> None:
    """Apply corrections to a copy of your data, with a log of what was changed by whom; the data stays as it is."""
    from scbch_keras.training.data.own.fixing import fix as apply

    with bad_input_ends(), steps(transient=True) as step:
        step("Applying the corrections to a copy")
        fixed = apply(data, corrections, out, separator or ";", "link" if link else "copy", columns)
    for line in fixed.summary:
        typer.echo(terminal(line))
    show_next(("train", out), ("gain", out, "--out", f"{out.name}-gain"))


@app.command()
def gain(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="The folder that `scbch fix` wrote.")],
    out: Annotated[
        Path, typer.Option(help="Folder of the runs; the same command goes on with those that are there.")
    ],
    backend: Backend = None,
    seeds: Seeds = 3,
    separator: Separator = None,
    columns: Columns = None,
    image_features: ImageFeatures = None,
    variant: Variant = None,
    epochs: Epochs = None,
    settings: Settings = None,
    no_allocator: NoAllocator = False,
) -> None:
    """Train on the labels before and after the corrections, and print what they gained on the same queries."""
    from scbch_keras.training.runs.recipe import resolve
    from scbch_keras.training.runs.stopping import ended_in_time

    with bad_input_ends(), ended_in_time():
        os.environ["KERAS_BACKEND"] = choose_backend(backend)
        flags = {
            "data": data,
            "backend": os.environ["KERAS_BACKEND"],
            "separator": separator,
            "columns": columns,
            "image_features": image_features,
            "variant": variant,
            "epochs": epochs,
        }
        recipe = resolve(**given_settings(flags, settings))
        with quiet_import(tensorflow=uses_tensorflow(recipe.image_features)):
            from scbch_keras.training.runs.gain import gain as measure
        with stopped_ends(), steps() as step:
            measured = measure(recipe, out, range(seeds), step)
    console = Console()
    show_line(f"Corrected labels: {measured.note}", console)
    table = Table("mAP@all, mean of both directions", title_justify="left")
    for column in ("before", "after", "gain"):
        table.add_column(column, justify="right")
    for seed, before, after in measured.seeds:
        table.add_row(f"seed {seed}", f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}")
    table.add_row("mean", *measured.means, style="bold")
    console.print(table)
    show_line(measured.judged, console)
