"""Clients that are slow, huge or gone take nothing from the others."""

import contextlib
import json
import resource
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest

from benchmarks.service import running_service
from tests.export.service.test_requests import metrics, post

pytestmark = [pytest.mark.numpy_only, pytest.mark.slow, pytest.mark.waits]


def connected(address):
    parts = urlsplit(address)
    return socket.create_connection((parts.hostname, parts.port), timeout=30)


def until_closed(connection):
    """All bytes up to the end of the connection."""
    content = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            content += part
    return content


def received(connection, end):
    """All bytes up to `end`: headers and body may come in packets of their own."""
    content = b""
    while not content.endswith(end):
        part = connection.recv(65536)
        assert part, f"the connection was closed after {content!r}"
        content += part
    return content


def until_metrics_say(line, address, seconds=60):
    """Wait until the service's metrics have a line."""
    deadline = time.monotonic() + seconds
    while line not in metrics(address):
        assert time.monotonic() < deadline, f"not in {seconds} s: {line}"
        time.sleep(0.05)


HEADERS = b"POST /encode HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def test_headers_that_do_not_end_end_the_connection(service):
    starts = (b"", b"P", b"POST /encode HTTP/1.1\r\nHost: x\r\nX: ")
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connected(service)) for _ in starts]
        begin = time.monotonic()
        for connection, start in zip(connections, starts, strict=True):
            connection.sendall(start)
        for connection, start in zip(connections, starts, strict=True):
            assert until_closed(connection).startswith(b"HTTP/1.1 408"), start
            assert 0.5 < time.monotonic() - begin < 15


def test_headers_that_come_byte_by_byte_end_the_connection(service):
    with connected(service) as connection, pytest.raises(OSError):  # noqa: PT011, PT012
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        for _ in range(100):
            time.sleep(0.2)
            connection.sendall(b"x")


def test_the_second_request_of_a_connection_has_a_time_limit_too(service):
    with connected(service) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert received(connection, b'\r\n\r\n"alive"').startswith(b"HTTP/1.1 200")
        time.sleep(1.5)  # at rest a connection may be for longer than headers may take
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /he")
        content = until_closed(connection)
        assert b"alive" in content
        assert b"408 Request Timeout" in content


def test_a_body_that_does_not_end_is_408(service):
    lengths = (b"Content-Length: 100\r\n", b"Transfer-Encoding: chunked\r\n")
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connected(service)) for _ in lengths]
        for connection, length in zip(connections, lengths, strict=True):
            connection.sendall(HEADERS + length + b"\r\n")
        for connection, length in zip(connections, lengths, strict=True):
            content = until_closed(connection)
            assert content.startswith(b"HTTP/1.1 408"), length
            assert b"body: expected its end within 1 seconds, got 0 bytes" in content


def test_a_body_that_says_it_is_too_long_is_refused_before_it_is_sent(service):
    with connected(service) as connection:
        connection.sendall(HEADERS + b"Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n")
        assert until_closed(connection).startswith(b"HTTP/1.1 413")


def test_headers_that_are_too_long_are_refused(service):
    with connected(service) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 100_000)
        assert until_closed(connection).startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize("start", [b"GET ", HEADERS + b"Content-Length: 9\r\n\r\n"])
def test_half_requests_do_not_keep_others_out(release, start):
    limits = ("--max-connections", "20", "--body-seconds", "2", "--max-wait-ms", "0")
    with running_service(str(release), *limits) as (address, _), contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(connected(address)).sendall(start)
        deadline = time.monotonic() + 30
        while True:
            # Those with headers are in their time; then they are gone.
            with contextlib.suppress(httpx.TransportError):
                answer = post(address, "/encode", {"texts": ["a dog"]})
                if answer.status_code == 200:
                    break
                assert answer.status_code == 503
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_request_that_takes_too_long_is_504_and_leaves_the_queue(release):
    limits = ("--max-wait-ms", "5000", "--request-seconds", "0.5")
    with running_service(str(release), *limits) as (address, _):
        answer = post(address, "/encode", {"texts": ["a"] * 3})
        assert (answer.status_code, answer.headers["Retry-After"]) == (504, "1")
        assert "request_seconds" in answer.json()["detail"]
        until_metrics_say(
            'scbch_waiting_rows{kind="texts"} 0', address, seconds=4
        )  # not by the end of the wait


def test_the_rows_of_a_client_that_went_leave_the_queue(release):
    with running_service(str(release), "--max-wait-ms", "60000", "--request-seconds", "90") as (address, _):
        body = json.dumps({"texts": ["a"] * 7}).encode()
        with connected(address) as connection:
            connection.sendall(HEADERS + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            until_metrics_say('scbch_waiting_rows{kind="texts"} 7', address, seconds=30)
        until_metrics_say('scbch_waiting_rows{kind="texts"} 0', address, seconds=20)


def test_bodies_that_are_held_are_bounded(release):
    limits = ("--max-buffered", "300000", "--body-seconds", "60")
    with running_service(str(release), *limits) as (address, _), contextlib.ExitStack() as stack:
        for _ in range(2):
            connection = stack.enter_context(connected(address))
            connection.sendall(HEADERS + b"Content-Length: 900000\r\n\r\n" + b" " * 140_000)
        until_metrics_say("scbch_buffered_bytes 280000.0", address)
        large = {"texts": ["a" * 50_000] * 2}
        assert post(address, "/encode", large).status_code == 503
        assert post(address, "/encode", {"texts": ["a"]}).status_code == 200
        stack.close()  # the clients go
        until_metrics_say("scbch_buffered_bytes 0.0", address, seconds=30)
        assert post(address, "/encode", large).status_code == 200


def _peak_mb(process):
    with open(f"/proc/{process.pid}/status") as file:
        return next(int(line.split()[1]) // 1024 for line in file if line.startswith("VmHWM"))


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS"), reason="reads /proc")
@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"text_features": [["a" * 256_000]] + [["b"]] * 255}),
        json.dumps({"text_features": [["a" * 7_000_000]] + [["b"]] * 255}),
        '{"text_features": [[' + "[],[],[]," * 800_000 + "[]]]}",
        '{"text_features": [' + "[]," * 2_600_000 + "[]]}",
        '{"texts": [' + '"",' * 2_600_000 + '""]}',
        '{"texts": ["' + "a b " * 1_900_000 + '"]}',
        '{"x": [' + "{}," * 2_600_000 + "{}]}",
        '{"text_features": [[' + "1," * 3_900_000 + "1]]}",
        '{"text_features": [[' + "9" * 7_900_000 + "]]}",
        "{" + '"a":1,' * 1_300_000 + '"b":1}',
        "[" * 8_000_000,
        '{"pictures": ["' + "A" * 8_000_000 + '"]}',
        '{"texts": ["' + "\\" * 7_999_000 + '"]}',
    ],
    ids=range(13),
)
def test_a_large_body_costs_little_memory_and_time(guarded, content):
    address, process = guarded
    before, begin = _peak_mb(process), time.monotonic()
    for path in ("/encode", "/v2/models/icons_text/infer"):
        answer = httpx.post(
            f"{address}{path}", content=content, headers={"Content-Type": "application/json"}, timeout=60
        )
        assert 400 <= answer.status_code < 500
        assert len(answer.text) < 1000
    assert time.monotonic() - begin < 20
    assert _peak_mb(process) - before < 150


@pytest.fixture(scope="module")
def guarded(release):
    with running_service(str(release)) as (address, process):
        yield address, process
