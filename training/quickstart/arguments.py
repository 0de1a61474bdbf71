"""The arguments of a quickstart, and where it may write. Needs no keras: mistakes are reported at once."""

import os
from pathlib import Path
from typing import Any

from scbch_keras.checks import share, whole

MARKER = ".scbch-quickstart"
RELEASES = "releases/icons"
ICONS = "icons"
"""The folder of pictures with their table."""
PICTURE_CODES, TEXT_CODES = "pictures.npy", "texts.npy"
MAX_BITS = 1024
MIN_ICONS = 30


def check_arguments(noise: Any, bits: Any, seed: Any, epochs: Any, icon_limit: Any = None) -> None:
    """Raise a ValueError that names the first argument of `quickstart` that is out of range."""
    share("noise", noise)
    whole("bits", bits, 1, MAX_BITS)
    whole("seed", seed, 0, 2**32 - 1)
    whole("epochs", epochs, 1)
    whole("icon_limit", icon_limit, MIN_ICONS, optional=True)


def claim_folder(out: str | os.PathLike[str]) -> Path:
    """`out` as a folder of the quickstart's own, made if need be. Nothing in it is deleted.

    Raises:
        ValueError: it is a file, or holds files without being an earlier quickstart's.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out: expected a folder, got the file {folder}")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise ValueError(
            f"out: expected a new or empty folder, or an earlier quickstart's; {folder} holds other files"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("This folder was made by scbch quickstart, which may replace its files.\n")
    return folder
