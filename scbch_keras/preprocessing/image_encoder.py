"""Pictures -> feature rows of an ONNX file, the same in training and in a release. Imports onnxruntime late."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from scbch_keras import checks
from scbch_keras.files import loads, read_bytes
from scbch_keras.preprocessing import encoder_files as files
from scbch_keras.preprocessing.onnx_files import Run, described, session_of
from scbch_keras.preprocessing.pictures import PREPARATION, Size, blocks, checked_pictures
from scbch_keras.preprocessing.pooling import pooled, unit_rows
from scbch_keras.stored import FileKind, write_json

ENCODER_FILE = "image_encoder.json"
ONNX_FILE = "image_encoder.onnx"
"""The names of the two in a release."""
_STORED = FileKind("a file of ImageEncoder.save", "schema", (1,))
_ROWS = 32


def _size(name: str, value: Any) -> list[int]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        checks.refuse(name, "two whole numbers [height, width]", value)
    return [checks.whole(name, side, 1) for side in value]


def _mean(name: str, value: Any) -> list[float]:
    if not isinstance(value, list | tuple) or len(value) != 3:
        checks.refuse(name, "three numbers, of red, green and blue from 0 to 1", value)
    return [float(checks.number(name, part)) for part in value]


def _std(name: str, value: Any) -> list[float]:
    return [float(checks.number(name, part, 0, above=True)) for part in _mean(name, value)]


_SETTINGS = {
    "size": _size,
    "mean": _mean,
    "std": _std,
    "pooling": files.check_pooling,
    "normalize": checks.flag,
    "output": checks.text,
}


class ImageEncoder:
    """Pictures -> features float32 (n, dimensions): resize, pixel values, the network, pooling. `open` makes one.

    Args:
        settings: "size" [height, width]; "mean" and "std" of red, green and blue, by which the network is given
            (pixel / 255 - mean) / std, or None for pixel values 0 to 255; "pooling"; "normalize"; "output";
            "dimensions"; and "inputs" and "outputs" of the ONNX file as `described` gives them.
        run: runs the ONNX file.
        source: names the encoder in messages.
        made_of: its file and its sha256, where it was opened from a folder.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        run: Run,
        source: str,
        made_of: Mapping[str, tuple[Path, str]] | None = None,
    ) -> None:
        self.settings = dict(settings)
        self.size: Size = (settings["size"][0], settings["size"][1])
        self.dimensions: int = settings["dimensions"]
        """Columns of the features."""
        self.source = source
        self.made_of = made_of
        self._run = run
        ((self._input, tensor),) = settings["inputs"].items()
        self._dtype = np.dtype(tensor["dtype"])
        self._is_first = tensor["shape"][3] != 3
        batch = tensor["shape"][0]
        self.batch: int = batch or _ROWS
        """Pictures that enter the network together at most."""
        self._is_fixed = batch is not None

    @classmethod
    def open(cls, path: str | os.PathLike[str], size: Size | None = None) -> Self:
        """Open an .onnx file, or the folder of one, with encoder.json of how it is used.

        encoder.json: {"size": [height, width], "mean": [r, g, b], "std": [r, g, b], "pooling": "mean", "cls" or "none",
        "normalize": bool, "output": name}; each may be left out.

        Args:
            path: of the file or the folder.
            size: height and width, where the file leaves them free.

        Returns:
            The encoder.

        Raises:
            ImportError: onnxruntime is not installed.
            ValueError: a file is missing or damaged, or the network takes or gives something else.
        """
        path = Path(path).absolute()
        onnx = files.onnx_file(path)
        folder = path if path.is_dir() else None
        chosen = {} if folder is None else files.read_settings(folder, _SETTINGS)
        if ("mean" in chosen) != ("std" in chosen):
            raise ValueError(f"{folder}/{files.SETTINGS_FILE}: mean and std go together, got one of them")
        session, content = session_of(onnx)
        tensors = described(session)
        if len(tensors["inputs"]) != 1 or ("output" not in chosen and len(tensors["outputs"]) != 1):
            raise ValueError(
                f"{onnx}: expected one input and one output, got {len(tensors['inputs'])} and "
                f"{len(tensors['outputs'])}"
            )
        (tensor,) = tensors["inputs"].values()
        _check_input(onnx, tensor)
        if chosen.get("mean") is not None and tensor["dtype"] == "uint8":
            raise ValueError(f"{onnx}: mean and std make fractions, and its input is uint8: leave them out")
        asked = size or (tuple(chosen["size"]) if "size" in chosen else None)
        settings = {
            "size": list(_settled_size(onnx, tensor["shape"], asked)),
            "mean": chosen.get("mean"),
            "std": chosen.get("std"),
            "pooling": chosen.get("pooling", "none"),
            "normalize": chosen.get("normalize", False),
            "output": files.chosen_output(onnx, tensors["outputs"], chosen.get("output")),
            "dimensions": 0,
            **tensors,
        }
        made_of = {ONNX_FILE: (onnx, hashlib.sha256(content).hexdigest())}
        encoder = cls(settings, session.run, str(onnx), made_of)
        probe = encoder._pooled(np.zeros((1, *encoder.size, 3), np.uint8))
        encoder.dimensions = encoder.settings["dimensions"] = probe.shape[1]
        return encoder

    def __call__(self, pictures: NDArray[np.uint8] | Sequence[Any]) -> NDArray[np.float32]:
        """Pictures, as `ImagePipeline` takes them -> float32 (n, dimensions). Raises ValueError as it does."""
        features = [
            self.compute(block) for block in blocks(checked_pictures(pictures), self.size, self.batch)
        ]
        return np.concatenate([np.empty((0, self.dimensions), np.float32), *features])

    def compute(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features of pictures that already have the encoder's size.

        Args:
            pixels: (b, height, width, 3), uint8, 1 <= b <= `batch`; they go through the network together.

        Returns:
            (b, dimensions), float32.

        Raises:
            ValueError: the network gives something else than before.
        """
        rows = self._pooled(pixels)
        if rows.shape != (len(pixels), self.dimensions):
            raise ValueError(f"{self.source} gives {rows.shape}, expected {(len(pixels), self.dimensions)}")
        return rows

    def _pooled(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        count, pooling = len(pixels), self.settings["pooling"]
        raw = self._raw(pixels)[:count]
        form = f"got {raw.dtype} {raw.shape}"
        if raw.dtype.kind != "f" or raw.ndim not in (2, 3, 4):
            raise ValueError(f"{self.source}: expected an output of real numbers (n, d), {form}")
        if (raw.ndim == 2) != (pooling == "none"):
            raise ValueError(
                f"{self.source}: expected an output of real numbers (n, d), {form} with pooling {pooling!r}; for one "
                f'with a row a place, "pooling" is "mean" or "cls" in {files.SETTINGS_FILE} beside the file'
            )
        raw = raw.astype(np.float32, copy=False)
        if raw.ndim == 4:
            if pooling == "cls":
                raise ValueError(f"{self.source}: pooling 'cls' takes an output (n, tokens, d), {form}")
            places = raw.transpose(0, 2, 3, 1) if self._is_first else raw
            raw = places.reshape(len(raw), -1, places.shape[3])
        rows = raw if pooling == "none" else pooled(raw, pooling)
        return unit_rows(rows) if self.settings["normalize"] else rows

    def _raw(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        if self._is_fixed and len(pixels) < self.batch:
            missing = np.zeros((self.batch - len(pixels), *pixels.shape[1:]), np.uint8)
            pixels = np.concatenate([pixels, missing])
        values: NDArray[Any] = pixels
        if self.settings["mean"] is not None:
            mean, std = (np.array(self.settings[name], np.float32) for name in ("mean", "std"))
            values = (pixels.astype(np.float32) / np.float32(255) - mean) / std
        values = values.transpose(0, 3, 1, 2) if self._is_first else values
        feed = {self._input: np.ascontiguousarray(values, self._dtype)}
        try:
            return self._run([self.settings["output"]], feed)[0]
        except Exception as error:  # onnxruntime's own error types share no public base class
            raise ValueError(
                f"onnxruntime cannot run {self.source} on a picture of {self.size}: {error}"
            ) from error

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write image_encoder.json and image_encoder.onnx, from which `load` makes it again.

        Args:
            folder: an existing folder.

        Raises:
            ValueError: the file has changed since it was opened, or this encoder was opened from a release.
        """
        files.copy_files(self.source, self.made_of, Path(folder))
        stored = {"preparation": PREPARATION["name"], **self.settings}
        write_json(Path(folder, ENCODER_FILE), _STORED.marked(stored))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote, or a release has.

        Args:
            folder: where the files are.

        Returns:
            The encoder that was saved.

        Raises:
            ValueError: the files are something else, or damaged.
        """
        path = Path(folder)
        settings = read_settings(read_bytes(path / ENCODER_FILE, 2**20), str(path / ENCODER_FILE))
        session, _ = session_of(path / ONNX_FILE)
        return cls(settings, session.run, str(path / ONNX_FILE))


def read_settings(content: bytes, source: str) -> dict[str, Any]:
    """What `ImageEncoder.save` wrote to image_encoder.json. Raises ValueError if it is something else."""
    with _STORED.reading(source):
        stored = _STORED.unmarked(loads(content))
        if (preparation := stored.pop("preparation")) != PREPARATION["name"]:
            raise ValueError(f"its preparation is {preparation!r}")
        for name, check in _SETTINGS.items():
            if stored[name] is not None or name not in ("mean", "std"):
                check(name, stored[name])
        files.check_count("dimensions", stored["dimensions"])
        if len(stored["inputs"]) != 1 or stored["output"] not in stored["outputs"]:
            raise ValueError("its inputs and outputs do not fit")
        _check_input(source, *stored["inputs"].values())
        return stored


def _check_input(source: Any, tensor: Mapping[str, Any]) -> None:
    """Refuse a network that takes no pictures. Raises ValueError."""
    shape, dtype = tensor["shape"], tensor["dtype"]
    is_last = len(shape) == 4 and shape[3] == 3
    is_first = len(shape) == 4 and shape[1] == 3
    if is_last == is_first or dtype not in ("uint8", "float32"):
        raise ValueError(
            f"{source}: expected an input of uint8 or float32 (n, height, width, 3) or (n, 3, height, width), "
            f"got {dtype} {shape}"
        )


def _settled_size(source: Any, shape: list[int | None], requested: Size | tuple[int, ...] | None) -> Size:
    """The size in the file, where it has one, else the requested one. Raises ValueError."""
    height, width = shape[1:3] if shape[3] == 3 else shape[2:]
    if height is not None and width is not None:
        if requested not in (None, (height, width)):
            raise ValueError(f"size: {source} takes pictures of {height} x {width}, got {requested}")
        return height, width
    if requested is None:
        raise ValueError(
            f"size: {source} takes pictures of any size ({shape}); say which with size=(height, width), or in "
            f"{files.SETTINGS_FILE} beside the file"
        )
    return requested[0], requested[1]
