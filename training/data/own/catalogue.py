"""What a search page shows of each code: text, labels and picture of the row of the data that it was made of."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scbch_keras.checks import shown
from scbch_keras.training.data.own.arrays import ArrayPairs
from scbch_keras.training.data.own.pictures import RawPairs

if TYPE_CHECKING:
    from scbch_keras.export.service.catalogue import Catalogue, Pictures

_TRIED = 1000


def catalogue_maker(
    known: tuple[Path, RawPairs | ArrayPairs] | None, pictures: Path | None, note: Callable[[str], None]
) -> Callable[[Sequence[str]], "Catalogue"]:
    """A function that says, for the names of codes (n), what is shown of each.

    Args:
        known: where the data of the codes is, and what `read_own` read there; None for none.
        pictures: folder of pictures; None for that of the data, if it has pictures.
        note: called with what a user should know, such as codes that are not in the data.

    Labels are the clean ones where the data has such.

    Raises (the function) ValueError if the data or the folder has nothing to do with the codes.
    """
    from scbch_keras.export.service.catalogue import Catalogue, Pictures

    def make(names: Sequence[str]) -> Catalogue:
        if not names:
            return Catalogue(())
        paths: Sequence[str | Path | None] = names
        folder, captions, labels = pictures, None, None
        label_names: tuple[str, ...] = ()
        if known is not None:
            path, data = known
            rows = _rows(names, path, data, note)
            label_names = data.label_names
            true = data.labels if data.clean_labels is None else data.clean_labels
            labels = np.where((rows >= 0)[:, None], true[rows], 0).astype(np.uint8)
            if isinstance(data, RawPairs):
                captions = [data.texts[row] if row >= 0 else "" for row in rows.tolist()]
                if folder is None:
                    folder = _folder(path)
                    paths = [data.pictures[row].absolute() if row >= 0 else None for row in rows.tolist()]
        found = None if folder is None else Pictures(folder, paths)
        if found is not None:
            _check_pictures(names, found)
        return Catalogue(names, captions, labels, label_names, found)

    return make


def candidates(known: tuple[Path, RawPairs | ArrayPairs] | None) -> list[str]:
    """What the ids of codes of the data may be, in its order: its ids, paths of its pictures, its rows."""
    if known is None:
        return []
    path, data = known
    pictures = (
        [picture.relative_to(_folder(path)).as_posix() for picture in data.pictures]
        if isinstance(data, RawPairs)
        else []
    )
    return list(dict.fromkeys([*data.ids.tolist(), *pictures, *map(str, range(len(data)))]))


def _rows(
    names: Sequence[str], path: Path, data: RawPairs | ArrayPairs, note: Callable[[str], None]
) -> NDArray[np.int64]:
    """For each name the row of the data that has it as its id, or as the path of its picture; -1 for none."""
    row_of: dict[str, int] = {}
    if isinstance(data, RawPairs):
        for row, picture in enumerate(data.pictures):
            row_of.setdefault(picture.relative_to(_folder(path)).as_posix(), row)
    row_of |= {id: row for row, id in enumerate(data.ids.tolist())}
    rows = np.array([row_of.get(name, -1) for name in names], np.int64)
    missing = np.flatnonzero(rows < 0)
    if len(missing) == len(names) == len(data) and list(names) == list(map(str, range(len(names)))):
        note(f"The codes have no ids: code by code they are taken for the {len(names):,} rows of {path}")
        return np.arange(len(names))
    if len(missing) == len(names):
        raise ValueError(
            f"--data: none of the {len(names):,} codes has an id of {path}: the codes' first is {shown(names[0])}, "
            f"the data's {shown(str(data.ids[0]))}. Encode what has the ids of the data, such as its table"
        )
    if len(missing):
        note(
            f"Warning: {len(missing):,} of {len(names):,} codes have no row in {path}, and are shown without text "
            f"and labels; the first is {shown(names[missing[0]])}"
        )
    return rows


def _folder(path: Path) -> Path:
    """The folder that pictures of a table, or of the table in a folder, are relative to."""
    return path if path.is_dir() else path.parent


def _check_pictures(names: Sequence[str], pictures: "Pictures") -> None:
    """Refuse a folder in which none of the first codes has its picture."""
    reason = ""
    for row in range(min(len(names), _TRIED)):
        try:
            pictures.path(row)
            return
        except ValueError as error:
            reason = reason or f"of {shown(names[row])}: {error}"
    raise ValueError(
        f"--pictures: {pictures.folder} has no picture of the codes; {reason}. Their ids must be paths in the folder, "
        "as `scbch encode RELEASE FOLDER` gives them"
    )
