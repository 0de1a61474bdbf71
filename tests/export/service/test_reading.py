"""Large bodies are read in a process of their own, with the answers of small ones; it may end, the service does not."""

import base64
import io
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.hostile_clients import children
from benchmarks.service import running_service
from scbch_keras.export.service import reading
from scbch_keras.export.service.bodies import SMALL
from scbch_keras.export.service.limits import InputError, Limits, OverloadedError
from scbch_keras.preprocessing.text import TextPipeline
from tests.export.service.odd_reader import Odd
from tests.export.service.test_requests import CLIENT, packed, post
from tests.export.serving.test_codes_file import TEXTS

pytestmark = [pytest.mark.numpy_only, pytest.mark.slow, pytest.mark.waits]


@pytest.fixture
def process():
    process = reading.ReadingProcess(Odd())
    yield process
    process.close()


def test_a_body_comes_whole_in_whatever_parts_it_was_sent(process):
    parts = [b"ab", b"", bytes(300_000), b"\x80.\n"]
    for arguments in ((), (None, [1])):
        assert process.read("echo", parts, *arguments) == (b"".join(parts), *arguments)


def test_what_the_reader_raises_arrives_and_the_next_body_is_read(process):
    with pytest.raises(InputError, match=r"texts\.3: no"):
        process.read("refuse", [b"x"])
    with pytest.raises(RuntimeError, match="KeyError: 'unexpected'"):
        process.read("fail", [b"x"])
    assert process.read("echo", [b"x"]) == (b"x",)


def test_a_reader_that_ends_costs_its_own_body_alone(process):
    for _ in range(2):
        with pytest.raises(OverloadedError, match="another is started"):
            process.read("end", [bytes(300_000)])
        assert process.read("echo", [b"x"]) == (b"x",)
    killed = process.start()
    killed.kill()
    killed.wait(10)
    assert process.read("echo", [b"x"]) == (b"x",)


def test_signals_that_end_the_service_leave_it_to_read_what_was_taken(process):
    assert process.read("echo", [b"x"]) == (b"x",)
    first = process.start()
    for number in (signal.SIGINT, signal.SIGTERM):
        first.send_signal(number)
        assert process.read("echo", [b"x"]) == (b"x",)
    assert process.start() is first


def test_it_ends_with_the_service(process):
    child = process.start()
    process.close()
    assert child.poll() == 0
    process.close()


def _long(texts):
    """The same words in more bytes than a small body has."""
    return [text + " " * (SMALL // len(texts) + 1) for text in texts]


def _picture(seed):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (60, 90, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_large_bodies_have_the_answers_of_the_batch_path(service, encoder, features):
    texts = _long([*TEXTS, "red"])
    answer = post(service, "/encode", {"texts": texts})
    np.testing.assert_array_equal(packed(answer), encoder.text(texts))
    assert answer.json()["known_words"] == encoder.known_words(texts).tolist()
    assert answer.json()["unknown_words"] == encoder.unknown_words(texts)
    body = json.dumps({"image_features": features.tolist()}) + " " * SMALL
    headers = {"Content-Type": "application/json"}
    large = CLIENT.post(f"{service}/encode", content=body, headers=headers)
    np.testing.assert_array_equal(packed(large), encoder.image(features))
    files = [_picture(seed) for seed in range(4)]
    body = {"pictures": [base64.b64encode(file).decode() for file in files]}
    assert sum(map(len, body["pictures"])) > SMALL
    np.testing.assert_array_equal(packed(post(service, "/encode", body)), encoder.image(files))
    small, large = (
        post(service, "/search", {"texts": texts, "k": 3}).json() for texts in (TEXTS, _long(TEXTS))
    )
    assert small == large


def test_large_bodies_of_the_open_inference_protocol_too(service, encoder):
    texts = _long(TEXTS)
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    outputs = post(service, "/v2/models/icons_strings/infer", {"inputs": [tensor]}).json()["outputs"]
    values = {output["name"]: output["data"] for output in outputs}
    assert values["packed_codes"] == encoder.text(texts).ravel().tolist()
    assert values["known_words"] == encoder.known_words(texts).tolist()
    bad = post(service, "/v2/models/icons_strings/infer", {"inputs": [tensor | {"shape": [99]}]})
    assert bad.status_code == 400
    assert "inputs.0.data: expected 99 elements" in bad.json()["error"]


def test_a_large_body_that_is_wrong_is_refused_by_its_field(service):
    answer = post(service, "/encode", {"texts": [*_long(TEXTS), 7]})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("texts.6: expected a string, got '7")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_service_whose_reading_process_was_killed_goes_on(release, encoder):
    with running_service(str(release)) as (address, process):
        for _ in range(2):
            np.testing.assert_array_equal(
                packed(post(address, "/encode", {"texts": _long(TEXTS)})), encoder.text(TEXTS)
            )
            [child] = children(process.pid)
            os.kill(child, signal.SIGKILL)
            while Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                pass
        [child] = children(process.pid)
    assert child not in children(os.getpid())


def test_words_that_no_model_knows_are_bounded_in_a_request(monkeypatch):
    monkeypatch.setattr(reading, "_MAX_UNKNOWN", 3)
    reader = reading.Reader("r", {"text": [1], "image": [1]}, TextPipeline(["a"]), False, Limits())
    assert reader.inputs(b'{"texts": ["a b c", "b b b"]}', False).rows[0].unknown == ["b", "c"]
    with pytest.raises(InputError, match=r"texts\.1: expected at most 3 words .* got 4 up to here"):
        reader.inputs(b'{"texts": ["a b c", "b c"]}', False)


@pytest.mark.parametrize(("kind", "message"), [("texts", "no strings"), ("pictures", "no pictures")])
def test_a_kind_that_the_release_does_not_take_is_refused(kind, message):
    reader = reading.Reader("r", {"text": [1], "image": [1]}, None, False, Limits())
    value = base64.b64encode(_picture(0)).decode()
    with pytest.raises(InputError, match=f"{kind}: the release r takes {message}"):
        reader.inputs(json.dumps({kind: [value]}).encode(), True)
