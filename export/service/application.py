"""The application: requests of JSON to codes and results, the Open Inference Protocol, health and metrics."""

import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect

from scbch_keras.export.service import open_inference, search_page, static_files
from scbch_keras.export.service.answers import REFUSALS, check_json, gone, limited, refused
from scbch_keras.export.service.bodies import Bodies
from scbch_keras.export.service.catalogue import Catalogue
from scbch_keras.export.service.inputs import READERS, Inputs, words
from scbch_keras.export.service.limits import Limits
from scbch_keras.export.service.metrics import Metrics
from scbch_keras.export.service.work import Work

_KINDS = {
    "texts": "strings",
    "pictures": "picture files in base64",
    "text_features": "lists of numbers",
    "image_features": "lists of numbers, nested as the model takes them",
}
LOCAL_HOSTS = ("127.0.0.1", "localhost")


def application(
    release: Path,
    codes: str | Path | None = None,
    limits: Limits | None = None,
    catalogue: Callable[[Sequence[str]], Catalogue] | None = None,
    candidates: Sequence[str] = (),
) -> FastAPI:
    """The application, to be run by an ASGI server; `server.run` guards its connections too.

    Args:
        release: the folder of a release's version, followed once.
        codes: codes of `encode_file`, an index, or the URL of a store with its table, to search in.
        limits: None for the defaults.
        catalogue: names of the codes (n) -> what is known of them. With it there is a search page at /, and requests
            are answered only if they were sent to this computer by one of its own names.
        candidates: for that page, ids that a store may have, of which it lists none itself.

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

    # FastAPI's own pages load scripts from elsewhere.
    app = FastAPI(title="scbch_keras", lifespan=lifespan, docs_url=None, redoc_url=None)

    async def answered(request: Request, is_search: bool) -> Response:
        check_json(request)
        if is_search and work.index is None:
            raise HTTPException(404, "this service was started without codes to search")
        async with bodies.read(request) as body:
            work_at_it = (_search if is_search else _encode)(work, body)
            return await limited(request, work_at_it, limits.request_seconds)

    @app.post("/encode", openapi_extra=_body_schema(limits, is_search=False))
    async def encode(request: Request) -> Response:
        """Codes of texts, pictures or features."""
        return await answered(request, is_search=False)

    @app.post("/search", openapi_extra=_body_schema(limits, is_search=True))
    async def search(request: Request) -> Response:
        """The nearest codes of what the service was started with."""
        return await answered(request, is_search=True)

    @app.get("/healthz")
    async def healthz() -> str:
        """Whether the process lives."""
        return "alive"

    @app.get("/readyz")
    async def readyz() -> dict[str, Any]:
        """Whether it answers; release, bits and number of codes."""
        if not work.ready():
            raise HTTPException(503, "not ready")
        return {"release": str(work.source), "bits": work.encoder.bits, "indexed": work.indexed}

    @app.get("/metrics")
    async def tell() -> Response:
        """Answers, seconds, batches and bytes in Prometheus' format."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def infer(request: Request, name: str) -> Response:
        open_inference.model(work, name)
        async with bodies.read(request) as body:
            header = request.headers.get("inference-header-content-length")
            return await limited(
                request, open_inference.infer(work, name, body, header), limits.request_seconds
            )

    app.include_router(open_inference.router(work, infer))
    app.include_router(static_files.router())
    if catalogue is not None:
        app.include_router(search_page.router(work, catalogue, bodies, candidates))
        # A page of another site must not read pictures from here under a name of its own for this computer.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOCAL_HOSTS)
    for error in REFUSALS:
        app.add_exception_handler(error, refused)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_middleware(Counted, metrics=metrics)
    return app


async def _encode(work: Work, body: Sequence[bytes]) -> Response:
    inputs: Inputs = await work.read("inputs", body, False)
    codes = await work.encode(inputs.kind, inputs.rows)
    answer = {"bits": work.encoder.bits, "codes": [row.tobytes().hex() for row in codes]}
    return JSONResponse(answer | words(inputs))


async def _search(work: Work, body: Sequence[bytes]) -> Response:
    assert work.index is not None  # noqa: S101
    inputs: Inputs = await work.read("inputs", body, True)
    codes = await work.encode(inputs.kind, inputs.rows)
    found = words(inputs)
    results = await work.results(work.index, codes, inputs.k, found.get("known_words"))
    more = "".join(f',"{key}":{json.dumps(value)}' for key, value in found.items())
    return Response(f'{{"results":[{",".join(results)}]{more}}}', media_type="application/json")


def _body_schema(limits: Limits, is_search: bool) -> dict[str, Any]:
    """The body in OpenAPI."""
    rows = {"type": "array", "minItems": 1, "maxItems": limits.max_rows}
    fields: dict[str, Any] = {
        kind: rows
        | {"items": {"type": "array" if kind.endswith("features") else "string"}}
        | {"description": f"1 to {limits.max_rows} {_KINDS[kind]}"}
        for kind in READERS
    }
    if is_search:
        fields["k"] = {
            **{"type": "integer", "minimum": 1, "maximum": limits.max_results, "default": 10},
            "description": f"results of each query, 1 to {limits.max_results}; 10",
        }
    schema = {
        "type": "object",
        "properties": fields,
        "additionalProperties": False,
        "oneOf": [{"required": [kind]} for kind in READERS],
    }
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


class Counted:
    """Counts and times the answers, by the path of the route that was taken; HEAD is answered as GET."""

    def __init__(self, app: Any, metrics: Metrics):
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # the server leaves out the body of the answer
            scope = {**scope, "method": "GET"}
        start, status = time.perf_counter(), 500

        async def noted(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - start)
