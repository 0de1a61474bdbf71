"""The service under load: `python -m benchmarks.service`.

Starts `scbch serve` on a small release in a process of its own, sends it requests for texts, features and
searches from many connections at once, and compares every code with the batch path's. Prints errors, requests a
second, and the median and 99th percentile of the time from request to answer, with the client's share in it.
Then `benchmarks.hostile_clients`: a good client alone, and beside slow, huge and malformed ones.
"""

import argparse
import asyncio
import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks.hostile_clients import compared_with_hostile
from benchmarks.small_release import images, release_small_model, strings
from scbch_keras.export import HashEncoder, encode_file, open_index

START_SECONDS = 120
_NEAREST = 10

Request = tuple[str, dict[str, Any]]


@contextlib.contextmanager
def running_service(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The service as its own process, once it is ready: its address and the process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "scbch_keras.training.cli.main", "serve", *arguments, "--port", str(port)]
    )
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_SECONDS
        while not _is_ready(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the service did not start; exit status {process.poll()}")
            time.sleep(0.05)
        yield address, process
    finally:
        process.terminate()
        process.wait(30)


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz").status_code == 200
    except httpx.TransportError:
        return False


async def send(
    address: str, requests: list[Request], connections: int
) -> tuple[list[httpx.Response | Exception], list[float]]:
    """Post (path, body) over so many connections: what came, and the seconds of each, in the same order."""
    waiting = iter(range(len(requests)))
    answers: list[httpx.Response | Exception] = [RuntimeError("not sent")] * len(requests)
    seconds = [0.0] * len(requests)

    async def connection() -> None:
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            for place in waiting:
                path, body = requests[place]
                start = time.perf_counter()
                try:
                    answers[place] = await client.post(path, json=body)
                except httpx.HTTPError as error:
                    answers[place] = error
                seconds[place] = time.perf_counter() - start

    await asyncio.gather(*(connection() for _ in range(connections)))
    return answers, seconds


def requests_and_answers(
    encoder: HashEncoder, database: Path, texts: list[str], features: NDArray[np.float32]
) -> tuple[list[Request], list[dict[str, Any]]]:
    """In turn codes of a text, of features and a search by a text: (path, body), and what the batch path answers."""
    index, names = open_index(database)
    text_codes, image_codes = encoder.text(texts), encoder.image(features)
    ids, distances = index.search(text_codes, _NEAREST)
    known = encoder.known_words(texts)
    requests: list[Request] = []
    expected: list[dict[str, Any]] = []
    for row, text in enumerate(texts):
        if row % 3 == 2:
            requests.append(("/search", {"texts": [text], "k": _NEAREST}))
            nearest = [
                {"id": names[id] if names else id, "distance": distance}
                for id, distance in zip(ids[row].tolist(), distances[row].tolist(), strict=True)
            ]
            # Nothing is near a text without a known word.
            expected.append({"results": [nearest if known[row] else []]})
            continue
        is_text = row % 3 == 0
        body = {"texts": [text]} if is_text else {"image_features": [features[row].tolist()]}
        requests.append(("/encode", body))
        expected.append({"codes": [(text_codes if is_text else image_codes)[row].tobytes().hex()]})
    return requests, expected


def differences(
    answers: list[httpx.Response | Exception], expected: list[dict[str, Any]]
) -> tuple[int, int, int, int]:
    """(bits that differ, bits, searches whose ids or distances differ, searches) of the requests that were answered."""
    bits = compared = searches = searched = 0
    for answer, right in zip(answers, expected, strict=True):
        if not isinstance(answer, httpx.Response) or answer.status_code != 200:
            continue
        if "results" in right:
            searched += 1
            searches += answer.json()["results"] != right["results"]
        else:
            actual, wanted = (
                np.frombuffer(bytes.fromhex(code), np.uint8)
                for code in (answer.json()["codes"][0], right["codes"][0])
            )
            compared += 8 * wanted.size
            bits += int(np.unpackbits(actual ^ wanted).sum())
    return bits, compared, searches, searched


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--hostile-seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        release = release_small_model(Path(folder, "releases"))
        encoder = HashEncoder(release)
        database = Path(folder, "images.npy")
        encode_file(encoder, "image", [(images(1000, seed=1), None)], database)
        texts, features = strings(arguments.requests), images(arguments.requests)
        requests, expected = requests_and_answers(encoder, database, texts, features)
        with running_service(str(release), "--codes", str(database)) as (address, _):
            asyncio.run(send(address, requests[:100], arguments.connections))
            start = time.perf_counter()
            answers, seconds = asyncio.run(send(address, requests, arguments.connections))
            whole = time.perf_counter() - start
            metrics = httpx.get(f"{address}/metrics").text
        with running_service(str(release), "--codes", str(database)) as (address, process):
            report = compared_with_hostile(address, process.pid, arguments.hostile_seconds)
    bits, compared, searches, searched = differences(answers, expected)
    rows, batches = (metric(metrics, f"scbch_batch_rows_{name}{{") for name in ("sum", "count"))
    bad = Counter(
        f"status {answer.status_code}" if isinstance(answer, httpx.Response) else type(answer).__name__
        for answer in answers
        if not isinstance(answer, httpx.Response) or answer.status_code != 200
    )
    print(
        f"{len(requests)} requests from {arguments.connections} connections: {bad.total()} errors {dict(bad)}"
    )
    print(
        f"  {len(requests) / whole:.0f} requests/s; p50 {1e3 * np.percentile(seconds, 50):.1f} ms, ", end=""
    )
    print(f"p99 {1e3 * np.percentile(seconds, 99):.1f} ms; {rows / batches:.1f} rows a batch")
    print(f"  {bits} of {compared} bits and {searches} of {searched} searches differ from the batch path's")
    print(report)


def metric(told: str, prefix: str) -> float:
    """The sum of the values in what /metrics told whose names begin so."""
    return sum(float(line.split()[-1]) for line in told.splitlines() if line.startswith(prefix))


if __name__ == "__main__":
    main()
