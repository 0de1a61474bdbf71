"""Datasets of HDF5 files, whose values lie in the file itself and unfold in proportion to it."""

import json
import math
import subprocess
import sys

import h5py
import numpy as np
from numpy.typing import NDArray

from scbch_keras.limits import allowed, check_unfolded
from scbch_keras.npz import string_array

SECONDS, BYTES_A_SECOND = 20, 2**20
"""How long the reading of strings may take: at least so long, and longer for large files."""
_PROGRAM = """
import json, sys
path, name, room = sys.argv[1], sys.argv[2], int(sys.argv[3])
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (2**31 + 4 * room,) * 2)
except ImportError:
    pass
import h5py
with h5py.File(path, "r") as file:
    strings = file[name].asstr()[()]
    listed = [strings] if isinstance(strings, str) else strings.ravel().tolist()
if sum(map(len, listed)) > room:
    raise ValueError("they are out of proportion to the file")
sys.stdout.write(json.dumps(listed))
"""


def names_in(file: h5py.File) -> list[str]:
    """What stands in the root of an open file. ValueError if that is damaged."""
    try:
        return [name if isinstance(name, str) else repr(name) for name in file]
    except (RuntimeError, KeyError, UnicodeError) as error:
        raise ValueError(f"its root group is damaged: {error}") from error


def dataset_in(group: h5py.Group, name: str) -> h5py.Dataset:
    """The dataset `name` in an open file or one of its groups, its size checked before anything of it is read.

    Links, external storage, virtual datasets and filters of plugins are not followed: a file that is only read must
    neither show what stands in other files nor load code.

    Raises:
        KeyError: there is no such dataset.
        ValueError: it is a group, lies elsewhere, or declares more than the file may unfold into.
    """
    if "/" in name:
        raise ValueError(f"{name!r}: expected a name in the root of the file")
    link = group.get(name, getlink=True)
    if link is None:
        raise KeyError(f"there is no dataset {name!r}")
    if not isinstance(link, h5py.HardLink):
        raise ValueError("it is a link to another file or place, which is not followed")
    dataset = group[name]
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError("it is a group, expected an array")
    if dataset.external or dataset.is_virtual:
        raise ValueError("its values lie in other files, which are not read")
    if dataset.shape is None:
        raise ValueError("it is an empty dataset")
    stored = dataset.file.id.get_filesize()
    check_unfolded(name, math.prod(dataset.shape) * dataset.dtype.itemsize, stored)
    # a chunk is unpacked as a whole, even for one value
    check_unfolded(f"a chunk of {name}", math.prod(dataset.chunks or (0,)) * dataset.dtype.itemsize, stored)
    return dataset


def strings_in(dataset: h5py.Dataset) -> NDArray[np.str_]:
    """All strings of a dataset of strings, in UTF-8.

    The HDF5 library can loop for ever in a damaged heap of strings, so another process reads them.

    Raises:
        ValueError: they cannot be read, not in time, or unfold out of proportion to the file.
    """
    stored = dataset.file.id.get_filesize()
    seconds = SECONDS + stored / BYTES_A_SECOND
    command = [
        sys.executable,
        "-I",
        "-c",
        _PROGRAM,
        dataset.file.filename,
        dataset.name,
        str(allowed(stored)),
    ]
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"its strings are damaged: not read within {seconds:.0f} s") from error
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise ValueError(f"its strings are damaged: {last[0]}")
    strings = np.array(json.loads(done.stdout), dtype=object)
    return string_array(dataset.name, strings, stored).reshape(dataset.shape)
