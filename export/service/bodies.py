"""Bodies of requests, streamed: no more bytes, and for no longer, than the limits say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.requests import ClientDisconnect, Request

from scbch_keras.checks import shown
from scbch_keras.export.service.limits import Limits, OverloadedError
from scbch_keras.export.service.metrics import Metrics

SMALL = 2**16
"""A body of so many bytes is taken whatever the others hold: many connections' are no burden."""
_DRAIN_BYTES = 2**26
_DRAIN_SECONDS = 1.0


class RefusedError(Exception):
    """A body that is not read to its end. `status`: of the answer, after which the connection is closed."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class Bodies:
    """Reads bodies, and counts the bytes that are held."""

    def __init__(self, limits: Limits, metrics: Metrics):
        self._limits, self._held, self._gauge = limits, 0, metrics.buffered

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[list[bytes]]:
        """The body of a request in parts, not joined as that takes time; it counts as held until the context is left.

        Raises:
            RefusedError: too many bytes (413), too slow (408), compressed (415), a Content-Length that is none (400).
            OverloadedError: the bodies of all requests have more bytes than may be held.
        """
        limits = self._limits
        encoding = request.headers.get("content-encoding", "identity")
        if encoding.strip().lower() not in ("", "identity"):
            await _drain(request)
            raise RefusedError(
                415, f"Content-Encoding: expected none, got {shown(encoding)}; send it as it is"
            )
        length = _length(request)
        if length > limits.max_body:
            # Who asked before sending is answered before it is sent.
            if request.headers.get("expect", "").lower() != "100-continue":
                await _drain(request)
            raise self._too_long()
        parts: list[bytes] = []
        size = reserved = 0
        try:
            try:
                async with asyncio.timeout(limits.body_seconds):
                    is_whole = False
                    while not is_whole:
                        part, is_whole = await _next_part(request)
                        size += len(part)
                        if size > limits.max_body:
                            break
                        if size > SMALL:
                            self._hold(size - reserved)
                            reserved = size
                        parts.append(part)
            except TimeoutError as error:
                raise RefusedError(
                    408, f"body: expected its end within {limits.body_seconds:g} seconds, got {size} bytes"
                ) from error
            if size > limits.max_body:
                parts.clear()
                if not is_whole:
                    await _drain(request)
                raise self._too_long()
            yield parts
        finally:
            self._hold(-reserved, force=True)

    def _hold(self, size: int, force: bool = False) -> None:
        if not force and self._held + size > self._limits.max_buffered:
            raise OverloadedError("the bodies of all requests together are too large now")
        self._held += size
        self._gauge.set(self._held)

    def _too_long(self) -> RefusedError:
        return RefusedError(413, f"body: a request may have {self._limits.max_body} bytes (max_body)")


def _length(request: Request) -> int:
    text = request.headers.get("content-length", "0")
    try:
        return int(text)
    except ValueError as error:
        raise RefusedError(400, f"Content-Length: expected a whole number, got {text[:40]!r}") from error


async def _next_part(request: Request) -> tuple[bytes, bool]:
    """Bytes of the body, and whether they are the last."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), not message.get("more_body", False)


async def _drain(request: Request) -> None:
    """Read on for a while: a client that is still sending would not see the answer."""
    size, is_whole = 0, False
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            while size < _DRAIN_BYTES and not is_whole:
                part, is_whole = await _next_part(request)
                size += len(part)
