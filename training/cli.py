"""Entry point of the console script `scbch`."""

import sys

_NEEDED = ("typer", "rich")


def main() -> None:
    """Run `scbch`, or say what to install for it."""
    try:
        from scbch_keras.training import (  # noqa: F401 - they add their commands
            commands_data,
            commands_release,
            commands_runs,
            commands_serving,
        )
        from scbch_keras.training.commands import app
        from scbch_keras.training.stopping import ended_at_once, exit_by_signal
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        sys.exit(f"scbch needs {error.name}: pip install 'scbch_keras[quickstart]'")
    exit_by_signal()
    with ended_at_once():
        app(prog_name="scbch")


if __name__ == "__main__":
    main()
