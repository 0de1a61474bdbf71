"""What to do with the folder of a quickstart: commands that work as they are printed."""

import shlex
from pathlib import Path

from scbch_keras.training.quickstart.arguments import ICONS, PICTURE_CODES, RELEASES
from scbch_keras.training.quickstart.results import Results


def next_commands(results: Results, out: Path) -> dict[str, str]:
    """Commands for a shell in the current folder, by the name of the command: search, demo, describe."""
    release, codes, icons = out / RELEASES / "latest", out / PICTURE_CODES, out / ICONS
    # Words of a held-out icon that the model knows: the first that it was asked for in the report.
    words = next(search.words for search in results.searches if search.direction == "t2i")[:6]
    lines = {
        "search": ["search", codes, " ".join(words), "--release", release, "--k", "5"],
        "demo": ["demo", release, "--codes", codes, "--data", icons],
        "describe": ["describe", icons],
    }
    return {name: shlex.join(["scbch", *map(str, line)]) for name, line in lines.items()}
