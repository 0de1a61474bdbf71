"""Backbones from ONNX files, on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.files import sha256_of
from scbch_keras.preprocessing.pictures import Size
from scbch_keras.training.features.images import ImageFeatures, check_size, settings

_TYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}
_BATCH = 32


def from_file(path: Path, size: Size | None) -> ImageFeatures:
    """`image_backbone` of an .onnx file: one input uint8 or float32, channels last or first; one output (n, d)."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f"{path} needs onnxruntime: pip install 'scbch_keras[onnx]', or 'scbch_keras[onnx-gpu]' "
            "for NVIDIA GPUs (one of the two, never both)"
        ) from error
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own error types share no public base class
        raise ValueError(f"onnxruntime cannot open {path}: {error}") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(f"{path}: expected one input and one output, got {len(inputs)} and {len(outputs)}")
    shape, kind = inputs[0].shape, inputs[0].type
    last = len(shape) == 4 and shape[3] == 3
    first = len(shape) == 4 and shape[1] == 3
    if last == first or kind not in _TYPES:
        raise ValueError(
            f"{path}: expected an input of uint8 or float32 (n, height, width, 3) or (n, 3, height, width), "
            f"got {kind} {shape}"
        )
    size = _size(path, shape[1:3] if last else shape[2:], size)
    batch, fixed = (shape[0], True) if isinstance(shape[0], int) else (_BATCH, False)

    def compute(pictures: NDArray[np.uint8]) -> NDArray[Any]:
        count = len(pictures)
        if fixed and count < batch:
            pictures = np.concatenate([pictures, np.zeros((batch - count, *size, 3), np.uint8)])
        pixels = pictures if last else pictures.transpose(0, 3, 1, 2)
        feed = {inputs[0].name: np.ascontiguousarray(pixels, _TYPES[kind])}
        return session.run(None, feed)[0][:count]

    try:
        probe = compute(np.zeros((1, *size, 3), np.uint8))
    except Exception as error:
        raise ValueError(f"onnxruntime cannot run {path} on a picture of {size}: {error}") from error
    if probe.ndim != 2 or probe.dtype.kind != "f":
        raise ValueError(
            f"{path}: expected an output of real numbers (n, d), got {probe.dtype} {probe.shape}"
        )
    described = settings("onnx", None, path=path, sha256=sha256_of(path))
    return ImageFeatures(size, probe.shape[1], described, compute, batch=batch)


def _size(path: Path, shape: list[Any], requested: Size | None) -> Size:
    """The size in the file, where it has one, else the requested one."""
    if all(isinstance(side, int) for side in shape):
        fixed = (shape[0], shape[1])
        check_size(str(path), requested, fixed)
        return fixed
    if requested is None:
        raise ValueError(
            f"size: {path} takes pictures of any size ({shape}); say which with size=(height, width)"
        )
    return requested
