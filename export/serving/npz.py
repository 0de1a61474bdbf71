"""Arrays from .npz files that others wrote: plain ones only, and every fault of such a file is a ValueError."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.files import opened


def read_npz(
    path: Path, kind: str, needed: Sequence[str], compressed: bool = True
) -> dict[str, NDArray[Any]]:
    """All arrays of the file; no pickle is ever run.

    Args:
        path: of a plain file.
        kind: what the file should be, for the error.
        needed: names that must be in it.
        compressed: whether its arrays may be; they can then be a thousand times as large as the file.

    Raises:
        ValueError: it is no .npz, damaged, or lacks one of `needed`; it is no plain file.
        FileNotFoundError: there is no such file.
    """
    with opened(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                packed = [m.filename for m in archive.infolist() if m.compress_type != zipfile.ZIP_STORED]
            if packed and not compressed:
                raise ValueError(f"its arrays are compressed: {', '.join(packed[:3])}")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in (*needed, *arrays.files)}
        except Exception as error:  # a damaged zip file or array header fails in a dozen ways
            raise ValueError(f"{path} is not a {kind}, or it is damaged: {error}") from error
