"""Good clients of the service beside slow, huge and malformed ones.

The hostile clients run in a process of their own, with the lowest priority: they share the processor with the service
here, which they would not elsewhere.
"""

import asyncio
import base64
import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np

_HEAD = "POST /encode HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
_SLOW = 300
_PAUSE = 0.5


@dataclass
class Load:
    """What the good clients saw: statuses, and the seconds of each request."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Of the milliseconds."""
        return 1e3 * float(np.percentile(self.seconds, share))


def children(pid: int) -> list[int]:
    """Processes that this one has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            if stat.read_text().rpartition(")")[2].split()[1] == str(pid):
                found.append(int(stat.parent.name))
    return found


def memory_mb(pid: int) -> int:
    """Memory that the process and those that it has started have now, in MB; what they share counts more than once."""
    pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in (pid, *children(pid)))
    return pages * 4096 // 2**20


def refused(address: str) -> Counter[str]:
    """How many requests to /encode the service has refused, by status; headers that do not end are no requests."""
    lines = httpx.get(f"{address}/metrics", timeout=60).text.splitlines()
    counts: Counter[str] = Counter()
    for line in lines:
        if line.startswith('scbch_requests_total{path="/encode"') and 'status="200"' not in line:
            counts[line.split('status="')[1][:3]] += int(float(line.split()[-1]))
    return counts


async def good_clients(address: str, seconds: float, connections: int = 4, pause: float = 0.02) -> Load:
    """Small requests for texts and searches over kept connections, each `pause` seconds after the last answer."""
    load = Load()
    end = time.monotonic() + seconds

    async def client(number: int) -> None:
        path, body = (("/encode", {"texts": ["word1 word2"]}), ("/search", {"texts": ["word3"], "k": 10}))[
            number % 2
        ]
        async with httpx.AsyncClient(base_url=address, timeout=60) as session:
            while time.monotonic() < end:
                begin = time.perf_counter()
                try:
                    status = str((await session.post(path, json=body)).status_code)
                except httpx.HTTPError as error:
                    status = type(error).__name__
                load.seconds.append(time.perf_counter() - begin)
                load.statuses[status] += 1
                await asyncio.sleep(pause)

    await asyncio.gather(*(client(number) for number in range(connections)))
    return load


def _bomb() -> str:
    """A small PNG of 13,000 x 13,000 pixels, in base64."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("1", (13_000, 13_000)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _bodies() -> dict[str, bytes]:
    """Bodies of hostile requests by name."""
    bodies = {
        "strings for numbers": json.dumps({"text_features": [["a" * 7_000_000]] + [["b"]] * 255}),
        "lists": '{"text_features": [' + "[]," * 2_600_000 + "[]]}",
        "deep": "[" * 7_000_000,
        "too long": '{"texts": ["' + "a" * 20_000_000 + '"]}',
        "256 long texts": json.dumps({"texts": ["word1 word2 " * 2_000] * 256}),
        "pictures": json.dumps({"pictures": [_bomb()] * 200}),
        "no JSON": "\0" * 100_000,
        "NaN": '{"text_features": [[' + "NaN," * 1_000_000 + "1]]}",
    }
    return {name: body.encode() for name, body in bodies.items()}


async def hostile_clients(address: str) -> None:
    """Slow, huge and malformed requests, until the process is ended."""
    parts = urlsplit(address)

    async def slow(number: int) -> None:
        await asyncio.sleep(10 * number / _SLOW)  # they come one after the other, and so do their limits
        start = _HEAD.format(1000).encode() + b'{"texts"' if number % 2 else b"POST /encode HTTP/1.1\r\nX: "
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
                writer.write(start)
                await reader.read()
                writer.close()
            await asyncio.sleep(_PAUSE)

    async def heavy(body: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        async with httpx.AsyncClient(base_url=address, timeout=120, headers=headers) as session:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    await session.post("/encode", content=body)
                await asyncio.sleep(_PAUSE)

    await asyncio.gather(*map(slow, range(_SLOW)), *map(heavy, _bodies().values()))


def measured_with_hostile(
    address: str, pid: int, seconds: float, niceness: int = 19
) -> tuple[Load, Load, list[int]]:
    """(good clients alone, beside hostile ones, MB of the service at the start, in the middle and at the end).

    niceness: of the hostile ones, whose work is to cost the service something, and not the cores that it is on.
    """
    asyncio.run(good_clients(address, min(5.0, seconds)))
    alone = asyncio.run(good_clients(address, seconds))
    memory = [memory_mb(pid)]
    hostile = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "benchmarks.hostile_clients", address, str(niceness)],
        cwd=Path(__file__).parents[1],
    )
    beside = Load()
    try:
        deadline = time.monotonic() + 300
        while len(refused(address)) < 3:  # all are at work once slow ones have been refused too
            if hostile.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no hostile clients are at work; exit status {hostile.poll()}")
            time.sleep(0.5)
        for _ in range(2):
            half = asyncio.run(good_clients(address, seconds / 2))
            beside.statuses += half.statuses
            beside.seconds += half.seconds
            memory.append(memory_mb(pid))
    finally:
        hostile.kill()
        hostile.wait()
    return alone, beside, memory


def compared_with_hostile(address: str, pid: int, seconds: float) -> str:
    """A report on `measured_with_hostile`."""
    alone, beside, memory = measured_with_hostile(address, pid, seconds)
    lines = [
        f"4 good clients {name}: {dict(load.statuses)}; p50 {load.percentile(50):.1f} ms, "
        f"p99 {load.percentile(99):.1f} ms"
        for name, load in (
            ("alone", alone),
            (f"beside {_SLOW} slow and {len(_bodies())} huge or malformed", beside),
        )
    ]
    lines.append(
        f"  p99 {beside.percentile(99) / alone.percentile(99):.2f} times; memory {memory} MB; "
        f"refused {dict(sorted(refused(address).items()))}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    os.nice(int(sys.argv[2]))
    asyncio.run(hostile_clients(sys.argv[1]))
