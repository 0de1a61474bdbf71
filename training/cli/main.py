"""Entry point of the console script `scbch`."""

import sys

_NEEDED = ("typer", "rich")


def main() -> None:
    """Run `scbch`, or say what to install for it."""
    try:
        from scbch_keras.training.cli import data, release, runs, serving  # noqa: F401 - they add their commands
        from scbch_keras.training.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        sys.exit(f"scbch needs {error.name}: pip install 'scbch_keras[quickstart]'")
    app(prog_name="scbch")


if __name__ == "__main__":
    main()
