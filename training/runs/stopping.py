"""SIGTERM and Ctrl-C: a training ends at once with a checkpoint, and the exit status names the signal."""

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

SECONDS = 4.5
"""How long a process has, from the signal on, to end by itself."""
_NUMBERS = (signal.SIGINT, signal.SIGTERM)


class RunStopped(Exception):  # noqa: N818 - not an error
    """The run was stopped, and can be resumed."""

    def __init__(self, message: str, number: int | None = None):
        super().__init__(message)
        self.status = 128 + (number or signal.SIGINT)
        """Exit status of the process."""


class Stopping(BaseException):
    """Unwinds a training that is to stop; not an Exception, so that no handler mistakes it for a fault of the data."""


class Stop(threading.Event):
    """Set when a training is to stop."""

    number: int | None = None
    """The signal that was received."""
    _held = False

    def check(self) -> None:
        """Raise `Stopping` if the training is to stop."""
        if self.is_set():
            raise Stopping

    @contextmanager
    def held(self) -> Iterator[None]:
        """Do not interrupt the block: a signal is remembered, and raises `Stopping` at the next check."""
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before

    def _ask(self, number: int) -> None:
        self.number = number
        self.set()
        if not self._held:
            raise Stopping


@contextmanager
def stopped_by_signals() -> Iterator[Stop]:
    """The first Ctrl-C or SIGTERM sets the event and raises `Stopping`; a second one acts as always."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = _handlers()

    def ask(number: int, frame: Any) -> None:
        _handle(before)
        stop._ask(number)

    with signals_to(ask):
        yield stop


@contextmanager
def signals_to(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Within the block Ctrl-C and SIGTERM go to the handler."""
    before = _handlers()
    _handle(dict.fromkeys(_NUMBERS, handler))
    try:
        yield
    finally:
        _handle(before)


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in _NUMBERS}


def _handle(handlers: Mapping[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def exit_by_signal() -> None:
    """Make SIGTERM and Ctrl-C end this process with 143 and 130, files half written removed on the way."""

    def leave(number: int, frame: Any) -> None:
        sys.exit(128 + number)

    _handle(dict.fromkeys(_NUMBERS, leave))


@contextmanager
def ended_at_once() -> Iterator[None]:
    """Where the block ends by a signal, end the process without taking its libraries down, which takes seconds."""
    try:
        yield
    except SystemExit as ended:
        if isinstance(ended.code, int) and ended.code - 128 in _NUMBERS:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(ended.code)
        raise


@contextmanager
def ended_in_time(exit_now: Callable[[int], Any] = os._exit) -> Iterator[None]:
    """End the process `SECONDS` after a signal if the block has not ended by then.

    Python runs its handlers between two of its instructions, and one may last: a compilation, a large matrix. (One
    that keeps Python's global lock for longer, as few do, delays the end.) All files that matter are replaced as a
    whole, so that the end may come at any moment.
    """
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    ended, ending = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def watch() -> None:
        number = 0
        while number not in _NUMBERS:
            ready, _, _ = select.select([reading, ended], [], [])
            if ended in ready:
                return
            number = os.read(reading, 1)[0]
        if not select.select([ended], [], [], SECONDS)[0]:
            exit_now(128 + number)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.write(ending, b"x")
        watcher.join()
        for handle in (reading, writing, ended, ending):
            os.close(handle)
