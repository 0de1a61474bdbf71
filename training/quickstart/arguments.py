"""What may be asked of a quickstart, and where it may write. Needs no keras: mistakes are told at once."""

import os
from numbers import Integral
from pathlib import Path
from typing import Any

MARKER = ".scbch-quickstart"
MAX_BITS = 1024
MIN_ICONS = 30


def check_arguments(noise: Any, bits: Any, seed: Any, epochs: Any, icon_limit: Any = None) -> None:
    """Raise a ValueError that names the first argument of `quickstart` that is out of range."""
    if isinstance(noise, bool) or not isinstance(noise, (int, float)) or not 0 <= noise <= 1:
        raise ValueError(f"noise: expected a share from 0 to 1, got {noise!r}")
    limits: list[tuple[str, Any, int, int | None]] = [
        ("bits", bits, 1, MAX_BITS),
        ("seed", seed, 0, 2**32 - 1),
        ("epochs", epochs, 1, None),
    ]
    if icon_limit is not None:
        limits.append(("icon_limit", icon_limit, MIN_ICONS, None))
    for name, value, low, high in limits:
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not whole or value < low or (high is not None and value > high):
            wanted = f"from {low} to {high}" if high is not None else f"of at least {low}"
            raise ValueError(f"{name}: expected a whole number {wanted}, got {value!r}")


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
