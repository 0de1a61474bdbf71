"""What a search page shows of each code besides its distance: name, caption, labels, picture; and what chance gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.files import read_bytes
from scbch_keras.preprocessing.pictures import thumbnail
from scbch_keras.safe_text import visible

THUMBNAIL = 256
"""Longest side of a thumbnail in pixels."""
_LOSSLESS = 128
"""Up to this side a thumbnail is a PNG: icons and drawings stay sharp."""
_QUALITY = 85
_HEADERS = 2**20
_BLOCK = 2**14


class Pictures:
    """Pictures of rows in one folder, from which no path and no link leads out.

    Args:
        folder: all pictures are below it.
        paths: of each row, relative to `folder` or absolute; None where a row has no picture.
    """

    def __init__(self, folder: Path, paths: Sequence[str | Path | None]):
        self.folder, self._paths = folder.resolve(), paths

    def path(self, row: int) -> Path:
        """The picture file of a row. Raises ValueError if it has none within the folder."""
        name = self._paths[row]
        if name is None:
            raise ValueError("it has no picture")
        try:
            path = (self.folder / name).resolve()
            if path.is_relative_to(self.folder) and path.is_file():
                return path
        except (OSError, RuntimeError, ValueError) as error:  # what no file can be called, links in a circle
            raise ValueError(f"{str(name)!r} is no path of a file") from error
        raise ValueError(f"there is no file {str(name)!r} in {self.folder}")

    def thumbnail(self, row: int, max_pixels: int) -> tuple[bytes, str]:
        """(picture file of at most `THUMBNAIL` pixels a side, its media type).

        Raises ValueError if there is none within the folder, or if it cannot be read or has more than `max_pixels`.
        """
        # Four bytes a pixel: what a picture without compression takes.
        content = read_bytes(self.path(row), 4 * max_pixels + _HEADERS, links=False)
        return thumbnail(content, THUMBNAIL, _QUALITY, _LOSSLESS, max_pixels)


@dataclass(frozen=True)
class Catalogue:
    """What is known of n codes, in the order of their index.

    Attributes:
        names: (n).
        captions: (n) texts; None where there are none.
        labels: 0/1 (n, C); None where there are none.
        label_names: (C).
        pictures: None where there are none.

    Raises ValueError for parts that do not have n rows.
    """

    names: Sequence[str]
    captions: Sequence[str] | None = None
    labels: NDArray[np.uint8] | None = None
    label_names: tuple[str, ...] = ()
    pictures: Pictures | None = None

    def __post_init__(self) -> None:
        for name in ("captions", "labels"):
            part = getattr(self, name)
            if part is not None and len(part) != len(self.names):
                raise ValueError(f"{name} must be one for each of {len(self.names)} codes, got {len(part)}")

    def label_counts(self) -> list[int]:
        """How many codes have each label, (C)."""
        return [] if self.labels is None else self.labels.sum(axis=0, dtype=np.int64).tolist()

    def entry(self, row: int) -> dict[str, Any]:
        """What is shown of one code: its row, id, caption and labels (numbers of them)."""
        labels = [] if self.labels is None else np.flatnonzero(self.labels[row]).tolist()
        caption = None if self.captions is None else visible(self.captions[row])
        return {"row": row, "id": visible(self.names[row]), "caption": caption, "labels": labels}


class Chance:
    """What a code drawn at random would give, exactly, by label: among all codes, or those that have it.

    Args:
        codes: packed, uint8 (n, ceil(bits / 8)).
        bits: of a code.
        labels: 0/1 (n, C), or None.
    """

    def __init__(self, codes: NDArray[np.uint8], bits: int, labels: NDArray[np.uint8] | None):
        self._codes, self._bits, self._labels = codes, bits, labels
        self._of = lru_cache(maxsize=64)(self._computed)

    def rows(self, label: int | None) -> NDArray[np.int64]:
        """The rows that have a label, or all."""
        if label is None or self._labels is None:
            return np.arange(len(self._codes))
        return np.flatnonzero(self._labels[:, label])

    def distance(self, code: NDArray[np.uint8], label: int | None) -> float:
        """The mean Hamming distance of a packed code to those that are searched."""
        ones, _ = self._of(label)
        return float(np.abs(np.unpackbits(code, count=self._bits) - ones).sum())

    def label_shares(self, label: int | None) -> NDArray[np.float64]:
        """The share of those that are searched that has each label, (C,)."""
        return self._of(label)[1]

    def _computed(self, label: int | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        rows = self.rows(label)
        ones = np.zeros(self._bits)
        # A block at a time: unpacked codes take eight times the memory.
        for start in range(0, len(rows), _BLOCK):
            block = self._codes[rows[start : start + _BLOCK]]
            ones += np.unpackbits(block, axis=1, count=self._bits).sum(axis=0)
        count = max(len(rows), 1)
        shares = np.zeros(0) if self._labels is None else self._labels[rows].sum(axis=0) / count
        return ones / count, shares
