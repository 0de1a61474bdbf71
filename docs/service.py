"""An example service: texts, pictures and features to packed codes, and search in codes, over HTTP.

    pip install "scbch_keras[onnx,serve]"
    python docs/service.py releases/icons/latest --codes images.npy

It needs neither keras nor tensorflow. Requests that come together enter the network together. One process uses
all cores; for more machines run more of it behind a load balancer. docs/serving.md has the requests.
"""

import argparse
import asyncio
import base64
import binascii
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from pydantic import BaseModel, ConfigDict, Field, model_validator

from scbch_keras.export import HammingIndex, HashEncoder, Source, open_index

ROWS_PER_REQUEST = 256
RESULTS_PER_QUERY = 1000


Rows = Annotated[list[Any] | None, Field(min_length=1, max_length=ROWS_PER_REQUEST)]
Strings = Annotated[list[str] | None, Field(min_length=1, max_length=ROWS_PER_REQUEST)]


class Inputs(BaseModel):
    """The body of a request: one of these lists, with a row for each input."""

    model_config = ConfigDict(extra="forbid", strict=True)

    texts: Strings = None
    pictures: Strings = None
    text_features: Rows = None
    image_features: Rows = None

    @model_validator(mode="after")
    def _one_list(self) -> "Inputs":
        if len(self.given) != 1:
            raise ValueError(f"expected one of {', '.join(KINDS)}, got {', '.join(self.given) or 'none'}")
        return self

    @property
    def given(self) -> list[str]:
        """Names of the lists that are there."""
        return [kind for kind in KINDS if getattr(self, kind) is not None]


class Query(Inputs):
    """The body of a search: inputs, and how many results each shall have."""

    k: Annotated[int, Field(ge=1, le=RESULTS_PER_QUERY)] = 10


def picture_bytes(rows: Sequence[str]) -> list[bytes]:
    """Pictures in base64 -> the bytes of their files."""
    try:
        return [base64.b64decode(row, validate=True) for row in rows]
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"pictures must be files in base64: {error}") from error


def as_features(rows: Sequence[Any]) -> NDArray[np.float32]:
    """Numbers of JSON, which are float64, -> float32 (n, ...)."""
    try:
        features = np.array(rows)
    except ValueError as error:
        raise ValueError("features must be rows of equal length") from error
    if features.dtype.kind not in "iuf":
        raise ValueError("features must be numbers")
    with np.errstate(over="ignore"):  # becomes infinity, which the encoder refuses
        return features.astype(np.float32)


KINDS: dict[str, tuple[str, Callable[[Sequence[Any]], Any]]] = {
    "texts": ("text", list),
    "pictures": ("image", picture_bytes),
    "text_features": ("text", as_features),
    "image_features": ("image", as_features),
}
"""What a request may hold -> the encoder's method, and how it becomes that method's argument."""


@dataclass(frozen=True)
class Settings:
    """How the service runs.

    max_batch: rows after which a batch is closed. max_wait: seconds that its first request waits for others.
    max_waiting: rows that may wait before requests are turned away with 503. max_body: bytes of a request.
    """

    release: Path
    codes: Path | None = None
    max_batch: int = 256
    max_wait: float = 0.002
    max_waiting: int = 4096
    max_body: int = 8 * 2**20


class Metrics:
    """What /metrics tells, for one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        add = {"registry": self.registry}
        self.requests = Counter("scbch_requests", "Answers by path and status.", ("path", "status"), **add)
        self.seconds = Histogram("scbch_request_seconds", "From request to answer.", ("path",), **add)
        self.batches = Histogram(
            "scbch_batch_rows",
            "Rows of a batch.",
            ("kind",),
            buckets=[2**power for power in range(11)],
            **add,
        )
        self.waiting = Gauge("scbch_waiting_rows", "Rows that wait for a batch.", ("kind",), **add)


class OverloadedError(Exception):
    """More rows wait than may."""


class Batcher:
    """Makes batches of one kind of input from the requests that wait, and encodes them in a thread."""

    def __init__(
        self, kind: str, encode: Callable[[Any], NDArray[Any]], settings: Settings, metrics: Metrics
    ):
        self._encode = encode
        self._settings = settings
        self._rows = metrics.batches.labels(kind)
        self._gauge = metrics.waiting.labels(kind)
        self._waiting = 0
        self._queue: asyncio.Queue[tuple[Any, asyncio.Future[NDArray[Any]]]] = asyncio.Queue()

    async def __call__(self, rows: Any) -> NDArray[Any]:
        """Rows of one request -> their packed codes."""
        if self._waiting + len(rows) > self._settings.max_waiting:
            raise OverloadedError
        answer: asyncio.Future[NDArray[Any]] = asyncio.get_running_loop().create_future()
        self._count(len(rows))
        self._queue.put_nowait((rows, answer))
        return await answer

    async def run(self) -> None:
        """Serve the queue until cancelled."""
        while True:
            batch = [await self._queue.get()]
            size = len(batch[0][0])
            deadline = asyncio.get_running_loop().time() + self._settings.max_wait
            while size < self._settings.max_batch:
                try:
                    async with asyncio.timeout_at(deadline):
                        batch.append(await self._queue.get())
                except TimeoutError:
                    break
                size += len(batch[-1][0])
            self._count(-size)
            self._rows.observe(size)
            await self._answer(batch)

    async def _answer(self, batch: list[tuple[Any, asyncio.Future[NDArray[Any]]]]) -> None:
        parts = [rows for rows, _ in batch]
        try:
            arrays = isinstance(parts[0], np.ndarray)
            joined = np.concatenate(parts) if arrays else [row for rows in parts for row in rows]
            codes = await asyncio.to_thread(self._encode, joined)
        except Exception as error:
            if len(batch) == 1:
                if not batch[0][1].done():
                    batch[0][1].set_exception(error)
                return
            # One bad request must not fail those that came with it.
            for request in batch:
                await self._answer([request])
            return
        ends = np.cumsum([len(rows) for rows in parts])
        for (_, answer), part in zip(batch, np.split(codes, ends[:-1]), strict=True):
            if not answer.done():  # its client may have gone
                answer.set_result(part)

    def _count(self, rows: int) -> None:
        self._waiting += rows
        self._gauge.set(self._waiting)


class Edge:
    """Bounds the bodies of requests, and counts and times the answers."""

    def __init__(self, app: Any, max_body: int, metrics: Metrics, paths: Sequence[str]):
        self._app, self._max_body, self._metrics, self._paths = app, max_body, metrics, paths

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, received, status = time.perf_counter(), 0, 500

        async def bounded() -> Any:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body:
                raise HTTPException(413, f"a request may have {self._max_body} bytes")
            return message

        async def noted(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        path = scope["path"] if scope["path"] in self._paths else "other"
        try:
            await self._app(scope, bounded, noted)
        finally:
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - start)


class Service:
    """The encoder, the index and the batchers, while the application runs."""

    def __init__(self, settings: Settings, metrics: Metrics):
        self.encoder = HashEncoder(settings.release)
        self.source = Source.of(self.encoder)
        self.index: HammingIndex | None = None
        self.names: list[str] | None = None
        if settings.codes is not None:
            self.index, self.names = open_index(settings.codes)
            if self.index.source is not None:
                self.source.check_same_model(str(settings.release), self.index.source, str(settings.codes))
            if self.index.bits != self.encoder.bits:
                raise ValueError(
                    f"{settings.codes} has codes of {self.index.bits} bits, the release of {self.encoder.bits}"
                )
        for modality in ("image", "text"):
            shape = self.encoder.manifest["signatures"][f"encode_{modality}"]["inputs"][modality]["shape"][1:]
            if None not in shape:  # the first run allocates, which is not for the first client to wait for
                getattr(self.encoder, modality)(np.zeros((1, *shape), np.float32))
        self.batchers = {
            kind: Batcher(kind, getattr(self.encoder, modality), settings, metrics)
            for kind, (modality, _) in KINDS.items()
        }
        self.workers: list[asyncio.Task[None]] = []

    def ready(self) -> bool:
        """Whether every batcher is at work."""
        return bool(self.workers) and not any(worker.done() for worker in self.workers)

    async def encode(self, inputs: Inputs) -> NDArray[Any]:
        """Inputs -> packed codes; HTTP errors for what the encoder refuses, and for too much."""
        [kind] = inputs.given
        try:
            return await self.batchers[kind](KINDS[kind][1](getattr(inputs, kind)))
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        except OverloadedError as error:
            raise HTTPException(503, "too many requests wait", {"Retry-After": "1"}) from error

    async def words(self, inputs: Inputs) -> dict[str, Any]:
        """Of texts: how many words of each the model knows, and which it does not; else nothing."""
        texts = inputs.texts
        if texts is None:
            return {}
        known = await asyncio.to_thread(self.encoder.known_words, texts)
        unknown = await asyncio.to_thread(self.encoder.unknown_words, texts)
        return {"known_words": known.tolist(), "unknown_words": unknown}


def application(settings: Settings) -> FastAPI:
    """The application, to be run by an ASGI server."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.service = service = await asyncio.to_thread(Service, settings, metrics)
        service.workers = [asyncio.create_task(batcher.run()) for batcher in service.batchers.values()]
        yield
        # The server has answered the requests that it took.
        for worker in service.workers:
            worker.cancel()

    app = FastAPI(title="scbch_keras", lifespan=lifespan)

    @app.exception_handler(RequestValidationError)
    async def refused(request: Request, error: RequestValidationError) -> JSONResponse:
        # Without the inputs, which may be long, or no valid Unicode.
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        return JSONResponse({"detail": "; ".join(faults)}, 422)

    @app.post("/encode")
    async def encode(inputs: Inputs) -> dict[str, Any]:
        codes = await app.state.service.encode(inputs)
        answer = {"bits": app.state.service.encoder.bits, "codes": [row.tobytes().hex() for row in codes]}
        return answer | await app.state.service.words(inputs)

    @app.post("/search")
    async def search(query: Query) -> dict[str, Any]:
        service: Service = app.state.service
        if service.index is None:
            raise HTTPException(404, "this service was started without codes to search")
        codes = await service.encode(query)
        ids, distances = await asyncio.to_thread(service.index.search, codes, query.k)
        names = service.names
        results = [
            [{"id": names[id] if names else id, "distance": far} for id, far in zip(*row, strict=True)]
            for row in zip(ids.tolist(), distances.tolist(), strict=True)
        ]
        words = await service.words(query)
        if words:
            # The code of a text without a known word says nothing: what lies near it is no answer.
            results = [row if known else [] for row, known in zip(results, words["known_words"], strict=True)]
        return {"results": results} | words

    @app.get("/healthz")
    async def healthz() -> str:
        return "alive"

    @app.get("/readyz")
    async def readyz() -> dict[str, Any]:
        service: Service = app.state.service
        if not service.ready():
            raise HTTPException(503, "not ready")
        size = None if service.index is None else len(service.index)
        return {"release": str(service.source), "bits": service.encoder.bits, "indexed": size}

    @app.get("/metrics")
    async def tell() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    paths = [route.path for route in app.routes if hasattr(route, "path")]
    app.add_middleware(Edge, max_body=settings.max_body, metrics=metrics, paths=paths)
    return app


def main() -> None:
    """Run the service until SIGTERM or Ctrl-C; requests that were taken are answered first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("release", type=Path, help="folder of a release's version, followed once")
    parser.add_argument("--codes", type=Path, help="codes of `scbch encode`, or an index, to search in")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--max-wait-ms", type=float, default=2.0)
    for name in ("max_batch", "max_waiting", "max_body"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(Settings, name))
    arguments = vars(parser.parse_args())
    host, port = arguments.pop("host"), arguments.pop("port")
    settings = Settings(max_wait=arguments.pop("max_wait_ms") / 1000, **arguments)
    uvicorn.run(
        application(settings),
        host=host,
        port=port,
        access_log=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=30,
    )


if __name__ == "__main__":
    main()
