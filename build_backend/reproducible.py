"""setuptools' build backend, with distributions that are the same byte for byte whoever builds them, and when.

SOURCE_DATE_EPOCH is the time of all files in them; where it is not set, 1980-01-01, the earliest that a zip file knows.

The description in them is README.md. Where [project.urls] names the repository as `Source`, its relative links, which
lead nowhere on PyPI, are those of the version's tag there.
"""

import gzip
import io
import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
)
from setuptools.dist import Distribution

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]
_EARLIEST = 315532800
_RELATIVE = re.compile(r"(!?)(\[[^\]]*\])\((?![a-z]+:|#)([^)]+)\)")
_Metadata = type(Distribution().metadata)
_own_description = _Metadata.get_long_description


def _description(metadata: Any) -> Any:
    """README.md with its relative links at home."""
    home, version = (metadata.project_urls or {}).get("Source"), metadata.get_version()

    def absolute(link: re.Match[str]) -> str:
        kind = "raw" if link[1] else "blob"
        return f"{link[1]}{link[2]}({home}/{kind}/v{version}/{link[3]})"

    text = _own_description(metadata)
    return _RELATIVE.sub(absolute, text) if home else text


@contextmanager
def _same_everywhere() -> Iterator[int]:
    mask = os.umask(0o022)
    before = os.environ.get("SOURCE_DATE_EPOCH")
    os.environ["SOURCE_DATE_EPOCH"] = before or str(_EARLIEST)
    try:
        with mock.patch.object(_Metadata, "get_long_description", _description):
            yield int(os.environ["SOURCE_DATE_EPOCH"])
    finally:
        os.umask(mask)
        if before is None:
            del os.environ["SOURCE_DATE_EPOCH"]


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Any = None) -> str:
    """What the wheel will say of itself; see PEP 517."""
    with _same_everywhere():
        return build_meta.prepare_metadata_for_build_wheel(metadata_directory, config_settings)


def build_wheel(
    wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None
) -> str:
    """The wheel; see PEP 517."""
    with _same_everywhere():
        return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_sdist(sdist_directory: str, config_settings: Any = None) -> str:
    """The sdist, its members by name and without owner and own times; see PEP 517."""
    with _same_everywhere() as seconds:
        name = build_meta.build_sdist(sdist_directory, config_settings)
        path = Path(sdist_directory, name)
        content = io.BytesIO()
        with (
            tarfile.open(path) as given,
            tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for member in sorted(given.getmembers(), key=lambda member: member.name):
                member.mtime, member.uid, member.gid, member.uname, member.gname = seconds, 0, 0, "", ""
                member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
                member.pax_headers = {}
                archive.addfile(member, given.extractfile(member) if member.isfile() else None)
        path.write_bytes(gzip.compress(content.getvalue(), mtime=seconds))
    return name
