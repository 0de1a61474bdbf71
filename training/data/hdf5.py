"""Datasets of HDF5 files, whose values lie in the file itself and unfold in proportion to it."""

import math
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from scbch_keras.export.limits import check_unfolded
from scbch_keras.export.npz import string_array


def dataset_in(file: h5py.File, name: str) -> h5py.Dataset:
    """The dataset `name` in the root of an open file, its size checked before anything of it is read.

    Links, external storage, virtual datasets and filters of plugins are not followed: a file that is only read must
    neither show what stands in other files nor load code.

    Raises:
        KeyError: there is no such dataset.
        ValueError: it is a group, lies elsewhere, or declares more than the file may unfold into.
    """
    if "/" in name:
        raise ValueError(f"{name!r}: expected a name in the root of the file")
    link = file.get(name, getlink=True)
    if link is None:
        raise KeyError(f"there is no dataset {name!r}")
    if not isinstance(link, h5py.HardLink):
        raise ValueError("it is a link, to another file or place, which is not followed")
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise ValueError("it is a group, expected an array")
    if found.external or found.is_virtual:
        raise ValueError("its values lie in other files, which are not read")
    if found.shape is None:
        raise ValueError("it is an empty dataset")
    stored = file.id.get_filesize()
    check_unfolded(name, math.prod(found.shape) * found.dtype.itemsize, stored)
    # a chunk is unpacked as a whole, even for one value
    check_unfolded(f"a chunk of {name}", math.prod(found.chunks or (0,)) * found.dtype.itemsize, stored)
    return found


def strings_in(dataset: h5py.Dataset) -> NDArray[np.str_]:
    """All strings of a dataset of strings. ValueError if they unfold out of proportion to the file."""
    return string_array(dataset.name, dataset.asstr()[()], dataset.file.id.get_filesize())
