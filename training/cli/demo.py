"""The command that opens a search page on a release and its codes, which needs neither keras nor tensorflow: demo."""

import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from scbch_keras.safe_text import terminal
from scbch_keras.training.cli.app import Columns, app, bad_input_ends


@app.command()
def demo(
    release: Annotated[Path, typer.Argument(metavar="RELEASE", help="Folder of a release's version.")],
    codes: Annotated[Path, typer.Option(help="Codes of `scbch encode`, or an index, to search in.")],
    pictures: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the pictures; the ids of the codes are paths in it. The folder of --data."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="The data of the codes, as of `scbch train`: its texts, labels and pictures are shown."
        ),
    ] = None,
    separator: Annotated[str, typer.Option(help="What stands between labels in a table.")] = ";",
    columns: Columns = None,
    port: Annotated[int, typer.Option(help="Port to listen at; 0: any that is free.", min=0, max=65535)] = 0,
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
        from scbch_keras.training.data.own.catalogue import catalogue_maker
        from scbch_keras.training.data.own.read import read_own

        if pictures is not None and not pictures.is_dir():
            raise ValueError(f"--pictures: expected a folder, got {pictures}")
        known = (
            None if data is None else (data, read_own(data, separator, check_pictures=False, columns=columns))
        )

        def ready(address: str) -> None:
            typer.echo(f"Search page: {address} (Ctrl-C ends it)")
            if not no_browser:
                # A browser in the terminal does not return before it is left, and wants answers until then.
                threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

        make = catalogue_maker(known, pictures, lambda note: typer.echo(terminal(note), err=True))
        run(release, codes, port=port, catalogue=make, ready=ready)
