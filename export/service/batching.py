"""Fair batches: requests of one kind enter the network together, and a large one lets small ones in between."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.export.service.limits import InputError, Limits, OverloadedError
from scbch_keras.export.service.metrics import Metrics

_PIECES = 8
"""Of so many pieces a batch is at least: a request that is larger than one is cut."""


def pieces(costs: Sequence[int], limit: int) -> list[slice]:
    """Rows of these costs -> slices of them in order, each of `limit` at most, or of one row."""
    cuts, start, total = [], 0, 0
    for row, cost in enumerate(costs):
        if row > start and total + cost > limit:
            cuts.append(slice(start, row))
            start, total = row, 0
        total += cost
    return [*cuts, slice(start, len(costs))]


class _Job:
    """The rows of one request that wait, and the codes of those that are done."""

    def __init__(self, rows: Any, costs: Sequence[int], limit: int):
        self.rows, self.costs = rows, costs
        self.waiting = deque(pieces(costs, limit))
        self.rows_waiting, self.cost_waiting = len(rows), sum(costs)
        self.parts: list[NDArray[Any]] = []
        self.done: asyncio.Future[NDArray[Any]] = asyncio.get_running_loop().create_future()

    @property
    def next_cost(self) -> int:
        return sum(self.costs[self.waiting[0]])

    def take(self) -> "_Piece":
        piece = _Piece(self, self.waiting.popleft())
        self.rows_waiting -= len(piece.rows)
        self.cost_waiting -= piece.cost
        return piece

    def drop(self) -> None:
        """Remove the rows that still wait: their request has ended."""
        self.waiting.clear()
        self.rows_waiting = self.cost_waiting = 0


class _Piece:
    """Rows of a job that enter the network together."""

    def __init__(self, job: _Job, place: slice):
        self.job, self.first = job, place.start
        self.rows = job.rows[place]
        self.cost = sum(job.costs[place])


class Batcher:
    """Makes batches of one kind of input from the requests that wait, and encodes them in a thread.

    Args:
        kind: as the metrics name it, and the messages about a row: "texts".
        encode: rows -> codes, a row each; called in a thread of `executor`, once at a time.
        cost: of a row, 1 for an ordinary one.
    """

    def __init__(
        self,
        kind: str,
        encode: Callable[[Any], NDArray[Any]],
        cost: Callable[[Any], int],
        limits: Limits,
        metrics: Metrics,
        executor: Executor,
    ):
        self._kind, self._encode, self._cost = kind, encode, cost
        self._limits, self._executor = limits, executor
        self._observed = metrics.batches.labels(kind)
        self._gauge = metrics.waiting.labels(kind)
        self._waiting = 0
        # Those of one piece, and those that are cut.
        self._short: deque[_Job] = deque()
        self._long: deque[_Job] = deque()
        self._long_next = False
        self._arrived = asyncio.Event()

    async def __call__(self, rows: Any) -> NDArray[Any]:
        """Rows of one request -> their codes.

        Raises:
            OverloadedError: with these, more rows would wait than may.
            InputError: a row that the encoder refuses.
        """
        if self._waiting + len(rows) > self._limits.max_waiting:
            raise OverloadedError(
                f"{self._waiting} {self._kind} wait, and at most {self._limits.max_waiting} may"
            )
        costs = [min(self._cost(row), self._limits.max_batch) for row in rows]
        job = _Job(rows, costs, max(1, self._limits.max_batch // _PIECES))
        self._count(len(rows))
        (self._short if len(job.waiting) == 1 else self._long).append(job)
        self._arrived.set()
        try:
            return await job.done
        finally:
            # Of a request that failed, or whose client has gone, the rest is not worked at.
            self._count(-job.rows_waiting)
            job.drop()

    async def run(self) -> None:
        """Serve those that wait until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            while not (self._short or self._long):
                self._arrived.clear()
                await self._arrived.wait()
            deadline = loop.time() + self._limits.max_wait
            while sum(job.cost_waiting for job in (*self._short, *self._long)) < self._limits.max_batch:
                self._arrived.clear()
                try:
                    async with asyncio.timeout_at(deadline):
                        await self._arrived.wait()
                except TimeoutError:
                    break
            batch = self._next_batch()
            if batch:
                self._observed.observe(sum(len(piece.rows) for piece in batch))
                await self._answer(batch)

    def _next_batch(self) -> list[_Piece]:
        """Alternate between requests of one piece, in the order of arrival, and pieces of the larger ones in turn.

        A small request waits for two pieces of a large one at most.
        """
        self._long_next = not self._long_next
        queues = (self._long, self._short) if self._long_next else (self._short, self._long)
        for jobs in queues:
            room = self._limits.max_batch // (_PIECES // 2 if jobs is self._long else 1)
            if batch := self._taken(jobs, room):
                return batch
        return []

    def _taken(self, jobs: deque[_Job], room: int) -> list[_Piece]:
        """A piece of each job in turn, while there is room."""
        taken: list[_Piece] = []
        while jobs and (not jobs[0].waiting or not taken or jobs[0].next_cost <= room):
            job = jobs.popleft()
            if not job.waiting:
                continue
            taken.append(job.take())
            room -= taken[-1].cost
            self._count(-len(taken[-1].rows))
            if job.waiting:
                jobs.append(job)
        return taken

    async def _answer(self, batch: list[_Piece]) -> None:
        try:
            joined = batch[0].rows if len(batch) == 1 else _joined([piece.rows for piece in batch])
            codes = await asyncio.get_running_loop().run_in_executor(self._executor, self._encode, joined)
        except Exception as error:
            await self._answer_alone(batch, error)
            return
        ends = np.cumsum([len(piece.rows) for piece in batch])
        for piece, part in zip(batch, np.split(codes, ends[:-1]), strict=True):
            job = piece.job
            job.parts.append(part)
            if sum(map(len, job.parts)) == len(job.rows) and not job.done.done():
                job.done.set_result(np.concatenate(job.parts))

    async def _answer_alone(self, batch: list[_Piece], error: Exception) -> None:
        """One bad request must not fail those that came with it; of a bad request, the row is named."""
        if len(batch) > 1:
            for piece in batch:
                await self._answer([piece])
            return
        [piece] = batch
        job = piece.job
        if job.done.done():
            return
        if not isinstance(error, ValueError):
            job.done.set_exception(error)
            return
        message = await self._refusal(piece) or str(error)
        if not job.done.done():
            job.done.set_exception(InputError(message))

    async def _refusal(self, piece: _Piece) -> str | None:
        """What the encoder says of the first row that it refuses."""
        loop = asyncio.get_running_loop()
        for row in range(len(piece.rows)):
            try:
                await loop.run_in_executor(self._executor, self._encode, piece.rows[row : row + 1])
            except ValueError as error:
                reason = str(error).removeprefix(f"{self._kind}: at 0: ")
                return f"{self._kind}.{piece.first + row}: {reason}"
        return None

    def _count(self, rows: int) -> None:
        self._waiting += rows
        self._gauge.inc(rows)


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return [row for rows in parts for row in rows]
