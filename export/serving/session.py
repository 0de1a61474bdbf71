"""An ONNX file of a release as an onnxruntime session: checked, and of the signature that is expected."""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO
from weakref import finalize

from scbch_keras.export.format import manifest as manifests
from scbch_keras.export.serving.forks import renew_in_children
from scbch_keras.preprocessing.external_data import check_no_external_data
from scbch_keras.preprocessing.onnx_files import DTYPES

StartSession = Callable[[bytes], Any]
"""Content of an ONNX file -> its onnxruntime session."""


class Session:
    """An ONNX file of a release, opened at the first use and in each forked child anew. Safe to call from many threads.

    The threads of a session do not come along into a forked child: it would wait for them when it drops the session.
    The file is held open: it can be read also when the release was deleted since.

    Args:
        start: opens the content.
        folder: of the release.
        manifest: of the release.
        relative: the file's path in the release.
        signature: of the manifest.

    Raises ValueError or FileNotFoundError as `manifest.open_listed` does.
    """

    def __init__(
        self,
        start: StartSession,
        folder: Path,
        manifest: Mapping[str, Any],
        relative: str,
        signature: Mapping[str, Any],
    ):
        self._file = manifests.open_listed(folder, manifest, relative)
        finalize(self, self._file.close)
        self._arguments = (start, folder, manifest, relative, signature)
        self._session: Any = None
        self._lock = Lock()
        renew_in_children(self)

    def renew(self) -> None:
        """Leave the parent's session alone: not even its memory can be freed in a forked child."""
        self._lock = Lock()
        if self._session is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._session))
            self._session = None

    def opened(self) -> Any:
        """The session of this process. Raises as `open_session`."""
        with self._lock:
            if self._session is None:
                self._session = open_session(*self._arguments, file=self._file)
            return self._session

    def run(self, outputs: list[str], inputs: Mapping[str, Any]) -> list[Any]:
        """What onnxruntime's own `run` gives."""
        return self.opened().run(outputs, inputs)


def open_session(
    start: StartSession,
    folder: Path,
    manifest: Mapping[str, Any],
    relative: str,
    signature: Mapping[str, Any],
    file: BinaryIO | None = None,
) -> Any:
    """The session of the file `relative` in the release `folder`, or of that file when it is open already.

    Raises ValueError or FileNotFoundError as `manifest.read_verified` does, and ValueError if it keeps tensors in other
    files, onnxruntime cannot open it, or its inputs and outputs are not those of `signature`.
    """
    if file is None:
        content = manifests.read_verified(folder, manifest, relative)
    else:
        content = manifests.verified(file, folder, manifest, relative)
    check_no_external_data(content, str(folder / relative))
    try:
        session = start(content)
    except Exception as error:  # onnxruntime's own error types share no public base class
        raise ValueError(f"onnxruntime cannot open {folder / relative}: {error}") from error
    for kind, tensors in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        actual = {t.name: (t.type, _fixed(t.shape)) for t in tensors}
        expected = {
            name: (DTYPES[tensor["dtype"]], _fixed(tensor["shape"]))
            for name, tensor in signature[kind].items()
        }
        if actual != expected:
            raise ValueError(f"{folder / relative} has {kind} {actual}; the manifest says {expected}")
    return session


def _fixed(shape: Sequence[Any]) -> tuple[int | None, ...]:
    """The sizes of a shape; None for a free one, which onnxruntime gives as a name."""
    return tuple(size if isinstance(size, int) else None for size in shape)
