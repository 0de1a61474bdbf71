"""A release that takes strings: HashEncoder, text_raw.onnx and encode_raw_text give the model's codes."""

import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from scbch_keras import SCBCH, HashBranch, export
from scbch_keras.codes import pack_codes
from scbch_keras.export import Evaluation, HashEncoder, TextPipeline
from scbch_keras.export.graphs.probes import ROWS, text_probes
from scbch_keras.export.releasing import arguments
from scbch_keras.preprocessing.normalization import NORMALIZATIONS
from tests.servers import onnxruntime_web, page_result, triton

pytestmark = pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="a release by child processes, as on torch; runs there"
)

DOCS = Path(__file__).parents[3] / "docs" / "export.md"
BITS = 20
WORDS = ("dog", "beach", "strasse", "é", "été", "ᄒ", "\U0001fae8", "🚀", "a", "the", "don't", "\u0301")
IDF = np.linspace(1, 7, len(WORDS))


@pytest.fixture(scope="module")
def pipeline():
    return TextPipeline(WORDS, "tfidf", IDF)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    model = SCBCH(
        bits=BITS,
        num_classes=4,
        image_branch=HashBranch(BITS, (8,)),
        text_branch=HashBranch(BITS, (1024, 1024)),
    )
    model.build({"image": (None, 5), "text": (None, len(WORDS))})
    return model


@pytest.fixture(scope="module")
def released(model, pipeline, tmp_path_factory, new_processes):
    pytest.importorskip("tensorflow_text")
    rng = np.random.default_rng(4)
    features = {"image": rng.normal(size=(9, 5)), "text": rng.integers(2, size=(9, len(WORDS)))}
    evaluated = (
        {name: values.astype("float32") for name, values in features.items()},
        np.eye(9, 4, dtype="uint8"),
    )
    # As users have it on the backend whose builds and checks are both in child processes; forks do on the others.
    with new_processes() if keras.backend.backend() == "torch" else contextlib.nullcontext():
        return export.release(
            model,
            tmp_path_factory.mktemp("releases") / "captions",
            text=pipeline,
            evaluation=Evaluation.of(evaluated, evaluated),
        )


@pytest.fixture(scope="module")
def texts(pipeline):
    return [text for seed in range(2) for text in text_probes(pipeline, seed=seed)]


@pytest.fixture(scope="module")
def expected(model, pipeline, texts):
    return model.encode_text(pipeline(texts), packed=False, verbose=0)


def check(packed, codes, expected):
    np.testing.assert_allclose(codes, expected, atol=1e-5)
    assert (codes.dtype, packed.dtype) == (np.float32, np.uint8)
    np.testing.assert_array_equal(packed, pack_codes(codes))


@pytest.mark.release
def test_the_manifest_describes_the_raw_text_encoder(released, pipeline):
    described = released.manifest["encoders"]["raw_text"]
    assert described["pipeline"]["path"] == "text_pipeline.json"
    assert described["pipeline"]["normalization"] == NORMALIZATIONS[pipeline.normalization]
    assert "normalised before by the client" in described["onnx"]["input"]
    assert described["saved_model"]["signature"] == "encode_raw_text"
    assert (described["onnx"]["path"], described["onnx"]["opset"]) == ("text_raw.onnx", 20)
    signature = released.manifest["signatures"]["encode_raw_text"]
    assert signature["inputs"] == {"text": {"shape": [None], "dtype": "string"}}
    assert signature["outputs"] == released.manifest["signatures"]["encode_text"]["outputs"]
    files = released.manifest["files"]
    assert {
        "text_pipeline.json",
        "text_raw.onnx",
        "scbch.js",
        "triton_strings/captions_strings/config.pbtxt",
        "triton_strings/captions_strings/1/model.py",
        "saved_model/captions/1/assets/vocabulary.txt",
    } <= files.keys()
    stored = (released.path / "saved_model/captions/1/assets/vocabulary.txt").read_bytes().decode()
    assert stored.split("\n") == [*WORDS, ""]
    again = TextPipeline.load(released.path / "text_pipeline.json")
    assert (again.vocabulary, again.idf.tolist()) == (WORDS, pipeline.idf.tolist())
    assert "tensorflow-text" in released.manifest["libraries"]


@pytest.mark.release
def test_every_encoder_of_strings_was_verified(released):
    found = released.manifest["verification"]["encoders"]
    for name in ("saved_model encode_raw_text", "HashEncoder of strings", "onnx text_raw"):
        assert found[name]["bits_compared"] == ROWS * BITS
        assert found[name]["bits_different"] <= found[name]["bits_near_zero"]
        assert found[name]["largest_code_difference"] <= 1e-5


@pytest.mark.release
def test_hash_encoder_gives_the_models_codes_of_strings(released, texts, expected):
    encoder = HashEncoder(released.path)
    check(encoder.text(texts), encoder.text(texts, packed=False, batch_size=100), expected)


@pytest.mark.release
def test_text_raw_onnx_takes_normalised_strings_with_standard_operators(released, pipeline, texts, expected):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    stored = onnx.load(released.path / "text_raw.onnx")
    onnx.checker.check_model(stored, full_check=True)
    assert {(entry.domain, entry.version) for entry in stored.opset_import if entry.domain == ""} == {
        ("", 20)
    }
    assert {node.domain for node in stored.graph.node} == {""}
    assert "Normalised before" in stored.graph.input[0].doc_string
    assert {entry.key: entry.value for entry in stored.metadata_props} == {
        "normalization": pipeline.normalization
    }
    session = runtime.InferenceSession(released.path / "text_raw.onnx", providers=["CPUExecutionProvider"])
    tensors = {
        tensor.name: (tensor.type, tensor.shape) for tensor in (*session.get_inputs(), *session.get_outputs())
    }
    assert tensors == {
        "text": ("tensor(string)", ["batch"]),
        "packed_codes": ("tensor(uint8)", ["batch", 3]),
        "codes": ("tensor(float)", ["batch", BITS]),
    }
    check(*session.run(["packed_codes", "codes"], {"text": pipeline.normalize(texts)}), expected)
    check(*session.run(None, {"text": pipeline.normalize(texts[:1])}), expected[:1])


@pytest.mark.release
def test_plain_tensorflow_serves_raw_strings(released, texts, expected, tmp_path, having_imported):
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    program = f"""
import json
import numpy as np
import tensorflow as tf
import tensorflow_text
texts = json.loads(open({str(tmp_path / "texts.json")!r}).read())
loaded = tf.saved_model.load({str(released.path / "saved_model/captions/1")!r})
outputs = loaded.signatures["encode_raw_text"](text=tf.constant(texts))
assert set(outputs) == {{"codes", "packed_codes"}}
nothing = loaded.signatures["encode_raw_text"](text=tf.constant([], tf.string))
assert nothing["packed_codes"].shape == (0, 3)
np.savez({str(tmp_path / "out.npz")!r}, **{{key: value.numpy() for key, value in outputs.items()}})
"""
    finished = having_imported("tensorflow", [sys.executable, "-c", program])
    assert finished.returncode == 0, finished.stderr
    with np.load(tmp_path / "out.npz") as outputs:
        check(outputs["packed_codes"], outputs["codes"], expected)


# servers and browsers

STRINGS = [
    "A DOG, on the BEACH!",
    "(Dog) \u201cDOG\u201d dog\u2026 \u00bfdog?",
    "Stra\u00dfe STRASSE strasse.",
    "E\u0301T\u00c9 caf\u00e9 \u00c9.",
    "DON'T, don\u2019t",
    "\u1112 \U0001fae8, \U0001f680!",
    "the\u3000dog\0beach\u2028a",
    "zebra",
    "...",
    "",
]
"""Raw: with capitals, punctuation and what NFKC, case folding and later versions of Unicode change."""

PAGE = """<!doctype html><meta charset="utf-8"><script type="module">
import * as ort from "./ort/ort.wasm.min.mjs";
import { TextPipeline } from "./release/scbch.js";
const post = (answer) => fetch("/answer", { method: "POST", body: JSON.stringify(answer) });
try {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL("./ort/", location.href).href;
  const load = async (path) => (await fetch(path)).json();
  const pipeline = new TextPipeline(await load("release/text_pipeline.json"));
  const strings = await load("strings.json");
  const session = await ort.InferenceSession.create("release/text_raw.onnx", { executionProviders: ["wasm"] });
  const text = new ort.Tensor("string", pipeline.normalize(strings), [strings.length]);
  const { packed_codes } = await session.run({ text }, ["packed_codes"]);
  const codes = Array.from(packed_codes.data);
  await post({ codes, known: pipeline.known(strings), unknown: pipeline.unknown(strings) });
} catch (error) {
  await post({ error: String(error) });
}
</script>"""


def differing_bits(came, expected):
    return int(np.unpackbits(came ^ expected).sum())


@pytest.fixture(scope="module")
def strings(texts):
    return [*STRINGS, *texts]


@pytest.mark.release
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="the same on every backend; runs on torch")
def test_a_browser_gives_the_codes_of_raw_strings(released, strings, tmp_path):
    (tmp_path / "ort").symlink_to(onnxruntime_web())
    (tmp_path / "release").symlink_to(released.path)
    (tmp_path / "strings.json").write_text(json.dumps(strings))
    (tmp_path / "page.html").write_text(PAGE, encoding="utf-8")
    came = page_result(tmp_path, "page.html")
    assert "error" not in came, came["error"]
    encoder = HashEncoder(released.path)
    codes = np.array(came["codes"], np.uint8).reshape(len(strings), -1)
    assert differing_bits(codes, encoder.text(strings)) == 0
    assert came["known"] == encoder.known_words(strings).tolist()
    assert came["unknown"] == encoder.unknown_words(strings)


@pytest.mark.release
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="the same on every backend; runs on torch")
def test_triton_gives_the_codes_of_raw_strings(released, strings, tmp_path):
    described = released.manifest["layouts"]["triton_strings"]
    encoder = HashEncoder(released.path)
    expected = {
        "packed_codes": encoder.text(strings),
        "codes": encoder.text(strings, packed=False),
        "known_words": encoder.known_words(strings)[:, None],
    }
    np.savez(tmp_path / "given.npz", strings=np.array([text.encode() for text in strings], object))
    (tmp_path / "server").mkdir()
    client = f"""
import sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import tritonclient.http as triton
names = ("packed_codes", "codes", "known_words")
def infer(rows):
    text = triton.InferInput("text", [len(rows), 1], "BYTES")
    text.set_data_from_numpy(rows[:, None])
    client = triton.InferenceServerClient(sys.argv[1], network_timeout=300)  # one must not go from thread to thread
    answer = client.infer({described["model"]!r}, [text], outputs=[triton.InferRequestedOutput(n) for n in names])
    return [answer.as_numpy(name) for name in names]
def refused(rows):
    try:
        infer(rows)
    except triton.InferenceServerException as error:
        return str(error)
strings = np.load({str(tmp_path / "given.npz")!r}, allow_pickle=True)["strings"]
parts = [strings[:1], strings[1:9], *np.array_split(strings[9:], 40)]
with ThreadPoolExecutor(8) as pool:  # at the same time, so that the server puts them together
    wrong = pool.submit(refused, np.array([b"fine", b"\\xff"], object))
    found = list(pool.map(infer, parts))
long = infer(np.array([b"dog " * 300_000, b"beach"] * 4, object))
columns = [np.concatenate(each) for each in zip(*found, strict=True)]
np.savez({str(tmp_path / "out.npz")!r}, error=wrong.result(), long=long[0], **dict(zip(names, columns, strict=True)))
"""
    with triton(released.path / described["model_repository"], tmp_path / "server") as (address, python):
        command = [python, "-c", client, address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as came:
        assert differing_bits(came["packed_codes"], expected["packed_codes"]) == 0
        np.testing.assert_allclose(came["codes"], expected["codes"], atol=1e-6)
        np.testing.assert_array_equal(came["known_words"].reshape(-1, 1), expected["known_words"])
        assert "text must be valid UTF-8" in str(came["error"])
        assert differing_bits(came["long"], encoder.text(["dog " * 300_000, "beach"] * 4)) == 0


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (
            TextPipeline(["one", "two"]),
            ValueError,
            r"text has 2 words; the text branch takes .* shape \(12,\)",
        ),
        (WORDS, TypeError, r"text must be a TextPipeline \(TextFeatures\.pipeline\(\).*got tuple"),
    ],
)
def test_another_pipeline_is_refused_before_any_work(model, tmp_path, text, error, message):
    pytest.importorskip("tensorflow_text")
    with pytest.raises(error, match=message):
        export.release(model, tmp_path / "releases", text=text)
    assert not list(tmp_path.iterdir())


def test_a_missing_tensorflow_text_is_named_with_its_extra(model, pipeline, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_text", None)
    with pytest.raises(ImportError, match=r"with text need tensorflow_text: .*scbch_keras\[export,onnx\]"):
        export.release(model, tmp_path / "releases", text=pipeline)
    assert not list(tmp_path.iterdir())
    assert arguments.checked_formats(("onnx",), pipeline, None) == ("onnx",)
    assert arguments.checked_formats(("saved_model",), None, None) == ("saved_model",)


@pytest.mark.release
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="runs once")
def test_the_examples_of_the_docs_run(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow_text")
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in re.findall(
        r"^```python\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    ):
        exec(compile(code, str(DOCS), "exec"), names)
    assert [path.name for path in sorted((tmp_path / "releases/captions").glob("[!.]*"))] == [
        "1",
        "2",
        "latest",
    ]
