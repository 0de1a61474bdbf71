"""The versions of one model: `<folder>/<version>`, and `<folder>/latest`, which points at a blessed one.

What is not finished has a hidden name, and is cleared away once no process works in the folder.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scbch_keras import files
from scbch_keras.checks import whole
from scbch_keras.export.format import manifest as manifests
from scbch_keras.export.releasing.locks import CHANGING, USING, held, held_alone

_VERSION = "[1-9][0-9]*"
_LEFTOVER = re.compile(rf"\.({manifests.LATEST}|{_VERSION})-[0-9a-f]{{12}}")


@dataclass(frozen=True)
class Listed:
    """A version in a folder.

    version: its number.
    path: its folder.
    blessed: whether its last validation found nothing wrong.
    is_latest: whether `latest` points at it.
    created: when it was released, ISO 8601 in UTC; None if the manifest cannot be read.
    map: mean mAP of both directions by format, as last measured; None if it never was.
    reasons: why it is not blessed, a sentence each.
    """

    version: int
    path: Path
    blessed: bool
    is_latest: bool
    created: str | None
    map: Mapping[str, float] | None
    reasons: tuple[str, ...]


def releases(folder: str | os.PathLike[str]) -> list[Listed]:
    """The versions of a model.

    Args:
        folder: where they lie.

    Returns:
        One entry a version, ascending; none if there is no such folder.

    Raises:
        FileExistsError: `latest` is no symbolic link.
    """
    folder = Path(folder)
    latest = latest_version(folder)
    return [_listed(folder / str(version), version, version == latest) for version in versions(folder)]


def versions(folder: str | os.PathLike[str]) -> list[int]:
    """The numbers of the versions in `folder`, ascending."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if re.fullmatch(_VERSION, path.name))


def latest_version(folder: Path) -> int | None:
    """The version that `latest` points at, however its path is written; None if there is none.

    Raises FileExistsError if `latest` is no symbolic link.
    """
    latest = folder / manifests.LATEST
    try:
        target = Path(os.readlink(latest))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise FileExistsError(
            f"{latest} is not a symbolic link to a version, as tools leave it that copy what links point at; delete "
            "it and promote a version"
        ) from error
    # Links made by hand may be absolute, or lead back through other folders.
    is_here = (folder / target).parent.resolve() == folder.resolve()
    return int(target.name) if is_here and re.fullmatch(_VERSION, target.name) else None


def is_blessed(version: Path) -> bool:
    """Whether the last validation of the release in `version` ended, and found nothing wrong."""
    present = {name for name in manifests.MARKERS if (version / name).exists()}
    return present == {"BLESSED", "INFRA_BLESSED"}


def promote(folder: str | os.PathLike[str], version: int) -> Path:
    """Point `latest` at a blessed version.

    Args:
        folder: where the versions lie.
        version: its number.

    Returns:
        The folder of that version.

    Raises:
        FileNotFoundError: there is no such version.
        FileExistsError: `latest` is no symbolic link.
        ValueError: it is not blessed; the message says why.
    """
    folder = _existing(folder)
    with at_work(folder), held(folder / CHANGING):
        latest_version(folder)  # refuses what is no link
        path = folder / str(version)
        if version not in versions(folder):
            raise FileNotFoundError(f"{folder} has no version {version!r}; it has {versions(folder)}")
        listed = _listed(path, version, False)
        if not listed.blessed:
            raise ValueError(
                f"version {version} in {folder} is not blessed, so `latest` cannot point at it: "
                + "; ".join(listed.reasons)
            )
        _point_latest(path)
    return path


def rollback(folder: str | os.PathLike[str]) -> Path:
    """Point `latest` at the blessed version before the one it points at.

    Args:
        folder: where the versions lie.

    Returns:
        The folder of that earlier version.

    Raises:
        FileNotFoundError: there is no such folder.
        FileExistsError: `latest` is no symbolic link.
        ValueError: there is no `latest`, or no blessed version before it.
    """
    folder = _existing(folder)
    with at_work(folder), held(folder / CHANGING):
        latest = latest_version(folder)
        if latest is None:
            raise ValueError(f"{folder} has no `latest` to go back from")
        before = [v for v in versions(folder) if v < latest and is_blessed(folder / str(v))]
        if not before:
            raise ValueError(f"{folder} has no blessed version before {latest}, at which `latest` points")
        path = folder / str(before[-1])
        _point_latest(path)
    return path


def prune(folder: str | os.PathLike[str], keep: int) -> list[int]:
    """Delete all versions but the `keep` highest and the one that `latest` points at.

    A version disappears at once; of one that is a link, the link. Unblessed versions count and go like others. What
    exports and prunes left that were killed goes too, unless a process works in the folder.

    Args:
        folder: where the versions lie.
        keep: int >= 1.

    Returns:
        The numbers of the deleted versions, ascending.

    Raises:
        FileNotFoundError: there is no such folder.
        FileExistsError: `latest` is no symbolic link.
        ValueError: `keep` is below 1.
    """
    keep = whole("keep", keep, 1)
    folder = _existing(folder)
    with at_work(folder):
        with held(folder / CHANGING):
            spared = latest_version(folder)
            old = versions(folder)[:-keep]
            gone = [version for version in old if version != spared and (folder / str(version)).is_dir()]
            hidden = []
            for version in gone:
                hidden.append(files.hidden_sibling(folder / str(version)))
                os.rename(folder / str(version), hidden[-1])
            files.sync(folder)
        for path in hidden:
            _remove(path)
    return gone


@contextmanager
def at_work(folder: Path) -> Iterator[None]:
    """Make `folder` if it is missing, and let nobody take what is unfinished in it for a leftover.

    What killed processes left there is cleared away first. If the block fails, a folder that was made for it goes.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with held_alone(folder / USING) as alone:
        if alone:
            _clear_leftovers(folder)
    try:
        with held(folder / USING, shared=True):
            yield
    except BaseException:
        if is_new:
            _remove_if_unused(folder)
        raise


def publish(staging: Path, target: Path, as_latest: bool) -> None:
    """Rename the finished folder in, and point `latest` at it if asked; a failure of either leaves neither.

    Raises FileExistsError if the version appeared meanwhile.
    """
    with held(target.parent / CHANGING):
        if target.exists():
            raise FileExistsError(f"version {target.name} appeared in {target.parent} during this release")
        os.rename(staging, target)
        try:
            if as_latest:
                _point_latest(target)
        except OSError:
            os.rename(target, staging)
            raise
        files.sync(target.parent)


def _point_latest(version: Path) -> None:
    latest = version.with_name(manifests.LATEST)
    link = files.hidden_sibling(latest)
    try:
        link.symlink_to(version.name, target_is_directory=True)
        os.replace(link, latest)
    finally:
        link.unlink(missing_ok=True)
    files.sync(version.parent)


def _listed(path: Path, version: int, is_latest: bool) -> Listed:
    created, scores, reasons = None, None, []
    blessed = is_blessed(path)
    try:
        manifest = manifests.read(path)
        created, validation = manifest["created"], manifest["validation"]
        evaluation = validation["evaluation"] or manifest["evaluation"]
        scores = evaluation and {form: score["mean"] for form, score in evaluation["map"].items()}
        reasons = [*validation["infra"]["reasons"], *validation["quality"]["reasons"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        blessed, reasons = False, [f"its manifest cannot be read: {error}"]
    if not blessed and not reasons:
        reasons = ["its validation did not end: validate it"]
    return Listed(version, path, blessed, is_latest, created, scores, () if blessed else tuple(reasons))


def _existing(folder: Any) -> Path:
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    return folder


def _clear_leftovers(folder: Path) -> None:
    for path in folder.iterdir():
        if not _LEFTOVER.fullmatch(path.name):
            continue
        # A child of the killed process may still be writing there: what it leaves goes the next time.
        _remove(path, ignore_errors=True)


def _remove(path: Path, ignore_errors: bool = False) -> None:
    """Delete a folder with what is in it; of a link the link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=ignore_errors)
    else:
        path.unlink()


def _remove_if_unused(folder: Path) -> None:
    with held_alone(folder / USING) as alone:
        if alone and {path.name for path in folder.iterdir()} <= {USING, CHANGING}:
            for name in (CHANGING, USING):
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()
