"""Answers to requests: in time or not at all, and in one form where something is refused."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

from scbch_keras.checks import shown
from scbch_keras.export.service.bodies import RefusedError
from scbch_keras.export.service.limits import InputError, OverloadedError

REFUSALS = (InputError, OverloadedError, RefusedError, TimeoutError, StarletteHTTPException)
"""What `refused` answers."""


async def limited(request: Request, work: Coroutine[Any, Any, Response], seconds: float) -> Response:
    """The answer, unless the time is up (TimeoutError) or the client goes (ClientDisconnect)."""
    worker = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((worker, gone), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if worker.done():
            return worker.result()
        if gone.done():
            raise ClientDisconnect
        raise TimeoutError(f"the answer took more than {seconds:g} seconds (request_seconds)")
    finally:
        worker.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def check_json(request: Request) -> None:
    """Refuse a body that does not say that it is JSON: a form of another site cannot say so."""
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, f"Content-Type: expected application/json, got {shown(kind)}")


async def refused(request: Request, error: Exception) -> Response:
    """The answer to what is refused: `detail`, or as the Open Inference Protocol has it, `error`."""
    is_open = request.url.path.startswith("/v2")
    status, message, headers = 422, str(error), dict[str, str]()
    if isinstance(error, StarletteHTTPException):
        status, message, headers = error.status_code, error.detail, dict(error.headers or {})
    elif isinstance(error, RefusedError):
        # What the client still sends is no request.
        status, headers = error.status, {"Connection": "close"}
    elif isinstance(error, OverloadedError):
        status, headers = 503, {"Retry-After": "1"}
    elif isinstance(error, TimeoutError):
        status, headers = 504, {"Retry-After": "1"}
    elif is_open:
        status = 400
    # Messages may hold what is no valid Unicode.
    message = message.encode(errors="backslashreplace").decode()
    return JSONResponse({"error" if is_open else "detail": message}, status, headers)


async def gone(request: Request, error: Exception) -> Response:
    """The answer to a client that has gone, which nobody reads."""
    return Response(status_code=400)
