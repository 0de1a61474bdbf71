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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from scbch_keras import __version__
from scbch_keras.safe_text import terminal
from scbch_keras.training.cli.options import Backend, NoAllocator, option
from scbch_keras.training.environment import BackendError, choose_backend, missing_packages
from scbch_keras.training.quickstart.arguments import check_arguments, claim_folder

if TYPE_CHECKING:
    from scbch_keras.training.quickstart.results import Results

PANELS = {
    "Start here": ("quickstart",),
    "Your data": ("describe", "audit", "fix", "features"),
    "Training": ("train", "evaluate", "report", "tune", "gain", "figures"),
    "Release": ("export", "release"),
    "Codes and search": ("encode", "search", "demo", "index", "serve"),
    "The paper's protocol": ("noise", "reproduce"),
}
"""The commands as a user meets them, by the heading under which the help lists them."""
_PANEL_OF = {name: panel for panel, names in PANELS.items() for name in names}


class _InOrder(TyperGroup):
    """Commands in the order of `PANELS`."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for name in _PANEL_OF if name in self.commands]


app = typer.Typer(
    cls=_InOrder,
    help="Binary hash codes for image-text retrieval, learned from labels that are partly wrong.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def under_headings() -> typer.Typer:
    """The application with each command under its heading of `PANELS`."""
    for known in app.registered_commands:
        known.rich_help_panel = _PANEL_OF[known.name or str(getattr(known.callback, "__name__", ""))]
    for group in app.registered_groups:
        group.rich_help_panel = _PANEL_OF[str(group.name)]
    return app


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
    backend: Backend = None,
    out: Annotated[Path, option("Folder for the report and the trained model.")] = Path("scbch-quickstart"),
    noise: Annotated[float, option("Share of the training icons whose labels are corrupted, 0 to 1.")] = 0.5,
    bits: Annotated[int, option("Code length, 1 to 1024.")] = 64,
    epochs: Annotated[int, option("Epochs of each training.")] = 12,
    seed: Annotated[int, option("Seed of all that is drawn at random.")] = 0,
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
    show_next(*commands.values())
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
    show_line(f"Report: {(out / 'report.html').resolve()}", console)


def show_line(text: str, console: Console | None = None) -> None:
    """Print a line with text of the data or a path in it, which is there to be copied: it stays in one piece."""
    (console or Console()).print(terminal(text), soft_wrap=True, markup=False, highlight=False)


def show_next(*commands: str | Sequence[object]) -> None:
    """Print what can be done next: commands that work as they are printed, or their parts behind `scbch`."""
    for command in commands:
        line = command if isinstance(command, str) else shlex.join(["scbch", *map(str, command)])
        show_line(f"Next: {line}")


@contextmanager
def bad_input_ends() -> Iterator[None]:
    """Show what was wrong with the input in one message, without a traceback."""
    try:
        yield
    except (BackendError, FloatingPointError, ImportError, OSError, ValueError) as error:
        typer.echo(f"Error: {terminal(error, lines=True)}", err=True)
        raise typer.Exit(2) from error


@contextmanager
def stopped_ends(hint: str = "The same command goes on from there.") -> Iterator[None]:
    """A training that was stopped ends the command with the status of its signal, and says how to go on."""
    from scbch_keras.training.runs.stopping import RunStopped

    try:
        yield
    except RunStopped as stopped:
        show_line(f"{str(stopped).capitalize()}. {hint}")
        raise typer.Exit(stopped.status) from stopped


@contextmanager
def quiet_import(tensorflow: bool = True) -> Iterator[None]:
    """Keep TensorFlow's notes on the processor, on CUDA and on tracing away from the progress display.

    Some are written from C++ before any setting can silence them, so standard error is set aside while
    the import lasts, and shown if it fails.

    Args:
        tensorflow: whether it is imported on any backend, since something that follows will. Trainings do not
            (`without_tensorflow`), but for the features of `uses_tensorflow`.
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
            if tensorflow and find_spec("tensorflow") is not None:
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


def uses_tensorflow(image_features: object) -> bool:
    """Whether features of pictures are made by what imports TensorFlow on any backend: KerasHub."""
    return str(image_features).startswith("keras-hub:")


def given_settings(flags: Mapping[str, Any], settings: list[str] | None) -> dict[str, Any]:
    """The settings of a recipe that were given: by flags, which are None where they were not, or by --set."""
    given = {name: value for name, value in flags.items() if value is not None}
    given = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    parsed = parsed_settings(settings)
    for name in given.keys() & parsed.keys():
        raise ValueError(f"--set: {name} is given by its flag too, --{name.replace('_', '-')}; leave one out")
    return {**given, **parsed}


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
