"""The Open Inference Protocol: Triton's own client, and requests of JSON, good and bad."""

import io
import json

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.export.serving.test_codes_file import TEXTS
from tests.export.serving.test_encoder import BITS

pytestmark = [pytest.mark.numpy_only, pytest.mark.slow, pytest.mark.waits]

X = np.random.default_rng(1).integers(0, 3, (9, 6)).astype(np.float32)
BYTES = -(-BITS // 8)


@pytest.fixture(scope="module")
def triton(service):
    http = pytest.importorskip("tritonclient.http")
    with http.InferenceServerClient(service.removeprefix("http://")) as client:
        yield client


def test_triton_client_sees_health_and_metadata(triton):
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("icons_image")
    assert triton.is_model_ready("icons_strings", "1")
    assert not triton.is_model_ready("icons_strings", "2")
    assert not triton.is_model_ready("icons_sounds")
    assert triton.get_server_metadata()["name"] == "scbch_keras"
    metadata = triton.get_model_metadata("icons_text")
    assert metadata["inputs"] == [{"name": "text", "datatype": "FP32", "shape": [-1, 6]}]
    assert metadata["outputs"] == [
        {"name": "packed_codes", "datatype": "UINT8", "shape": [-1, BYTES]},
        {"name": "codes", "datatype": "FP32", "shape": [-1, BITS]},
    ]
    assert triton.get_model_metadata("icons_strings")["inputs"][0]["datatype"] == "BYTES"


@pytest.mark.parametrize("binary_input", [True, False])
@pytest.mark.parametrize("binary_output", [True, False])
def test_triton_client_gets_the_codes_of_features(triton, encoder, features, binary_input, binary_output):
    import tritonclient.http as http

    for name, values, encode in (("image", features, encoder.image), ("text", X, encoder.text)):
        tensor = http.InferInput(name, list(values.shape), "FP32")
        tensor.set_data_from_numpy(values, binary_data=binary_input)
        outputs = [
            http.InferRequestedOutput(output, binary_data=binary_output)
            for output in ("codes", "packed_codes")
        ]
        for requested in (outputs, None):
            result = triton.infer(f"icons_{name}", [tensor], outputs=requested, request_id="r7")
            assert result.get_response()["id"] == "r7"
            np.testing.assert_array_equal(result.as_numpy("packed_codes"), encode(values))
            np.testing.assert_allclose(result.as_numpy("codes"), encode(values, packed=False), atol=1e-6)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_triton_client_gets_the_codes_of_strings(triton, encoder, binary, shape):
    import tritonclient.http as http

    tensor = http.InferInput("text", list(shape), "BYTES")
    tensor.set_data_from_numpy(np.array(TEXTS, object).reshape(shape), binary_data=binary)
    result = triton.infer("icons_strings", [tensor])
    np.testing.assert_array_equal(result.as_numpy("packed_codes"), encoder.text(TEXTS))
    np.testing.assert_array_equal(result.as_numpy("known_words"), encoder.known_words(TEXTS))


def test_triton_client_gets_the_codes_of_picture_files(triton, encoder):
    import tritonclient.http as http

    files = []
    for colour in ("red", "green", "navy"):
        file = io.BytesIO()
        Image.new("RGB", (20, 30), colour).save(file, "PNG")
        files.append(file.getvalue())
    tensor = http.InferInput("pictures", [3], "BYTES")
    tensor.set_data_from_numpy(np.array(files, object))
    result = triton.infer("icons_pictures", [tensor])
    np.testing.assert_array_equal(result.as_numpy("packed_codes"), encoder.image(files))


def test_triton_client_sees_what_was_wrong(triton):
    import tritonclient.http as http

    tensor = http.InferInput("text", [2, 5], "FP32")
    tensor.set_data_from_numpy(np.zeros((2, 5), np.float32))
    with pytest.raises(
        http.InferenceServerException if hasattr(http, "InferenceServerException") else Exception
    ) as e:
        triton.infer("icons_text", [tensor])
    assert "inputs.0.shape: expected [-1, 6], got [2, 5]" in str(e.value)


def infer(service, body, model="icons_text", headers=None):
    content = body if isinstance(body, bytes | str) else json.dumps(body)
    return httpx.post(f"{service}/v2/models/{model}/infer", content=content, headers=headers)


def tensor(**changes):
    return {"name": "text", "shape": [2, 6], "datatype": "FP32", "data": [1] * 12} | changes


@pytest.mark.parametrize("data", [X[:2].tolist(), X[:2].ravel().tolist()])
def test_data_of_json_is_nested_or_flat_and_may_come_before_its_shape(service, encoder, data):
    described = dict(reversed(tensor(data=data).items()))
    answer = infer(service, {"inputs": [described], "outputs": [{"name": "packed_codes"}]}).json()
    [output] = answer["outputs"]
    assert (output["name"], output["shape"], output["datatype"]) == ("packed_codes", [2, BYTES], "UINT8")
    assert output["data"] == encoder.text(X[:2]).ravel().tolist()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "body: JSON: expected '{'"),
        ("{", "body"),
        ("[]", "body: JSON: expected '{'"),
        ({}, "inputs: expected one tensor named text, got []"),
        ({"inputs": []}, "inputs: expected at least 1"),
        ({"inputs": [tensor()] * 2}, "inputs: expected one tensor named text"),
        ({"inputs": [tensor(name="image")]}, "inputs: expected one tensor named text, got ['image']"),
        ({"inputs": [tensor(name=7)]}, "inputs.0.name: expected a string, got 7"),
        ({"inputs": [tensor(datatype="FP64")]}, "inputs.0.datatype: expected FP32, got 'FP64'"),
        ({"inputs": [tensor(shape=[2, 5])]}, "inputs.0.shape: expected [-1, 6], got [2, 5]"),
        ({"inputs": [tensor(shape=[2, 6, 1])]}, "inputs.0.shape"),
        ({"inputs": [tensor(shape=[-1, 6])]}, "inputs.0.shape"),
        ({"inputs": [tensor(shape=[True, 6])]}, "inputs.0.shape"),
        ({"inputs": [tensor(shape="2")]}, "inputs.0.shape"),
        ({"inputs": [tensor(shape=[0, 6], data=[])]}, "inputs.0.shape: expected 1 to 256 rows, got 0"),
        ({"inputs": [tensor(shape=[257, 6], data=[1] * 1542)]}, "inputs.0.shape: expected 1 to 256 rows"),
        ({"inputs": [tensor(shape=[2_000_000_000, 6])]}, "inputs.0.shape"),
        ({"inputs": [tensor(data=[1] * 11)]}, "inputs.0.data: expected 12 numbers for shape [2, 6], got 11"),
        ({"inputs": [tensor(data=[1] * 13)]}, "inputs.0.data: expected 12 numbers"),
        ({"inputs": [tensor(data=[1] * 11 + ["1"])]}, "inputs.0.data.11: values must be numbers, got '1'"),
        ({"inputs": [tensor(data=[1] * 11 + [None])]}, "inputs.0.data.11: values must be numbers"),
        ({"inputs": [tensor(data=[1] * 11 + [float("nan")])]}, "must be finite, got NaN"),
        ({"inputs": [tensor(data=[1] * 11 + [1e39])]}, "inputs.0.data.11: numbers must be finite"),
        ({"inputs": [tensor(data=[1] * 11 + [10**400])]}, "inputs.0.data.11: numbers must be finite"),
        ({"inputs": [tensor(data=[[1] * 6])]}, "inputs.0.data: expected 2 rows"),
        ({"inputs": [tensor(data=[[1] * 6, [1] * 5])]}, "inputs.0.data.1: expected 6 numbers"),
        ({"inputs": [tensor(data="1")]}, "inputs.0.data"),
        ({"inputs": [tensor(data={})]}, "inputs.0.data"),
        ({"inputs": [{"name": "text", "shape": [1, 6], "datatype": "FP32"}]}, "inputs.0: expected data"),
        ({"inputs": [tensor(extra=1)]}, "inputs.0.extra: unknown"),
        (
            {"inputs": [tensor()], "outputs": [{"name": "bits"}]},
            "outputs.0.name: expected one of packed_codes",
        ),
        ({"inputs": [tensor()], "outputs": [{}]}, "outputs.0.name: missing"),
        ({"inputs": [tensor()], "outputs": ["codes"]}, "outputs.0: JSON: expected '{'"),
        ({"inputs": [tensor()], "id": 7}, "id: expected a string, got 7"),
        ({"inputs": [tensor()], "more": 7}, "more: unknown"),
        ('{"inputs": [{"data": ' + "[" * 60_000, "inputs.0.data"),
        ('{"inputs": [{"data": ["' + '\\"' * 20_000, "inputs.0.data"),
    ],
)
def test_wrong_requests_are_400_with_the_field_in_the_error(service, body, message):
    answer = infer(service, body)
    assert answer.status_code == 400
    assert answer.json().keys() == {"error"}
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("size", "sent", "header", "message"),
    [
        (48, 47, None, "inputs.0.parameters.binary_data_size: expected 48 bytes, got 47"),
        (44, 44, None, "inputs.0.parameters.binary_data_size: expected 48 bytes for shape [2, 6], got 44"),
        (48, 49, None, "body: 1 bytes follow the tensors"),
        (-1, 0, None, "inputs.0.parameters.binary_data_size: expected an int"),
        (48, 48, "999999", "Inference-Header-Content-Length: expected an int"),
        (48, 48, "x", "Inference-Header-Content-Length: expected an int"),
        (48, 48, "-1", "Inference-Header-Content-Length: expected an int"),
    ],
)
def test_binary_tensors_have_the_bytes_they_say(service, size, sent, header, message):
    described = {"name": "text", "shape": [2, 6], "datatype": "FP32"}
    head = json.dumps({"inputs": [described | {"parameters": {"binary_data_size": size}}]}).encode()
    headers = {"Inference-Header-Content-Length": header or str(len(head))}
    answer = infer(service, head + b"\0" * sent, headers=headers)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("binary", "message"),
    [
        (b"\xff\xff\xff\x7fa", "inputs.0.data.0: expected 2147483647 bytes, got 1"),
        (b"\1\0", "inputs.0.data.0: expected 1 bytes, got 0"),
        (b"\1\0\0\0\xff", "inputs.0.data.0: expected UTF-8"),
        (b"\0\0\0\0" * 2, "inputs.0.data: expected 1 elements for shape [1], got 2"),
        (b"", "inputs.0.data: expected 1 elements for shape [1], got 0"),
    ],
)
def test_binary_strings_have_the_lengths_they_say(service, binary, message):
    described = {"name": "text", "shape": [1], "datatype": "BYTES"}
    head = json.dumps({"inputs": [described | {"parameters": {"binary_data_size": len(binary)}}]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = infer(service, head + binary, "icons_strings", headers)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


@pytest.mark.parametrize("path", ["icons_sounds", "other_text", "_text", "icons_text/versions/2", "icons"])
def test_unknown_models_and_versions_are_404(service, path):
    for answer in (
        httpx.get(f"{service}/v2/models/{path}"),
        httpx.get(f"{service}/v2/models/{path}/ready"),
        infer(service, {"inputs": [tensor()]}, path),
    ):
        assert answer.status_code == 404
        assert "expected" in answer.json()["error"]
