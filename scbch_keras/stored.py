"""Kinds of files that are written and read again: what each is called, which versions are read, one error for all."""

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.checks import shown
from scbch_keras.files import replaced

CORRUPT = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError),
    *(SyntaxError, TypeError, ValueError, zipfile.BadZipFile, zlib.error),
)
"""What numpy, zipfile and h5py raise for files that are damaged."""


@dataclass(frozen=True)
class FileKind:
    """A kind of file.

    Attributes:
        name: what messages call it, with its article.
        key: of its content, under which the version stands.
        versions: which are read; the first is written.
        remedy: what helps where it cannot be read.
    """

    name: str
    key: str
    versions: tuple[int | str, ...]
    remedy: str = ""

    def marked(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """The content, the version before it."""
        return {self.key: self.versions[0], **content}

    def unmarked(self, content: Any) -> dict[str, Any]:
        """The content without the version, if it is one that is read. Raises ValueError for any other."""
        if not isinstance(content, dict) or self.key not in content:
            raise ValueError(f"it has no {self.key!r}")
        self.check(content[self.key])
        return {key: value for key, value in content.items() if key != self.key}

    def check(self, version: Any) -> None:
        """Raises ValueError for a version that is not read, saying whether it is a later one."""
        if type(version) in (int, str) and version in self.versions:
            return
        newest, known = self.versions[0], " and ".join(map(repr, self.versions))
        later = type(version) is int and isinstance(newest, int) and version > newest
        hint = "; it was written by a later scbch_keras: update this one" if later else ""
        raise ValueError(f"it has {self.key} {shown(version)}; this version reads {self.key} {known}{hint}")

    @contextmanager
    def reading(self, source: Any) -> Iterator[None]:
        """Whatever is found wrong in the block is said of the file `source`.

        Raises:
            ValueError: there is no such file, it is damaged, or of another kind or version.
        """
        try:
            yield
        except FileNotFoundError as error:
            raise ValueError(f"{source}: there is no such file{self._remedy}") from error
        except CORRUPT as error:
            reason = (
                f"it has no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
            )
            raise ValueError(f"{source}: expected {self.name}: {reason}{self._remedy}") from error

    @property
    def _remedy(self) -> str:
        return f"; {self.remedy}" if self.remedy else ""


def write_json(path: Path, content: Any, indent: int | None = None, end: str = "") -> None:
    """Write JSON without NaN, whole or not at all."""
    with replaced(path) as file:
        file.write((json.dumps(content, indent=indent, allow_nan=False) + end).encode())


def json_array(content: Any) -> NDArray[np.uint8]:
    """JSON as an array, for .npz files; `json.loads(array.tobytes())` gives the content again."""
    return np.frombuffer(json.dumps(content).encode(), np.uint8)
