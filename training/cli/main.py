"""Entry point of the console script `scbch`."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

_NEEDED = ("typer", "rich")


def main() -> None:
    """Run `scbch`, or say what to install for it."""
    from scbch_keras.training.cli.process import keep_memory, spin_shortly

    keep_memory(sys.argv[1:])
    spin_shortly()
    try:
        from scbch_keras.training.runs.stopping import ended_at_once, exit_by_signal

        app = commands()
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        sys.exit(f"scbch needs {error.name}: pip install 'scbch_keras[quickstart]'")
    exit_by_signal()
    with ended_at_once():
        app(prog_name="scbch")


def commands() -> "typer.Typer":
    """All commands: each module of this room adds its own to one application."""
    from scbch_keras.training.cli import (  # noqa: F401
        app,
        data,
        demo,
        labels,
        release,
        reproduce,
        runs,
        serve,
        serving,
        stores,
        train,
    )

    return app.under_headings()


if __name__ == "__main__":
    main()
