"""The work of the service off its event loop: an encoder, batches for each kind of input, an index."""

import asyncio
import json
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from scbch_keras.export.format.encoder_inputs import encoder_inputs
from scbch_keras.export.format.source import Source
from scbch_keras.export.service.batching import Batcher
from scbch_keras.export.service.bodies import SMALL
from scbch_keras.export.service.inputs import COSTS, MODALITIES, CountedText, Shape
from scbch_keras.export.service.limits import Limits, OverloadedError
from scbch_keras.export.service.metrics import Metrics
from scbch_keras.export.service.reading import Reader, ReadingProcess
from scbch_keras.export.serving.codes_file import open_index, shown_path
from scbch_keras.export.serving.encoder import HashEncoder
from scbch_keras.export.serving.index import HammingIndex
from scbch_keras.export.stores.index import StoredIndex

_LOG = logging.getLogger("uvicorn.error")
_INLINE = 2**10
"""Bytes of a body that is read faster than a thread is started on it."""
_PIECE = 16
"""Rows that one thread works at before others get their turn."""

Result = TypeVar("Result")


class Work:
    """What serves the requests while the application runs.

    Args:
        release: the folder of a release's version, followed once.
        codes: what `open_index` takes, to search in; None for none.

    Raises ValueError for codes of another model than the release's.
    """

    def __init__(self, release: Path, codes: str | Path | None, limits: Limits, metrics: Metrics):
        self.limits = limits
        self.encoder = HashEncoder(release, max_pixels=limits.max_pixels)
        self.source = Source.of(self.encoder)
        self.index: HammingIndex | StoredIndex | None = None
        self.indexed: int | None = None
        self.names: list[str] | None = None
        if codes is not None:
            self.index, self.names = open_index(codes)
            if self.index.source is not None:
                self.source.check_same_model(str(release), self.index.source, shown_path(codes))
            if self.index.bits != self.encoder.bits:
                raise ValueError(
                    f"{shown_path(codes)} has codes of {self.index.bits} bits, the release of {self.encoder.bits}"
                )
            # Once: a store may count for long.
            self.indexed = len(self.index)
        shapes: dict[str, Shape] = {}
        for modality in ("image", "text"):
            inputs = encoder_inputs(self.encoder.manifest, modality)
            if list(inputs) != [modality]:
                raise ValueError(
                    f"{release}: its {modality} encoder has the inputs {', '.join(inputs)}, for which the service "
                    "has no request; serve it by TensorFlow Serving, Triton or KServe, or call HashEncoder"
                )
            shapes[modality] = inputs[modality]["shape"][1:]
        for modality, shape in shapes.items():
            sizes = [size for size in shape if size is not None]
            if len(sizes) == len(
                shape
            ):  # the first run allocates, which is not for the first client to wait for
                getattr(self.encoder, modality)(np.zeros((1, *sizes), np.float32))
        if self.encoder.takes_strings:
            self.encoder.known_words([""])  # a package that is missing is missed now, not by a client
        self.reader = Reader(
            str(self.source),
            shapes,
            self.encoder.pipeline,
            self.encoder.picture_size is not None,
            limits,
        )
        # Large bodies are read one at a time, apart from the others.
        self._reading = ReadingProcess(self.reader)
        self._large = ThreadPoolExecutor(1, "large")
        self._small = ThreadPoolExecutor(os.cpu_count() or 1, "small")
        self._encoding = ThreadPoolExecutor(2 * len(COSTS), "encode")
        self._batchers = {
            (kind, packed): Batcher(
                kind,
                self._encode_function(kind, modality, packed),
                COSTS[kind],
                limits,
                metrics,
                self._encoding,
            )
            for kind, modality in MODALITIES.items()
            for packed in (True, False)
        }
        self._workers: list[asyncio.Task[None]] = []

    def _encode_function(self, kind: str, modality: str, packed: bool) -> Callable[[Any], NDArray[Any]]:
        encode = getattr(self.encoder, modality)
        pipeline: Any = self.encoder.pipeline

        def features(texts: list[CountedText]) -> NDArray[Any]:
            assert pipeline is not None  # noqa: S101
            return pipeline.weighted([text.counts for text in texts], len(texts))

        prepared = features if kind == "texts" else lambda rows: rows
        return lambda rows: encode(prepared(rows), batch_size=self.limits.max_batch, packed=packed)

    def start(self) -> None:
        """Let the batchers work."""
        self._reading.start()
        self._workers = [asyncio.create_task(batcher.run()) for batcher in self._batchers.values()]

    def stop(self) -> None:
        """End the batchers and threads; what runs in a thread is waited for."""
        for worker in self._workers:
            worker.cancel()
        for pool in (self._large, self._small, self._encoding):
            pool.shutdown(cancel_futures=True)
        self._reading.close()

    def ready(self) -> bool:
        """Whether every batcher is at work."""
        return bool(self._workers) and not any(worker.done() for worker in self._workers)

    def check_kind(self, kind: str) -> None:
        """As `Reader.check_kind`."""
        self.reader.check_kind(kind)

    async def read(self, method: str, body: Sequence[bytes], *arguments: Any) -> Any:
        """The reader's `method(body, *arguments)`, elsewhere where that may take longer than a moment."""
        size = sum(map(len, body))
        if size > SMALL:
            return await self._in_thread(self._large, self._reading.read, method, body, *arguments)
        content, read = b"".join(body), getattr(self.reader, method)
        if size <= _INLINE and b"pictures" not in content:
            return read(content, *arguments)
        return await self._in_thread(self._small, read, content, *arguments)

    async def encode(self, kind: str, rows: Any, packed: bool = True) -> NDArray[Any]:
        """Rows -> packed codes, or codes. Raises InputError and OverloadedError."""
        return await self._batchers[kind, packed](rows)

    async def results(
        self, index: HammingIndex | StoredIndex, codes: NDArray[Any], k: int, known: list[int] | None
    ) -> list[str]:
        """Packed codes -> for each the JSON of its results, nearest first; none for a text without a known word.

        The code of such a text says nothing: what lies near it is no answer.
        """
        parts: list[str] = []
        for start in range(0, len(codes), _PIECE):
            counts = None if known is None else known[start : start + _PIECE]
            chosen = codes[start : start + _PIECE]
            parts += await self._in_thread(self._small, self._search, index, chosen, k, counts)
        return parts

    def _search(
        self, index: HammingIndex | StoredIndex, codes: NDArray[Any], k: int, known: list[int] | None
    ) -> list[str]:
        try:
            ids, distances = (array.tolist() for array in index.search(codes, k))
        except (ConnectionError, ValueError) as error:
            # Codes and k have been checked: it is a store that is gone, or whose table is another by now. Its
            # address is for the log alone.
            _LOG.error("search failed: %s", error)
            raise OverloadedError("the store of the codes does not answer") from error
        names = self.names
        rows = [
            json.dumps(
                [
                    {"id": names[id] if names else id, "distance": distance}
                    for id, distance in zip(*row, strict=True)
                ],
                ensure_ascii=False,
            )
            for row in zip(ids, distances, strict=True)
        ]
        return rows if known is None else [row if n else "[]" for row, n in zip(rows, known, strict=True)]

    def row_names(self) -> list[str]:
        """The name of each code in the order of the index: its id, or its row where it has none. A store lists none."""
        if self.names is not None:
            return self.names
        if isinstance(self.index, HammingIndex):
            return [str(id) for id in self.index.ids.tolist()]
        return []

    async def in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """`function(*arguments)`, off the event loop."""
        return await self._in_thread(self._small, function, *arguments)

    async def _in_thread(
        self, pool: ThreadPoolExecutor, function: Callable[..., Result], *arguments: Any
    ) -> Result:
        return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)
