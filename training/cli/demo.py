"""The command that opens a search page on a release and its codes, which needs neither keras nor tensorflow: demo."""

import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from scbch_keras.safe_text import terminal
from scbch_keras.training.cli.app import app, bad_input_ends
from scbch_keras.training.cli.options import Columns, Port, ReleasePath, Separator, option


@app.command()
def demo(
    release: ReleasePath,
    codes: Annotated[
        str,
        option("Codes of `scbch encode`, an index, or a store (postgresql://...#TABLE), to search in."),
    ],
    pictures: Annotated[
        Path | None,
        option("Folder of the pictures; the ids of the codes are paths in it.", "the folder of --data"),
    ] = None,
    data: Annotated[
        Path | None,
        option(
            "The data of the codes, as of `scbch train`: its texts, labels and pictures are shown.", "none"
        ),
    ] = None,
    separator: Separator = None,
    columns: Columns = None,
    port: Port = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
) -> None:
    """Open a page to search with words and pictures, on this computer alone; Ctrl-C ends it."""
    with bad_input_ends():
        try:
            from scbch_keras.export.service.server import run
        except ModuleNotFoundError as error:
            raise ValueError(
                f"scbch demo needs {error.name}: pip install 'scbch_keras[onnx,serve,train]'"
            ) from error
        from scbch_keras.training.data.own.catalogue import candidates, catalogue_maker
        from scbch_keras.training.data.own.read import read_own

        if pictures is not None and not pictures.is_dir():
            raise ValueError(f"--pictures: expected a folder, got {pictures}")
        known = (
            None
            if data is None
            else (data, read_own(data, separator or ";", check_pictures=False, columns=columns))
        )

        def ready(address: str) -> None:
            typer.echo(f"Search page: {address} (Ctrl-C ends it)")
            if not no_browser:
                # A browser in the terminal does not return before it is left, and wants answers until then.
                threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

        make = catalogue_maker(known, pictures, lambda note: typer.echo(terminal(note), err=True))
        run(release, codes, port=port, catalogue=make, candidates=candidates(known), ready=ready)
