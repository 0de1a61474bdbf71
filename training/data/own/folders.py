"""Which files of a folder count, said once: by the endings of their names, in any case; hidden ones never."""

from collections.abc import Container
from pathlib import Path

PICTURE_SUFFIXES = (
    *(".apng", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm"),
    *(".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)


def visible_files(folder: Path, suffixes: Container[str], deep: bool = True) -> list[Path]:
    """Files of these endings in a folder, and with `deep` below it, in the order of their paths.

    Whatever begins with a '.' is left out, files and folders: systems put their own there, such as `._cat.jpg`. A link
    that leads nowhere is among them, for its reader to refuse: a file is missing.
    """
    paths = folder.rglob("*") if deep else folder.iterdir()
    return sorted(
        path
        for path in paths
        if path.suffix.lower() in suffixes
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not path.is_dir()
    )
