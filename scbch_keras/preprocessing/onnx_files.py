"""ONNX files of encoders: read once, opened, and described by their inputs and outputs. Imports onnxruntime late."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scbch_keras.files import opened
from scbch_keras.preprocessing.external_data import check_no_external_data

Run = Callable[[list[str], Mapping[str, Any]], list[Any]]
"""Names of outputs, inputs by name -> the outputs; what `run` of an onnxruntime session is."""
Described = Mapping[str, Mapping[str, Any]]
"""Tensors by name: {"dtype": "float32", "shape": [None, 384]}, a free size as None."""

DTYPES = {
    "float32": "tensor(float)",
    "int32": "tensor(int32)",
    "int64": "tensor(int64)",
    "string": "tensor(string)",
    "uint8": "tensor(uint8)",
}
"""Types by numpy's name, and as onnxruntime calls them."""


def onnxruntime() -> Any:
    """The package onnxruntime, its telemetry off unless the environment says otherwise. Raises ImportError."""
    if "onnxruntime" not in sys.modules:
        # Its builds for Linux and macOS report to their vendor, by a thread for which a forked child waits for
        # ever when it ends.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def session_of(path: Path) -> tuple[Any, bytes]:
    """An onnxruntime session of the file, on the CPU, and the content that it has.

    Raises:
        ImportError: onnxruntime is not installed.
        ValueError: it cannot be opened, or keeps tensors in other files.
        OSError: the file cannot be read.
    """
    try:
        runtime = onnxruntime()
    except ImportError as error:
        raise ImportError(
            f"{path} needs onnxruntime: pip install 'scbch_keras[onnx]', or 'scbch_keras[onnx-gpu]' "
            "for NVIDIA GPUs (one of the two, never both)"
        ) from error
    with opened(path) as file:
        content = file.read()
    check_no_external_data(content, str(path))
    try:
        return runtime.InferenceSession(content, providers=["CPUExecutionProvider"]), content
    except Exception as error:  # onnxruntime's own error types share no public base class
        raise ValueError(f"onnxruntime cannot open {path}: {error}") from error


def described(session: Any) -> dict[str, dict[str, Any]]:
    """{"inputs", "outputs"} of a session as `Described`; a type that is none of `DTYPES` as onnxruntime calls it."""
    names = {called: name for name, called in DTYPES.items()}
    return {
        kind: {
            tensor.name: {
                "dtype": names.get(tensor.type, tensor.type),
                "shape": [size if isinstance(size, int) else None for size in tensor.shape],
            }
            for tensor in tensors
        }
        for kind, tensors in (("inputs", session.get_inputs()), ("outputs", session.get_outputs()))
    }
