"""A release's SavedModel where a pipeline looks for the serving model."""

import os
import shutil
from pathlib import Path

from scbch_keras.export import Release, files
from scbch_keras.export import manifest as manifests
from scbch_keras.training.warm_start import SERVED_EXTRA


def is_placed(target: Path, released: Release | None) -> bool:
    """Whether `target` is the release's serving model already; False if it is free.

    Raises FileExistsError if it is or holds something else.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return False
    extra = target / SERVED_EXTRA
    if released is not None and (extra / manifests.NAME).is_file():
        entries = [
            manifest["files"][manifests.MODEL] for manifest in (manifests.read(extra), released.manifest)
        ]
        if entries[0] == entries[1]:
            return True
    raise FileExistsError(
        f"{target} must be new or empty to become the serving model; it holds something else"
    )


def place(released: Release, target: Path) -> None:
    """Make `target` the release's SavedModel, with what `warm_start` reads in assets.extra; at once or not at all.

    Raises FileExistsError as `is_placed` does.
    """
    if is_placed(target, released):
        return
    # A name that is always the same: what a kill left is found and removed.
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(released.path / released.manifest["encoders"]["image"]["saved_model"]["path"], partial)
    (partial / SERVED_EXTRA).mkdir(exist_ok=True)
    for name in (manifests.MODEL, manifests.NAME):
        shutil.copy(released.path / name, partial / SERVED_EXTRA / name)
    files.sync_tree(partial)
    if target.exists():
        target.rmdir()
    os.rename(partial, target)
    files.sync(target.parent)
