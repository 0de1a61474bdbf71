"""A step of a release in a Python process of its own."""

import os
import subprocess
import sys
from collections.abc import Sequence

_LAST_LINES = 15


def run_module(module: str, arguments: Sequence[str], purpose: str) -> None:
    """Run `python -m module arguments` with Keras on TensorFlow and this process's import path, on the CPU.

    Raises:
        RuntimeError: it failed; the message ends with its last lines.
    """
    environment = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # A GPU is likely full of this process's model, and rounds float32 products more coarsely than a CPU.
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path),
        "PYTHONIOENCODING": "utf-8",
    }
    finished = subprocess.run(  # noqa: S603
        # -P keeps the current folder off the import path, where anything could pass for a module.
        [sys.executable, "-P", "-m", module, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    if finished.returncode:
        lines = finished.stdout.strip().splitlines()[-_LAST_LINES:]
        raise RuntimeError(
            f"{purpose} failed in a child process (exit status {finished.returncode}). Its last lines:\n"
            + "\n".join(lines)
        )
