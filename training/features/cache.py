"""Features of many pictures or texts, computed once: a file that fills batch by batch and outlives interruptions.

The file is HDF5. h5py lays it out whole, before the first batch; after that only numbers change in place, rows
first and then the count of finished rows, so that being killed at any moment leaves a valid file.
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from scbch_keras.files import hidden_sibling, sync
from scbch_keras.preprocessing.pictures import read_picture
from scbch_keras.safe_text import terminal
from scbch_keras.stored import CORRUPT, FileKind
from scbch_keras.training.data.hdf5 import dataset_in
from scbch_keras.training.features.images import ImageFeatures

_STORED = FileKind("a file of `extract`", "scbch_features", (1,))
_READERS = min(8, os.cpu_count() or 1)


class Features(Protocol):
    """What `extract` computes with: `ImageFeatures`, a fitted `TextFeatures`, or the like of one's own."""

    @property
    def dimensions(self) -> int:
        """Columns of the features."""

    def config(self) -> dict[str, Any]:
        """What these features are, JSON-able."""

    def __call__(self, batch: Any, /) -> NDArray[np.float32]:
        """A batch of sources -> (b, dimensions)."""


class _Layout(NamedTuple):
    """Where in the file things stand, in bytes, and the number of finished rows."""

    rows: int
    keys: int
    counter: int
    done: int


def extract(
    sources: Sequence[Any],
    features: Features,
    path: str | os.PathLike[str],
    batch_size: int = 32,
    key: Callable[[Any], str] | None = None,
    console: Console | None = None,
) -> np.memmap[Any, np.dtype[np.float32]]:
    """Features of all sources, in their order, kept in the HDF5 file `path` -> float32 (n, d), mapped read-only.

    A call that was interrupted goes on behind its last finished batch, a finished one only opens the file. In
    the file: `features`, contiguous float32 (n, d); `keys`, the sha256 of what each row is made from; `done`,
    the number of finished rows. Sources whose rows are not finished may change: a broken picture be replaced.

    Args:
        sources: for `ImageFeatures` picture files, or their bytes, or pictures uint8 of its size; texts for
            `TextFeatures`; for other features whatever they take a list of.
        features: `ImageFeatures`, fitted `TextFeatures`, or anything with dimensions, config() and a call.
        path: the file, which may be there from an earlier call. Its folder is made if need be.
        batch_size: sources at a time, at least 1.
        key: source -> a string that changes with its content, by which an earlier file is known to fit; None: of
            a file its path, size and time of change, of anything else a checksum.
        console: where progress is shown; None: standard output.

    Raises:
        ValueError: a bad argument, an unreadable source, or `path` is of other sources or features, or no such
            file at all; it is left as it is.
        OSError: the file cannot be written, for instance because the disk is full; what was finished stays.
    """
    sources = _checked(sources, batch_size)
    path = Path(path)
    shape = (len(sources), features.dimensions)
    default = _picture_key if isinstance(features, ImageFeatures) else _key
    keys = _keys(sources, key or default)
    config = json.loads(json.dumps(features.config()))  # as it comes back from the file
    if not path.exists():
        _create(path, shape, keys, config)
    layout = _open(path, shape, keys, config)
    if layout.done < len(sources):
        _fill(path, layout, sources, keys, features, batch_size, console)
        if _open(path, shape, keys, config).done < len(sources):
            raise OSError(f"{path} was replaced by another process while its features were computed")
    return np.memmap(path, np.dtype("<f4"), "r", layout.rows, shape)


def _fill(
    path: Path,
    layout: _Layout,
    sources: list[Any],
    keys: NDArray[np.uint8],
    features: Features,
    batch_size: int,
    console: Console | None,
) -> None:
    done, count, dimensions = layout.done, len(sources), features.dimensions
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with path.open("r+b", buffering=0) as file, Progress(*columns, console=console) as bars:
        _write(file, layout.keys, keys.tobytes())
        bar = bars.add_task(terminal(f"Features into {path.name}"), total=count, completed=done)
        for batch in _batches(sources[done:], features, batch_size):
            rows = np.asarray(features(batch))
            if rows.shape != (len(batch), dimensions) or not np.isfinite(rows).all():
                raise ValueError(
                    f"features must give finite numbers ({len(batch)}, {dimensions}), got {rows.shape}, "
                    f"for the sources from {done} on"
                )
            try:
                _write(file, layout.rows + done * dimensions * 4, rows.astype("<f4").tobytes())
                _write(file, layout.counter, np.array(done + len(batch), "<i8").tobytes())
            except OSError as error:
                raise OSError(
                    error.errno,
                    f"{path} cannot be written ({error.strerror}): {done} of {count} rows are finished and stay; "
                    "make room and call again to go on",
                ) from error
            done += len(batch)
            bars.update(bar, completed=done)


def _write(file: Any, offset: int, data: bytes) -> None:
    """Write at offset, and through to the disk before anything else is written."""
    file.seek(offset)
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]
    os.fsync(file.fileno())


def _batches(sources: list[Any], features: Features, batch_size: int) -> Iterator[Any]:
    """The sources as `features` takes them. Of pictures, the next batch is read while one is computed."""
    batches = [sources[start : start + batch_size] for start in range(0, len(sources), batch_size)]
    if not isinstance(features, ImageFeatures):
        yield from batches
        return
    size = features.size
    with ThreadPoolExecutor(_READERS) as pool:
        try:
            ahead = [pool.submit(_picture, source, size) for source in batches[0]]
            for following in [*batches[1:], []]:
                reading, ahead = ahead, [pool.submit(_picture, source, size) for source in following]
                yield np.stack([picture.result() for picture in reading])
        finally:
            pool.shutdown(cancel_futures=True)


def _picture(source: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    if not isinstance(source, np.ndarray):
        return read_picture(source, size)
    if source.dtype != np.uint8 or source.shape != (*size, 3):
        raise ValueError(f"sources: expected uint8 {(*size, 3)}, got a picture {source.dtype} {source.shape}")
    return source


def _create(path: Path, shape: tuple[int, int], keys: NDArray[np.uint8], config: dict[str, Any]) -> None:
    """Create the file beside `path` with all of its space allocated on the disk, and rename it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = hidden_sibling(path)
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    try:
        # h5py cannot close a file that the disk has no room for, so that the room is reserved before.
        _reserve(beside, shape[0] * (shape[1] * 4 + 32))
        with h5py.File(beside, "w") as file:
            file.attrs.update(_STORED.marked({"config": json.dumps(config)}))
            file.create_dataset("done", data=np.array([0], "<i8"))
            file.create_dataset("keys", data=keys)
            space = h5py.h5s.create_simple(shape)
            h5py.h5d.create(file.id, b"features", h5py.h5t.IEEE_F32LE, space, layout)
        _reserve(beside, beside.stat().st_size)
        os.replace(beside, path)
        sync(path.parent)
    except (OSError, RuntimeError) as error:
        need = shape[0] * shape[1] * 4 / 2**20
        number = getattr(error, "errno", None) or errno.EIO
        raise OSError(number, f"{path} cannot be made, it needs {need:.1f} MiB: {error}") from error
    finally:
        beside.unlink(missing_ok=True)


def _reserve(path: Path, size: int) -> None:
    """Take `size` bytes of the disk for the file, where the system can, and flush it."""
    with path.open("ab") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        os.fsync(file.fileno())


def _open(path: Path, shape: tuple[int, int], keys: NDArray[np.uint8], config: dict[str, Any]) -> _Layout:
    """The layout of a file that fits; a ValueError for any other."""
    another = "give another path, or delete it if it is not needed any more"
    try:
        with h5py.File(path, "r") as file:
            _STORED.check(int(file.attrs[_STORED.key]))
            stored = json.loads(file.attrs["config"])
            parts = [dataset_in(file, name) for name in ("features", "keys", "done")]
            places = [part.id.get_offset() for part in parts]  # None where there is none
            stored_shape, done = parts[0].shape, int(parts[2][0])
            types = [part.dtype.str for part in parts]
            if None in places or types != ["<f4", "|u1", "<i8"] or not 0 <= done <= stored_shape[0]:
                raise ValueError("its datasets are not as they were made")
            if path.stat().st_size < places[0] + parts[0].nbytes:
                raise ValueError("it is cut off")
            finished = parts[1][:done]
    except CORRUPT as error:
        raise ValueError(f"path: {path} is no file of `extract`, or damaged ({error}); {another}") from error
    if _content(stored) != _content(config):
        raise ValueError(f"path: {path} holds other features: {stored}, expected {config}; {another}")
    if stored_shape != shape:
        raise ValueError(
            f"path: {path} holds features of {stored_shape[0]} sources, got {shape[0]}; {another}"
        )
    changed = np.flatnonzero((finished != keys[:done]).any(axis=1))
    if changed.size:
        raise ValueError(
            f"path: {path} holds features of other sources, or they have changed: {changed.size} of {done} "
            f"finished rows, first row {changed[0]}; {another}"
        )
    rows, made_from, counter = places
    return _Layout(rows, made_from, counter, done)


def _checked(sources: Any, batch_size: Any) -> list[Any]:
    if type(batch_size) is not int or batch_size < 1:
        raise ValueError(f"batch_size must be a whole number of at least 1, got {batch_size!r}")
    if isinstance(sources, str | bytes | os.PathLike) or not hasattr(sources, "__iter__"):
        raise ValueError(f"sources must be a list, got {type(sources).__name__}")
    sources = list(sources)
    if not sources:
        raise ValueError("sources must not be empty")
    return sources


def _content(config: dict[str, Any]) -> dict[str, Any]:
    """A description without where files lie: they may move, their checksums are in it."""
    return {key: value for key, value in config.items() if key != "path" or config.get("sha256") is None}


def _keys(sources: list[Any], key: Callable[[Any], str]) -> NDArray[np.uint8]:
    """The sha256 of the key of each source: (n, 32)."""
    digests = bytearray()
    for row, source in enumerate(sources):
        name = key(source)
        if not isinstance(name, str):
            raise ValueError(f"key must give a string for each source, got {type(name).__name__} for {row}")
        digests += hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return np.frombuffer(bytes(digests), np.uint8).reshape(len(sources), 32)


def _picture_key(source: Any) -> str:
    """A string is the path of a picture, not a text."""
    return _key(Path(source) if isinstance(source, str) else source)


def _key(source: Any) -> str:
    if isinstance(source, os.PathLike):
        try:
            status = os.stat(source)
        except OSError as error:
            raise ValueError(f"sources: cannot read {os.fspath(source)}: {error.strerror}") from error
        return f"file {os.path.abspath(source)} {status.st_size} {status.st_mtime_ns}"
    if isinstance(source, bytes):
        return f"bytes {hashlib.sha256(source).hexdigest()}"
    if isinstance(source, str):
        return f"text {source}"
    if isinstance(source, np.ndarray):
        content = hashlib.sha256(np.ascontiguousarray(source).data).hexdigest()
        return f"array {source.dtype} {source.shape} {content}"
    raise ValueError(f"sources: expected a path, bytes, a string or an array, got {type(source).__name__}")
