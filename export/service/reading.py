"""Bodies of requests -> what the batches take: in the service itself, or in a process of its own for large ones."""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from scbch_keras.export.service.inputs import CountedText, Inputs, Shape, read_inputs
from scbch_keras.export.service.limits import InputError, Limits, OverloadedError
from scbch_keras.export.service.tensors import TensorRequest, read_tensors
from scbch_keras.preprocessing.text import TextPipeline
from scbch_keras.preprocessing.text_encoder import TextEncoder

_MAX_UNKNOWN = 2**20
_LESS_URGENT = 5
_END_SECONDS = 5.0


@dataclass(frozen=True)
class Reader:
    """Reads bodies, and parts texts into words. Pickled, it does so elsewhere.

    Attributes:
        release: as messages name it.
        shapes: of a row of features, by modality.
        pipeline: of the texts; None where the release takes none.
        takes_pictures: whether the release does.
        limits: of the service.
    """

    release: str
    shapes: Mapping[str, Shape]
    pipeline: TextPipeline | TextEncoder | None
    takes_pictures: bool
    limits: Limits

    def check_kind(self, kind: str) -> None:
        """Refuse a kind of input that the release does not take, before it waits for a batch."""
        if kind == "texts" and self.pipeline is None:
            raise InputError(f"{kind}: the release {self.release} takes no strings; send text_features")
        if kind == "pictures" and not self.takes_pictures:
            raise InputError(f"{kind}: the release {self.release} takes no pictures; send image_features")

    def inputs(self, body: bytes, is_search: bool) -> Inputs:
        """A body of /encode or /search. Raises InputError."""
        inputs = read_inputs(body, self.shapes, self.limits, is_search)
        self.check_kind(inputs.kind)
        return replace(inputs, rows=self._rows(inputs.kind, inputs.rows))

    def tensors(self, body: bytes, header: str | None, kind: str, *tensor: Any) -> TensorRequest:
        """A body of the Open Inference Protocol. tensor: the model's, as `input_rows` takes it. Raises InputError."""
        request = read_tensors(body, header, kind, self.limits, *tensor)
        request.rows = self._rows(kind, request.rows)
        return request

    def _rows(self, kind: str, rows: Any) -> Any:
        if kind != "texts" or self.pipeline is None:
            return rows
        counted, unknown = [], 0
        for row, text in enumerate(rows):
            counted.append(CountedText(*self.pipeline.counted(text)))
            unknown += len(counted[-1].unknown)
            if unknown > _MAX_UNKNOWN:
                raise InputError(
                    f"{kind}.{row}: expected at most {_MAX_UNKNOWN} words in a request that the model does not know, "
                    f"got {unknown} up to here"
                )
        return counted


class ReadingProcess:
    """A process for large bodies, which has the processor when the service does not need it.

    Reading one takes seconds of Python at worst, and in a thread of the service all other requests would wait for it.
    To be called by one thread at a time.
    """

    def __init__(self, reader: Reader):
        self._reader = reader
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "subprocess.Popen[bytes]":
        """The process, begun anew if it ended."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        self._process = subprocess.Popen(  # noqa: S603
            # -P keeps the current folder off the import path, where anything could pass for a module.
            [sys.executable, "-P", "-m", __name__],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with suppress(OSError):  # it has ended, which the first body tells
            self._send(self._process, self._reader)
        return self._process

    def read(self, method: str, body: Sequence[bytes], *arguments: Any) -> Any:
        """`reader.method(body, *arguments)`. body: in parts.

        Raises what that raises, RuntimeError instead of what nobody expects, and OverloadedError if the process ended.
        """
        process = self.start()
        assert process.stdout is not None  # noqa: S101
        try:
            self._send(process, (method, sum(map(len, body)), arguments), *body)
            answer = pickle.load(process.stdout)  # noqa: S301
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            self.close()
            raise OverloadedError(
                "the process that reads large bodies has ended; another is started"
            ) from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    @staticmethod
    def _send(process: "subprocess.Popen[bytes]", head: Any, *parts: bytes) -> None:
        assert process.stdin is not None  # noqa: S101
        pickle.dump(head, process.stdin)
        process.stdin.writelines(parts)
        process.stdin.flush()

    def close(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _main() -> None:
    # They are for the service, which answers what it has taken, and ends this process then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(_LESS_URGENT)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        reader = pickle.load(requests)  # noqa: S301
        while True:
            method, size, arguments = pickle.load(requests)  # noqa: S301
            try:
                answer = getattr(reader, method)(requests.read(size), *arguments)
            except InputError as error:
                answer = error
            except Exception as error:
                answer = RuntimeError(f"{type(error).__name__}: {error}")
            pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
            del answer
    except (EOFError, BrokenPipeError):  # the service has ended
        os._exit(0)


if __name__ == "__main__":
    _main()
