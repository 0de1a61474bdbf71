"""The commands of `scbch`. Keras is imported once a command needs it, after its arguments were found good.

These modules import neither NumPy nor what needs it: `scbch --help` loads them all.
"""

import importlib
import logging
import os
import shlex
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from scbch_keras import __version__
from scbch_keras.safe_text import terminal
from scbch_keras.training.environment import BACKENDS, BackendError, choose_backend, missing_packages
from scbch_keras.training.quickstart.arguments import check_arguments, claim_folder

if TYPE_CHECKING:
    from scbch_keras.training.quickstart.results import Results

app = typer.Typer(
    help="Binary hash codes for image-text retrieval, learned from labels that are partly wrong.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


Columns = Annotated[
    str | None,
    typer.Option(help="Your columns' names: picture=image,text=caption,labels=tag_*; see docs/data.md."),
]
Tokens = Annotated[
    str | None,
    typer.Option(help="Own texts: words, or characters:2-3, n-grams for languages without spaces."),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Any other setting, as name=value in TOML. Can be repeated.")
]
NoAllocator = Annotated[
    bool,
    typer.Option("--no-allocator", help="Leave glibc's allocator as it is; see docs/training.md."),
]


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"scbch_keras {__version__}")
        raise typer.Exit()


@app.callback()
def scbch(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Options that stand before a command."""


@app.command()
def quickstart(
    backend: Annotated[str | None, typer.Option(help=f"Keras backend: {', '.join(BACKENDS)}.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the report and the trained model.")] = Path(
        "scbch-quickstart"
    ),
    noise: Annotated[
        float, typer.Option(help="Share of the training icons with corrupted labels, 0 to 1.")
    ] = 0.5,
    bits: Annotated[int, typer.Option(help="Code length, 1 to 1024.")] = 64,
    epochs: Annotated[int, typer.Option(help="Epochs of each training.")] = 12,
    seed: Annotated[int, typer.Option(help="Seed of all that is drawn at random.")] = 0,
    demo: Annotated[bool, typer.Option("--demo", help="Then open the search page of `scbch demo`.")] = False,
    no_allocator: NoAllocator = False,
) -> None:
    """Train on 1,512 icons with wrong labels, export, search, and write a report to look at."""
    missing = missing_packages()
    if missing:
        typer.echo(
            f"scbch quickstart needs {', '.join(missing)}: pip install 'scbch_keras[quickstart]'", err=True
        )
        raise typer.Exit(1)
    try:
        os.environ["KERAS_BACKEND"] = choose_backend(backend)
        check_arguments(noise=noise, bits=bits, seed=seed, epochs=epochs)
        claim_folder(out)
    except (BackendError, ValueError) as error:
        raise typer.BadParameter(terminal(error, lines=True)) from error
    with quiet_import():
        from scbch_keras.training.quickstart.next_steps import next_commands
        from scbch_keras.training.quickstart.quickstart import quickstart as run

    console = Console()
    results = run(out, noise=noise, bits=bits, seed=seed, epochs=epochs, console=console)
    _show(console, results, out)
    commands = next_commands(results, out)
    for command in commands.values():
        console.print(f"Next: {terminal(command)}", soft_wrap=True, markup=False, highlight=False)
    if demo:
        sys.stdout.flush()
        # A process of its own has not loaded what trains. -P: of the folder where the user happens to be, nothing.
        arguments = shlex.split(commands["demo"])[1:]
        os.execv(  # noqa: S606 (our own module)
            sys.executable, [sys.executable, "-P", "-m", "scbch_keras.training.cli.main", *arguments]
        )


def _show(console: Console, results: "Results", out: Path) -> None:
    from scbch_keras.training.quickstart.plots import TITLES
    from scbch_keras.training.quickstart.report import ORDER, score_rows

    table = Table(title="mAP on held-out icons, last epoch", title_justify="left")
    table.add_column("training")
    for column in (*(TITLES[direction] for direction in ORDER), "mean"):
        table.add_column(column, justify="right")
    for name, title, scores in score_rows(results):
        is_released = name == results.released
        style = "bold" if is_released else None
        table.add_row(
            f"{title}, released" if is_released else title, *(f"{score:.3f}" for score in scores), style=style
        )
    console.print(table)
    served = results.served
    console.print(f"Exported codes equal to the model's: {served.equal:,} of {served.bits:,} bits.")
    # A path is there to be copied: it must stay in one piece.
    report = (out / "report.html").resolve()
    console.print(terminal(f"Report: {report}"), soft_wrap=True, markup=False, highlight=False)


@contextmanager
def bad_input_ends() -> Iterator[None]:
    """Show what was wrong with the input in one message, without a traceback."""
    try:
        yield
    except (BackendError, ImportError, OSError, ValueError) as error:
        typer.echo(f"Error: {terminal(error, lines=True)}", err=True)
        raise typer.Exit(2) from error


@contextmanager
def quiet_import() -> Iterator[None]:
    """Keep TensorFlow's notes on the processor, on CUDA and on tracing away from the progress display.

    Some are written from C++ before any setting can silence them, so standard error is set aside while
    the import lasts, and shown if it fails.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
            # Keras imports it on any backend as it fits; last, since torch must come before it.
            if find_spec("tensorflow") is not None:
                importlib.import_module("tensorflow")
        except BaseException:
            sys.stderr.flush()
            aside.seek(0)
            os.write(kept, aside.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def parsed_settings(settings: list[str] | None) -> dict[str, Any]:
    """--set name=value, the value as TOML has it; what is no TOML is text."""
    parsed = {}
    for setting in settings or []:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set: expected name=value, got {setting!r}")
        try:
            parsed[name] = tomllib.loads(f"value = {value}")["value"]
        except RecursionError:
            raise ValueError(f"--set: the value of {name} is nested too deeply") from None
        except tomllib.TOMLDecodeError:
            parsed[name] = value
    return parsed
