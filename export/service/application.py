"""The application: requests of JSON to codes and results, the Open Inference Protocol, health and metrics."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

from scbch_keras.checks import shown
from scbch_keras.export.service import open_inference
from scbch_keras.export.service.bodies import Bodies, RefusedError
from scbch_keras.export.service.inputs import READERS, read_inputs
from scbch_keras.export.service.limits import InputError, Limits, OverloadedError
from scbch_keras.export.service.metrics import Metrics
from scbch_keras.export.service.work import Work


def application(release: Path, codes: str | Path | None = None, limits: Limits | None = None) -> FastAPI:
    """The application, to be run by an ASGI server; `server.run` guards its connections too.

    Args:
        release: the folder of a release's version, followed once.
        codes: codes of `encode_file`, an index, or the URL of a store with its table, to search in.
        limits: None for the defaults.

    Raises ValueError or FileNotFoundError as `HashEncoder` and `open_index` do, and for codes of another model.
    """
    limits = limits or Limits()
    metrics = Metrics()
    bodies = Bodies(limits, metrics)
    work = Work(release, codes, limits, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        work.start()
        yield
        # The server has answered the requests that it took.
        work.stop()

    app = FastAPI(title="scbch_keras", lifespan=lifespan)

    async def answered(request: Request, is_search: bool) -> Response:
        _check_json(request)
        if is_search and work.index is None:
            raise HTTPException(404, "this service was started without codes to search")
        async with bodies.read(request) as body:
            work_at_it = (_search if is_search else _encode)(work, body)
            return await _limited(request, work_at_it, limits.request_seconds)

    @app.post("/encode", openapi_extra=_body_schema(limits, is_search=False))
    async def encode(request: Request) -> Response:
        return await answered(request, is_search=False)

    @app.post("/search", openapi_extra=_body_schema(limits, is_search=True))
    async def search(request: Request) -> Response:
        return await answered(request, is_search=True)

    @app.get("/healthz")
    async def healthz() -> str:
        return "alive"

    @app.get("/readyz")
    async def readyz() -> dict[str, Any]:
        if not work.ready():
            raise HTTPException(503, "not ready")
        return {"release": str(work.source), "bits": work.encoder.bits, "indexed": work.indexed}

    @app.get("/metrics")
    async def tell() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def infer(request: Request, name: str) -> Response:
        open_inference.model(work, name)
        async with bodies.read(request) as body:
            header = request.headers.get("inference-header-content-length")
            return await _limited(
                request, open_inference.infer(work, name, body, header), limits.request_seconds
            )

    app.include_router(open_inference.router(work, infer))
    for error in (InputError, OverloadedError, RefusedError, TimeoutError, StarletteHTTPException):
        app.add_exception_handler(error, _refused)
    app.add_exception_handler(ClientDisconnect, _gone)
    paths = [route.path for route in app.routes if hasattr(route, "path")]
    app.add_middleware(Counted, metrics=metrics, paths=paths)
    return app


async def _encode(work: Work, body: bytes) -> Response:
    inputs = await work.read(read_inputs, body, work.shapes, work.limits, False)
    codes = await work.encode(inputs.kind, inputs.rows)
    answer = {"bits": work.encoder.bits, "codes": [row.tobytes().hex() for row in codes]}
    return JSONResponse(answer | await work.words(inputs))


async def _search(work: Work, body: bytes) -> Response:
    assert work.index is not None  # noqa: S101
    inputs = await work.read(read_inputs, body, work.shapes, work.limits, True)
    codes = await work.encode(inputs.kind, inputs.rows)
    words = await work.words(inputs)
    results = await work.results(work.index, codes, inputs.k, words.get("known_words"))
    more = "".join(f',"{key}":{json.dumps(value)}' for key, value in words.items())
    return Response(f'{{"results":[{",".join(results)}]{more}}}', media_type="application/json")


async def _limited(request: Request, work: Coroutine[Any, Any, Response], seconds: float) -> Response:
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


def _check_json(request: Request) -> None:
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, f"Content-Type: expected application/json, got {shown(kind)}")


async def _refused(request: Request, error: Exception) -> Response:
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


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


def _body_schema(limits: Limits, is_search: bool) -> dict[str, Any]:
    """The body in OpenAPI."""
    rows = {"type": "array", "minItems": 1, "maxItems": limits.max_rows}
    fields: dict[str, Any] = {
        kind: rows | {"items": {"type": "array" if kind.endswith("features") else "string"}}
        for kind in READERS
    }
    if is_search:
        fields["k"] = {"type": "integer", "minimum": 1, "maximum": limits.max_results, "default": 10}
    schema = {
        "type": "object",
        "properties": fields,
        "additionalProperties": False,
        "oneOf": [{"required": [kind]} for kind in READERS],
    }
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


class Counted:
    """Counts and times the answers."""

    def __init__(self, app: Any, metrics: Metrics, paths: Sequence[str]):
        self._app, self._metrics, self._paths = app, metrics, paths

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def noted(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", scope["path"])
            path = path if path in self._paths else "other"
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - start)
