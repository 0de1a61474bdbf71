"""A release's SavedModel where a pipeline looks for the serving model."""

import os
import shutil
from pathlib import Path

from scbch_keras import files
from scbch_keras.export.format import manifest as manifests
from scbch_keras.training.tfx.warm_start import SERVED_EXTRA


def is_placed(target: Path, released: Path | None) -> bool:
    """Whether `target` is the serving model of the release in the folder `released` already; False if it is free.

    Raises FileExistsError if it is or holds something else.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return False
    extra = target / SERVED_EXTRA
    if released is not None and (extra / manifests.NAME).is_file():
        entries = [manifests.read(folder)["files"][manifests.MODEL] for folder in (extra, released)]
        if entries[0] == entries[1]:
            return True
    raise FileExistsError(
        f"{target} must be new or empty to become the serving model; it holds something else"
    )


def place(released: Path, target: Path) -> None:
    """Make `target` the SavedModel of the release in `released`, at once or not at all.

    In its assets.extra lies what `warm_start` reads.

    Raises FileExistsError as `is_placed` does.
    """
    if is_placed(target, released):
        return
    # A name that is always the same: what a kill left is found and removed.
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    saved_model = manifests.read(released)["encoders"]["image"]["saved_model"]["path"]
    shutil.copytree(manifests.inside(released, saved_model), partial)
    (partial / SERVED_EXTRA).mkdir(exist_ok=True)
    for name in (manifests.MODEL, manifests.NAME):
        shutil.copy(released / name, partial / SERVED_EXTRA / name)
    files.sync_tree(partial)
    if target.exists():
        target.rmdir()
    os.rename(partial, target)
    files.sync(target.parent)
