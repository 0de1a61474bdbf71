"""The service over real HTTP: its answers are those of the batch path, and bad requests are refused by field."""

import base64
import gzip
import io
import json
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from PIL import Image

from benchmarks.service import metric, running_service
from scbch_keras.export import HammingIndex, encode_file
from tests.export.serving.test_codes_file import IDS, ROWS, TEXTS, spoil
from tests.export.serving.test_encoder import BITS

pytestmark = [pytest.mark.numpy_only, pytest.mark.slow, pytest.mark.waits]
for needed in ("onnxruntime", "typer", "fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(needed)

CLIENT = httpx.Client(timeout=120)


def post(service, path, body):
    return CLIENT.post(f"{service}{path}", json=body)


def packed(answer):
    assert answer.status_code == 200, answer.text
    return np.array([list(bytes.fromhex(code)) for code in answer.json()["codes"]], np.uint8)


def test_the_service_gives_the_codes_of_the_batch_path(service, encoder, features):
    x = np.random.default_rng(1).integers(0, 3, (9, 6))
    for body, expected in (
        ({"texts": TEXTS}, encoder.text(TEXTS)),
        ({"image_features": features.tolist()}, encoder.image(features)),
        ({"text_features": x.tolist()}, encoder.text(x.astype(np.float32))),
    ):
        np.testing.assert_array_equal(packed(post(service, "/encode", body)), expected)
    answer = post(service, "/encode", {"texts": TEXTS}).json()
    assert answer["bits"] == BITS
    assert answer["known_words"] == encoder.known_words(TEXTS).tolist() == [2, 0, 2, 3, 0, 2]
    assert answer["unknown_words"] == [[], [], [], [], ["red", "unknown"], []]
    assert post(service, "/encode", {"image_features": features.tolist()}).json().keys() == {"bits", "codes"}


def test_the_service_searches(service, encoder, features):
    index = HammingIndex(BITS)
    index.add(encoder.image(features))
    ids, distances = index.search(encoder.text(TEXTS), 4)
    wanted = [
        [{"id": IDS[id], "distance": int(far)} for id, far in zip(*row, strict=True)]
        for row in zip(ids, distances, strict=True)
    ]
    answer = post(service, "/search", {"texts": TEXTS, "k": 4}).json()
    known = encoder.known_words(TEXTS)
    # Nothing is near a text without a known word.
    assert answer["results"] == [row if count else [] for row, count in zip(wanted, known, strict=True)]
    assert answer["known_words"] == known.tolist()
    assert answer["unknown_words"] == encoder.unknown_words(TEXTS)
    ids, _ = index.search(encoder.image(features[:2]), 3)
    found = post(service, "/search", {"image_features": features[:2].tolist(), "k": 3}).json()
    assert [[one["id"] for one in row] for row in found["results"]] == [
        [IDS[id] for id in row] for row in ids
    ]
    assert found.keys() == {"results"}
    assert len(post(service, "/search", {"texts": ["a"], "k": 1000}).json()["results"][0]) == ROWS


def test_requests_that_come_together_enter_the_network_together_and_fail_alone(service, encoder, features):
    def total(name):
        return metric(metrics(service), f'scbch_batch_rows_{name}{{kind="image_features"}}')

    batches, rows = total("count"), total("sum")
    bodies = [{"image_features": features[row : row + 1].tolist()} for row in range(16)]
    bodies[5] = {"image_features": [[1, 2]]}
    bodies[9] = {"image_features": spoil(features)[31:32].tolist()}
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda body: _post_text(service, json.dumps(body)), bodies))
    assert [row for row, answer in enumerate(answers) if answer.status_code != 200] == [5, 9]
    for row in set(range(16)) - {5, 9}:
        np.testing.assert_array_equal(packed(answers[row]), encoder.image(features[row : row + 1]))
    assert total("sum") - rows == 14
    assert total("count") - batches < 14


def _post_text(service, content):
    return CLIENT.post(f"{service}/encode", content=content, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        ('{"texts": ["a"], "pictures": ["aaaa"]}', 422, "expected one of texts.*got texts, pictures"),
        ("{}", 422, "expected one of texts"),
        ('{"texts": []}', 422, "at least 1"),
        ('{"texts": [7]}', 422, "texts.0: expected a string, got '7"),
        (json.dumps({"texts": [""] * 257}), 422, "at most 256"),
        ('{"texts": ["\\ud800"]}', 422, "lone surrogate"),
        ('{"texts": ["a"], "more": 1}', 422, "more"),
        (
            '{"text_features": [[1, 2]]}',
            422,
            "text_features.0: expected 6 numbers in a list, got a list of 2",
        ),
        ('{"text_features": [[1, 2, 3, 4, 5, "x"]]}', 422, "must be numbers"),
        ('{"text_features": [[1, 2, 3, 4, 5, NaN]]}', 422, "must be finite"),
        ('{"text_features": [[1, 2, 3, 4, 5, 1e99]]}', 422, "must be finite"),
        ('{"text_features": [["' + "a" * 80_000 + '"]]}', 422, "text_features.0: expected 6 numbers"),
        (
            '{"text_features": [[1, 2, 3, 4, 5, true]]}',
            422,
            "text_features.0.5: values must be numbers, got True",
        ),
        (
            '{"text_features": [[1, 2, 3, 4, 5, null]]}',
            422,
            "text_features.0.5: values must be numbers, got None",
        ),
        ('{"text_features": [[[1, 2, 3, 4, 5, 6]]]}', 422, "text_features.0: expected 6 numbers"),
        (
            '{"text_features": [1, 2, 3, 4, 5, 6]}',
            422,
            "text_features.0: expected 6 numbers in a list, got '1",
        ),
        ('{"text_features": 7}', 422, "text_features: JSON: expected a list"),
        ('{"text_features": {"0": 7}}', 422, "text_features: JSON: expected a list"),
        ('{"text_features": [[1, 2, 3, 4, 5, -Infinity]]}', 422, "must be finite, got -Infinity"),
        (
            f'{{"text_features": [[1, 2, 3, 4, 5, {"9" * 50}]]}}',
            422,
            "text_features.0.5: numbers must be finite",
        ),
        (f'{{"text_features": [[1, 2, 3, 4, 5, {"9" * 5000}]]}}', 422, "text_features.0"),
        (f'{{"text_features": {"[" * 90_000}}}', 422, "text_features.0"),
        (f'{{"texts": {"[" * 90_000}}}', 422, "texts.0: expected a string"),
        (json.dumps({"texts": ["a" * 20_001]}), 422, "texts.0: expected at most 20000 characters, got 20001"),
        ('{"texts": ["a"], "texts": ["b"]}', 422, "'texts' comes twice"),
        ('{"texts": ["a"]} {}', 422, "nothing more"),
        ('{"texts": ["a"', 422, "texts: JSON"),
        ('{"texts": ["a", ]}', 422, "texts.1"),
        ('{"texts": ["\\x"]}', 422, "texts.0"),
        ('{"texts": null}', 422, "got none"),
        ("[]", 422, "body: JSON: expected '{'"),
        ("", 422, "body: JSON: expected '{'.* its end"),
        (b'{"texts": ["\xff"]}', 422, "body: JSON must be UTF-8; byte 12"),
        (b"\x00" * 100, 422, "body"),
        ('{"pictures": ["?"]}', 422, "pictures.0: .*base64"),
        (
            json.dumps({"pictures": [base64.b64encode(b"no picture").decode()]}),
            422,
            "pictures.0: .*expected a picture",
        ),
        ("{", 422, "JSON"),
        ('{"texts": ["' + "a" * 100_000 + '"]}', 413, "a request may have 100000 bytes"),
    ],
)
def test_bad_requests_are_answered_with_what_is_wrong(service, content, status, message):
    answer = _post_text(service, content)
    assert answer.status_code == status
    assert re.search(message, answer.json()["detail"], re.DOTALL), answer.text
    if status == 413:

        def parts():
            yield content.encode() if isinstance(content, str) else content

        assert _post_text(service, parts()).status_code == 413  # chunked, its length not told before


@pytest.mark.parametrize("k", ["0", "1001", "true", "1.0", "NaN", '"5"', "null", "[1]", "9" * 5000])
def test_a_wrong_number_of_results_is_refused(service, k):
    headers = {"Content-Type": "application/json"}
    answer = CLIENT.post(f"{service}/search", content=f'{{"texts": ["a"], "k": {k}}}', headers=headers)
    assert answer.status_code == 422
    assert "k: " in answer.json()["detail"]


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", ""])
def test_a_body_that_does_not_say_it_is_json_is_refused(service, kind):
    answer = CLIENT.post(f"{service}/encode", content='{"texts": ["a"]}', headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert "Content-Type: expected application/json" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/encode", "/search", "/v2/models/icons_text/infer"])
@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_a_compressed_body_is_refused_with_the_remedy(service, path, encoding):
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    answer = CLIENT.post(f"{service}{path}", content=gzip.compress(b'{"texts": ["a"]}'), headers=headers)
    assert answer.status_code == 415
    assert f"Content-Encoding: expected none, got '{encoding}'" in answer.text


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/v2/health/ready", "/docs", "/nothing"])
def test_head_is_answered_as_get_without_the_body(service, path):
    head, get = CLIENT.head(f"{service}{path}"), CLIENT.get(f"{service}{path}")
    assert head.status_code == get.status_code
    assert head.headers.get("Content-Type") == get.headers.get("Content-Type")
    assert head.content == b""
    assert CLIENT.head(f"{service}/encode").status_code == 405
    assert CLIENT.get(f"{service}/healthz").json() == "alive"  # on the same connection


def png(height, width, mode="1", **options):
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, "PNG", **options)
    return file.getvalue()


def test_pictures_become_the_codes_of_the_batch_path(service, encoder):
    rng = np.random.default_rng(3)
    files = []
    for _ in range(7):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (9, 8, 3)).astype(np.uint8)).save(file, "PNG")
        files.append(file.getvalue())
    body = {"pictures": [base64.b64encode(file).decode() for file in files]}
    codes = packed(post(service, "/encode", body))
    np.testing.assert_array_equal(codes, encoder.image(files))
    assert len(np.unique(codes, axis=0)) > 1


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([(13_000, 13_000)], "pictures.0: .*expected at most 10000 pixels, got 169000000"),
        ([(1, 1), (101, 100)], "pictures.1: .*expected at most 10000 pixels, got 10100"),
        ([(100, 100)] * 4, "pictures.3: expected pictures of at most 30000 pixels in a request, got 40000"),
    ],
)
def test_pictures_of_too_many_pixels_are_refused_by_their_headers(service, sizes, message):
    body = {"pictures": [base64.b64encode(png(*size)).decode() for size in sizes]}
    answer = post(service, "/encode", body)
    assert answer.status_code == 422
    assert re.search(message, answer.json()["detail"])


def test_a_picture_that_is_cut_is_named_and_fails_alone(service, encoder):
    whole, cut = png(50, 50, "L"), png(99, 100, "L")[:60]
    files = [whole] * 5 + [cut] + [whole] * 2
    bodies = [{"pictures": [base64.b64encode(file).decode() for file in part]} for part in (files, [whole])]
    with ThreadPoolExecutor(2) as pool:
        bad, good = pool.map(lambda body: post(service, "/encode", body), bodies)
    assert bad.status_code == 422
    assert bad.json()["detail"].startswith("pictures.5: ")
    np.testing.assert_array_equal(packed(good), encoder.image([whole]))


def test_more_than_may_wait_is_turned_away(service):
    answer = post(service, "/encode", {"texts": ["a"] * 101})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


def metrics(service):
    return CLIENT.get(f"{service}/metrics").text


def test_health_and_metrics(service):
    assert CLIENT.get(f"{service}/healthz").json() == "alive"
    ready = CLIENT.get(f"{service}/readyz").json()
    assert ready["release"].startswith("icons version 1")
    assert (ready["bits"], ready["indexed"]) == (BITS, ROWS)
    assert CLIENT.get(f"{service}/nothing").status_code == 404
    told = metrics(service)
    assert re.search(r'^scbch_requests_total{path="/readyz",status="200"} [1-9]', told, re.M)
    assert re.search(r'^scbch_requests_total{path="other",status="404"} [1-9]', told, re.M)
    assert re.search(r'^scbch_waiting_rows{kind="texts"} 0', told, re.M)


def test_codes_of_another_model_do_not_start_a_service(release, encoder, features, tmp_path, capfd):
    encode_file(encoder, "image", [(features, None)], tmp_path / "c.npy")
    with (
        pytest.raises(RuntimeError, match="did not start"),
        running_service(str(release.with_name("2")), "--codes", str(tmp_path / "c.npy")),
    ):
        pass
    assert "codes of two models" in capfd.readouterr().err


def test_a_request_that_was_taken_is_answered_before_the_service_ends(release, encoder):
    with (
        ThreadPoolExecutor(1) as pool,
        running_service(str(release), "--max-wait-ms", "2500") as (address, process),
    ):
        waiting = pool.submit(post, address, "/encode", {"texts": TEXTS})
        while 'scbch_waiting_rows{kind="texts"} 6' not in metrics(address):
            assert not waiting.done()
        process.send_signal(signal.SIGTERM)
        np.testing.assert_array_equal(packed(waiting.result()), encoder.text(TEXTS))
        assert process.wait(60) in (0, 128 + signal.SIGTERM)
        with pytest.raises(httpx.ConnectError):
            metrics(address)
