"""Which files of a folder count, said once: by the endings of their names, in any case; hidden ones never."""

from collections.abc import Container
from pathlib import Path

from scbch_keras.checks import shown
from scbch_keras.safe_text import NO_LINE

PICTURE_SUFFIXES = (
    *(".apng", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm"),
    *(".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
"""Endings of pictures that are read."""
_NAMED_PICTURES = (*PICTURE_SUFFIXES, ".avif", ".heic", ".heif", ".jp2", ".jxl")
"""Of cameras and telephones too, whose pictures are not: they are refused by name, and never just left out."""


def is_named_as_picture(path: Path) -> bool:
    """Whether a file's name ends as those of pictures do, of kinds that are read or not."""
    return path.suffix.lower() in _NAMED_PICTURES


def pictures_in(folder: Path) -> list[str]:
    """The pictures in a folder and below, by their paths in it, which are their ids.

    Raises ValueError if there is none, or one whose name is no line of UTF-8.
    """
    names = [path.relative_to(folder).as_posix() for path in visible_files(folder, _NAMED_PICTURES)]
    if not names:
        raise ValueError(f"{folder}: expected pictures ({', '.join(PICTURE_SUFFIXES)}), found none")
    for name in names:
        if NO_LINE.search(name):
            raise ValueError(
                f"{folder}: a picture's name is its id, expected one line of UTF-8, got {shown(name)}: rename it"
            )
    return names


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
