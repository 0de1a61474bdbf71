"""The commands around releases: export, and release list, validate, promote, rollback, prune."""

import os
import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scbch_keras.safe_text import terminal
from scbch_keras.training.cli.ago import ago
from scbch_keras.training.cli.app import app, bad_input_ends, quiet_import, show_next
from scbch_keras.training.cli.options import (
    ENCODER_PRECISIONS,
    FORMATS,
    MaxMAPLoss,
    MinMAP,
    Releases,
    RunBackend,
    RunPath,
    choice,
    option,
)
from scbch_keras.training.environment import choose_backend
from scbch_keras.training.progress import steps

release = typer.Typer(help="The versions of a released model.", no_args_is_help=True)
app.add_typer(release, name="release")


@app.command()
def export(
    run: RunPath,
    out: Annotated[Path, option("Folder of the model's versions; its name is the model's.")],
    formats: Annotated[
        list[str] | None,
        choice(FORMATS, "What the encoders are written as. Can be repeated.", "both", flags=("--format",)),
    ] = None,
    quantize: Annotated[
        list[str] | None,
        choice(ENCODER_PRECISIONS[1:], "Smaller ONNX files beside. Can be repeated.", "none"),
    ] = None,
    min_map: MinMAP = None,
    max_map_loss: MaxMAPLoss = 0.0,
    backend: RunBackend = None,
) -> None:
    """Release the model of a run: verified, scored on the run's queries, and `latest` if that was good enough."""
    from scbch_keras.training.runs.folder import RunFolder

    with bad_input_ends():
        os.environ["KERAS_BACKEND"] = choose_backend(backend or RunFolder.open(run).recipe.backend)
        with quiet_import():
            from scbch_keras.training.runs.release import release_run
        with warnings.catch_warnings(), steps() as step:
            warnings.simplefilter("ignore", UserWarning)  # it is told below, with the exit status
            made = release_run(run, out, formats or FORMATS, quantize or (), min_map, max_map_loss, step)
    typer.echo(terminal(made.path))
    _end(made.validation.infra, made.validation.quality)
    show_next(("encode", out / "latest", "INPUT", "--out", "codes.npy"))


@release.command("list")
def list_versions(folder: Releases) -> None:
    """List the versions: whether blessed, mean mAP, and at which `latest` points."""
    from scbch_keras.export import releases

    console = Console()
    table = Table()
    for column in ("version", "created", "latest", "mAP"):
        table.add_column(column, no_wrap=True)
    table.add_column("blessed", overflow="fold")
    for version in releases(folder):
        scores = "" if version.map is None else "\n".join(f"{k} {v:.4f}" for k, v in version.map.items())
        state = "yes" if version.blessed else "no: " + "; ".join(version.reasons)
        latest = "latest" if version.is_latest else ""
        cells = (version.version, ago(version.created) if version.created else "", latest, scores, state)
        table.add_row(*(Text(terminal(cell, lines=True)) for cell in cells))
    console.print(table)


@release.command()
def validate(
    folder: Releases,
    version: Annotated[int | None, option("Number of the version.", "the one at `latest`")] = None,
    evaluation: Annotated[
        Path | None,
        option("Queries and a database, as Evaluation.save writes them.", "none: nothing is measured"),
    ] = None,
    min_map: MinMAP = None,
    max_map_loss: MaxMAPLoss = 0.0,
) -> None:
    """Validate a version in a fresh process, and leave the marks in its folder. Exit status 1 if not blessed."""
    from scbch_keras.export import Evaluation
    from scbch_keras.export import validate as validate_release

    with bad_input_ends(), steps() as step:
        step("Validating in a fresh process")
        validation = validate_release(
            folder / ("latest" if version is None else str(version)),
            evaluation=None if evaluation is None else Evaluation.load(evaluation),
            min_map=min_map,
            max_map_loss=max_map_loss,
        )
    _end(validation.infra, validation.quality)


@release.command()
def promote(folder: Releases, version: Annotated[int, typer.Argument(help="A blessed version.")]) -> None:
    """Point `latest` at a blessed version."""
    from scbch_keras.export import promote as promote_version

    with bad_input_ends():
        typer.echo(terminal(promote_version(folder, version)))


@release.command()
def rollback(folder: Releases) -> None:
    """Point `latest` at the blessed version before."""
    from scbch_keras.export import rollback as roll_back

    with bad_input_ends():
        typer.echo(terminal(roll_back(folder)))


@release.command()
def prune(
    folder: Releases, keep: Annotated[int, typer.Option(help="How many of the highest versions stay.")]
) -> None:
    """Delete old versions, never the one at `latest`, and what killed exports left."""
    from scbch_keras.export import prune as prune_versions

    with bad_input_ends():
        for version in prune_versions(folder, keep):
            typer.echo(terminal(f"deleted {folder / str(version)}"))


def _end(infra: tuple[str, ...], quality: tuple[str, ...]) -> None:
    for reason in (*infra, *quality):
        typer.echo(terminal(f"Not blessed: {reason}", lines=True), err=True)
    if infra or quality:
        raise typer.Exit(1)
    typer.echo("Blessed.")
