"""An ONNX file of a release as an onnxruntime session: checked, and of the signature that is expected."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scbch_keras.export.format import manifest as manifests

StartSession = Callable[[bytes], Any]
"""Content of an ONNX file -> its onnxruntime session."""

_ONNX_DTYPES = {"float32": "tensor(float)", "uint8": "tensor(uint8)", "string": "tensor(string)"}


def open_session(
    start: StartSession,
    folder: Path,
    manifest: Mapping[str, Any],
    relative: str,
    signature: Mapping[str, Any],
) -> Any:
    """The session of the file `relative` in the release `folder`.

    Raises ValueError or FileNotFoundError as `manifest.read_verified` does, and ValueError if onnxruntime cannot
    open it or its inputs and outputs are not those of `signature`.
    """
    content = manifests.read_verified(folder, manifest, relative)
    try:
        session = start(content)
    except Exception as error:  # onnxruntime's own error types share no public base class
        raise ValueError(f"onnxruntime cannot open {folder / relative}: {error}") from error
    for kind, tensors in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        came = {t.name: (t.type, _fixed(t.shape)) for t in tensors}
        wanted = {
            name: (_ONNX_DTYPES[tensor["dtype"]], _fixed(tensor["shape"]))
            for name, tensor in signature[kind].items()
        }
        if came != wanted:
            raise ValueError(f"{folder / relative} has {kind} {came}; the manifest says {wanted}")
    return session


def _fixed(shape: Sequence[Any]) -> tuple[int | None, ...]:
    """The sizes of a shape; None for a free one, which onnxruntime gives as a name."""
    return tuple(size if isinstance(size, int) else None for size in shape)
