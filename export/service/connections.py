"""Connections of the server: how many, how long one may take to send its headers, or leave its answer unread.

uvicorn limits how many requests run and how long a connection is idle; it waits for the rest of a request's headers,
and for a client that does not read, without a limit.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from scbch_keras.export.service.limits import Limits

_FULL = b"too many connections"
_HEAD = (
    b"HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nRetry-After: 1\r\n"
    b"Connection: close\r\n\r\n%s"
)


def guarded(limits: Limits) -> type[H11Protocol]:
    """Uvicorn's protocol for HTTP/1.1 with the limits of connections, for `uvicorn.Config(http=...)`."""
    # Connections between requests, those that have been so for longest first.
    resting: dict[GuardedProtocol, None] = {}
    return type("Guarded", (GuardedProtocol,), {"limits": limits, "resting": resting})


class GuardedProtocol(H11Protocol):
    """A connection that is closed when its client exceeds a time limit."""

    limits: Limits
    resting: "dict[GuardedProtocol, None]"

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it, in the place of the longest resting one if there are too many."""
        is_full = len(self.connections) >= self.limits.max_connections
        super().connection_made(transport)
        if is_full:
            oldest = next(iter(self.resting), None)
            if oldest is None:
                transport.write(_HEAD % (b"503 Service Unavailable", len(_FULL), _FULL))
                transport.close()
                return
            oldest.abort()
        self.resting[self] = None
        self._start("headers", self.limits.header_seconds, self._headers_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """End its timers."""
        self.resting.pop(self, None)
        for name in tuple(self._timers):
            self._stop(name)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """The time for the headers begins with their first byte, and ends with their last."""
        if not self.transport.is_closing():
            super().data_received(data)
            self._note_state()

    def on_response_complete(self) -> None:
        """It rests, or goes on with what it has sent already."""
        super().on_response_complete()
        self._note_state()

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        super().pause_writing()
        self._start("write", self.limits.write_seconds, self.abort)

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self._stop("write")

    def abort(self) -> None:
        """Close it at once."""
        self.resting.pop(self, None)
        self.transport.abort()

    def _note_state(self) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self.resting.pop(self, None)
            self._stop("headers")
            return
        self.resting.setdefault(self)
        # uvicorn ends a connection that is idle; in this one a request has begun, or one that was answered goes on.
        if self.conn.trailing_data[0] or self.conn.their_state is h11.SEND_BODY:
            self._start("headers", self.limits.header_seconds, self._headers_late)
        else:
            self._stop("headers")

    def _headers_late(self) -> None:
        if self.conn.our_state is h11.IDLE:
            message = b"headers: expected their end within %g seconds" % self.limits.header_seconds
            self.transport.write(_HEAD % (b"408 Request Timeout", len(message), message))
        self.transport.close()

    def _start(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        """A timer of that name, unless it runs."""
        if name not in self._timers:
            self._timers[name] = self.loop.call_later(seconds, call)

    def _stop(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
