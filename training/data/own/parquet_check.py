"""Parquet files are described by another process first: pyarrow ends the process at some damaged ones."""

import atexit
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import IO

from scbch_keras.export.serving.forks import renew_in_children

# What pyarrow makes of a column's description it makes in C++, which aborts where the description contradicts itself.
_DESCRIBE = """
import os, sys
from pyarrow import parquet
for line in sys.stdin.buffer:
    try:
        with parquet.ParquetFile(os.fsdecode(bytes.fromhex(line.decode()))) as file:
            for group in range(file.metadata.num_row_groups):
                for column in range(file.metadata.num_columns):
                    file.metadata.row_group(group).column(column)
    except Exception:  # as the process that asks will have it, too
        pass
    sys.stdout.buffer.write(b".")
    sys.stdout.buffer.flush()
"""


class _Describer:
    """A process that describes files, one at a time, until one ends it; the next file starts another."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        renew_in_children(self)

    def renew(self) -> None:
        """A forked child has a process of its own; that of its parent goes on."""
        self._lock, self._parents = Lock(), (self._process, self._errors)
        self._process = self._errors = None

    def ended_by(self, path: Path) -> str | None:
        """What the process said when it ended at this file; None if it did not."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()
            assert self._process is not None  # noqa: S101
            assert self._process.stdin is not None  # noqa: S101
            assert self._process.stdout is not None  # noqa: S101
            answer = b""
            with suppress(OSError):
                self._process.stdin.write(os.fsencode(path.absolute()).hex().encode() + b"\n")
                self._process.stdin.flush()
                answer = self._process.stdout.read(1)
            if answer:
                return None
            self._process.wait()
            assert self._errors is not None  # noqa: S101
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").splitlines()
            self.close()
            return next((line.strip() for line in lines if "what()" in line), "")

    def _start(self) -> None:
        self.close()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - until the process has ended
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-c", _DESCRIBE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.communicate()
        if self._errors is not None:
            self._errors.close()
            self._errors = None


_describer = _Describer()


atexit.register(_describer.close)


@lru_cache(maxsize=256)
def check_description(path: Path, modified: int, size: int) -> None:
    """Raises ValueError for a file whose description of its columns ends a process that reads it."""
    reason = _describer.ended_by(path)
    if reason is not None:
        raise ValueError(f"the description of its columns is damaged; pyarrow ends there: {reason}")
