"""The command that runs the paper's protocol: reproduce."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from scbch_keras.checks import nearest
from scbch_keras.methods import VARIANTS
from scbch_keras.safe_text import terminal
from scbch_keras.training.cli.app import (
    app,
    bad_input_ends,
    given_settings,
    parsed_settings,
    quiet_import,
    stopped_ends,
    uses_tensorflow,
)
from scbch_keras.training.cli.options import (
    Backend,
    Epochs,
    Folder,
    NamedData,
    NoAllocator,
    Seeds,
    Settings,
    choice,
    option,
)
from scbch_keras.training.environment import choose_backend
from scbch_keras.training.progress import display
from scbch_keras.training.runs.named import SETTINGS


@app.command()
def reproduce(
    data: Annotated[list[str], typer.Argument(metavar="DATA...", help=NamedData)],
    out: Annotated[Path, option("Folder of the grid.")] = Path("scbch-grid"),
    noise: Annotated[
        list[float] | None,
        option(
            "Share of the training samples whose labels are corrupted. Can be repeated.", "0, 0.2, 0.5, 0.8"
        ),
    ] = None,
    bits: Annotated[list[int] | None, option("Code length. Can be repeated.", "64")] = None,
    seeds: Seeds = 5,
    variant: Annotated[
        list[str] | None, choice(VARIANTS, "Method, or a variant of SCBCH. Can be repeated.", "full")
    ] = None,
    folder: Folder = None,
    backend: Backend = None,
    epochs: Epochs = None,
    settings: Settings = None,
    no_allocator: NoAllocator = False,
) -> None:
    """Run a grid of the paper's protocol, resumable at any moment, and write its tables beside the published ones."""
    from scbch_keras.training.grid.cells import read_cells
    from scbch_keras.training.runs.stopping import ended_in_time

    with bad_input_ends(), ended_in_time():
        os.environ["KERAS_BACKEND"] = choose_backend(backend)
        grid: dict[str, Any] = {
            "datasets": data,
            "noises": noise or [0.0, 0.2, 0.5, 0.8],
            "bits": bits or [64],
            "seeds": range(seeds),
            "variants": variant or ["full"],
        }
        unknown = [name for name in data if name not in SETTINGS and not Path(name).exists()]
        if unknown:
            raise ValueError(
                f"data: expected one of {', '.join(SETTINGS)}, or a path; got {unknown[0]!r}"
                f"{nearest(unknown[0], SETTINGS)}"
            )
        parsed = parsed_settings(settings)
        with quiet_import(tensorflow=uses_tensorflow(parsed.get("image_features"))):
            from scbch_keras.training.grid.reproduce import Grid, reproduce
        axes = {"data", "noise", "bits", "seed", "variant"} & parsed.keys()
        if axes:
            raise ValueError(
                f"--set: {min(axes)} is an axis of the grid: DATA, --noise, --bits, --seeds and --variant say it"
            )
        flags = {"backend": os.environ["KERAS_BACKEND"], "folder": folder, "epochs": epochs}
        recipes = list(Grid(**grid).recipes(**given_settings(flags, settings)))
        with stopped_ends(), _cell_progress() as (advance, progress):
            cells = reproduce(recipes, out, advance, progress)
        from scbch_keras.training.pages.grid_page import write_grid

        written = write_grid(read_cells(cells), out)
    typer.echo(terminal((out / "table.md").read_text(encoding="utf-8"), lines=True))
    for path in written:
        typer.echo(terminal(path))


@contextmanager
def _cell_progress() -> Iterator[Any]:
    with display() as shown:
        cells = shown.add_task("Cells", total=None)
        epochs = shown.add_task("")

        def advance(done: int, total: int, cell: str) -> None:
            shown.update(cells, completed=done, total=total)
            shown.reset(epochs, description=terminal(cell) or "done")

        def progress(epoch: int, of: int) -> None:
            shown.update(epochs, completed=epoch, total=of)

        yield advance, progress
