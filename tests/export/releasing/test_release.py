"""release: a real model becomes a verified folder, or nothing at all."""

import hashlib
import importlib
import json
import os
import shutil
import sys
import types

import keras
import numpy as np
import pytest

from scbch_keras import SCBCH, HashBranch, export
from scbch_keras.child import run_module
from scbch_keras.codes import pack_codes
from scbch_keras.export import HammingIndex, HashEncoder
from scbch_keras.export.format import layouts
from scbch_keras.export.format import manifest as manifests
from scbch_keras.export.graphs.probes import ROWS
from scbch_keras.export.releasing import arguments, store
from scbch_keras.export.releasing import release as publish
from scbch_keras.export.validation import verify
from scbch_keras.export.validation.evaluation import Evaluation
from scbch_keras.methods.infonce import InfoNCE
from scbch_keras.preprocessing.keras_file import load_in_float32

BACKEND = keras.backend.backend()
# JAX's and PyTorch's releases are made alike, in child processes; TensorFlow's in its own.
in_both_ways = pytest.mark.skipif(
    BACKEND == "jax", reason="a release by child processes, as on torch; runs there"
)
BITS = 20
PICTURE, WORDS = (12, 10, 1), 30
SIGNATURES = {"encode_image": "image", "encode_text": "text"}
OTHER = Evaluation.of(*[({"image": np.ones((2, 3)), "text": np.ones((2, 3))}, np.ones((2, 1), "uint8"))] * 2)
SIZES = ("image", "text")
LABEL_NAMES = ["cat", "dog", "sea", "grass"]

CUSTOM_LAYERS = """
import keras

@keras.saving.register_keras_serializable("released_layers")
class Doubled(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs

@keras.saving.register_keras_serializable("released_layers")
class Noisy(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed = keras.random.SeedGenerator(1)

    def call(self, inputs):
        return inputs + keras.random.normal(keras.ops.shape(inputs), seed=self.seed)
"""


def data(rows, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.normal(size=(rows, *PICTURE)).astype("float32"),
        "text": (rng.random((rows, WORDS)) < 0.2).astype("float32"),
    }


def picture_body(*extra):
    return keras.Sequential(
        [
            keras.Input(PICTURE),
            keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            keras.layers.BatchNormalization(),
            *extra,
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dropout(0.3),
        ]
    )


def small_model(*extra, method=SCBCH, **settings):
    return method(
        bits=BITS,
        num_classes=4,
        **settings,
        image_branch=picture_body(*extra),
        text_branch=HashBranch(BITS, (1024, 1024)),
    )


def built_model(*extra, **settings):
    model = small_model(*extra, **settings)
    model.build({"image": (None, *PICTURE), "text": (None, WORDS)})
    return model


def content(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    model = small_model(neighbors=5)
    model.compile(keras.optimizers.Adam(1e-3))
    labels = (np.random.default_rng(1).random((96, 4)) < 0.4).astype("uint8")
    model.fit(data(96), labels, batch_size=32, epochs=1, verbose=0)
    return model


@pytest.fixture(scope="module")
def released(model, tmp_path_factory):
    sets = [
        (data(rows, seed), np.eye(4, dtype="uint8")[np.arange(rows) % 4]) for rows, seed in ((8, 1), (20, 2))
    ]
    return export.release(
        model,
        tmp_path_factory.mktemp("base") / "made" / "icons",
        label_names=LABEL_NAMES,
        training={"recipe": {"noise": 0.5}},
        evaluation=Evaluation.of(*sets),
    )


@pytest.mark.release
def test_a_release_holds_what_its_manifest_says_and_nothing_else(released):
    assert released.version == 1
    visible = [path.name for path in released.path.parent.iterdir() if not path.name.startswith(".")]
    assert sorted(visible) == ["1", "latest"]
    assert os.readlink(released.path.parent / "latest") == "1"
    manifest = json.loads((released.path / "manifest.json").read_text())
    assert manifest == released.manifest
    found = {path for path in released.path.rglob("*") if path.is_file()}
    assert {path.relative_to(released.path).as_posix() for path in found} == {
        *manifest["files"],
        *("manifest.json", "BLESSED", "INFRA_BLESSED"),
    }
    assert manifest["files"].keys() == {
        *("model.keras", "image.onnx", "text.onnx", "MODEL_CARD.md"),
        *(f"saved_model/icons/1/{name}" for name in ("saved_model.pb", "fingerprint.pb")),
        *(f"saved_model/icons/1/variables/variables.{name}" for name in ("index", "data-00000-of-00001")),
        "saved_model/icons/1/assets.extra/tf_serving_warmup_requests",
        *(f"triton/icons_{name}/{file}" for name in SIZES for file in ("config.pbtxt", "1/model.onnx")),
    }
    for name, entry in manifest["files"].items():
        stored = (released.path / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(stored).hexdigest(), "bytes": len(stored)}
    assert (manifest["bits"], manifest["packing"]["bytes"]) == (BITS, 3)
    assert manifest["training_backend"] == BACKEND
    assert {"keras", "tensorflow", "tf2onnx", "onnxruntime", "numpy"} <= manifest["libraries"].keys()
    assert manifest["signatures"]["encode_image"]["inputs"] == {
        "image": {"shape": [None, *PICTURE], "dtype": "float32"}
    }
    assert (manifest["label_names"], manifest["training"]) == (LABEL_NAMES, {"recipe": {"noise": 0.5}})
    assert set(manifest["evaluation"]["map"]) == {"saved_model", "onnx"}
    assert released.validation.blessed
    assert manifest["validation"]["blessed"]


@pytest.mark.release
def test_each_server_finds_its_layout(released):
    described = released.manifest["layouts"]
    assert (released.path / described["tensorflow_serving"]["model_base_path"] / "1/saved_model.pb").is_file()
    assert described["kserve"]["storage"] == described["tensorflow_serving"]["model_base_path"]
    for name, onnx_file in described["triton"]["models"].items():
        model = released.path / "triton" / name / "1" / "model.onnx"
        assert os.path.samefile(model, released.path / onnx_file)
    config = (released.path / "triton/icons_image/config.pbtxt").read_text()
    assert 'name: "image"\n  data_type: TYPE_FP32\n  dims: [ 12, 10, 1 ]' in config
    assert 'name: "packed_codes"\n  data_type: TYPE_UINT8\n  dims: [ 3 ]' in config


@pytest.mark.skipif(BACKEND != "torch", reason="the same on every backend; runs on torch")
def test_triton_reads_the_configurations():
    text_format = pytest.importorskip("google.protobuf.text_format")
    triton = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    pictures = manifests.signature("image", [None, None, None, 3], BITS)
    words = manifests.signature("text", [None], BITS, "string")
    config, raw = (
        text_format.Parse(layouts.triton_config("icons_x", signature), triton.ModelConfig())
        for signature in (pictures, words)
    )
    assert (config.name, config.backend, config.max_batch_size) == ("icons_x", "onnxruntime", 1024)
    assert config.HasField("dynamic_batching")
    tensors = [(tensor.name, list(tensor.dims)) for tensor in (*config.input, *config.output)]
    assert tensors == [("image", [-1, -1, 3]), ("packed_codes", [3]), ("codes", [BITS])]
    types = [tensor.data_type for tensor in (*config.input, *config.output)]
    assert types == [triton.TYPE_FP32, triton.TYPE_UINT8, triton.TYPE_FP32]
    # A string a row has no dimension but the batch; Triton gives it one, and takes it away again.
    assert (raw.input[0].data_type, list(raw.input[0].dims)) == (triton.TYPE_STRING, [1])
    assert raw.input[0].HasField("reshape")
    assert not raw.input[0].reshape.shape


@pytest.mark.release
def test_the_model_card_says_what_the_manifest_says(released):
    card = (released.path / "MODEL_CARD.md").read_text()
    score = released.manifest["evaluation"]["map"]["onnx"]
    for said in (
        "# icons, version 1",
        "20 bits in 3 bytes",
        "4: cat, dog, sea, grass",
        "| `recipe.noise` | 0.5 |",
        f"| onnx | {score['i2t']:.4f} | {score['t2i']:.4f} | {score['mean']:.4f} |",
        '--model_base_path="$PWD/saved_model/icons"',
        "| `image` | 120 float values, shape (12, 10, 1) in C order |",
    ):
        assert said in card


@pytest.mark.release
@pytest.mark.parametrize(
    "said",
    [
        "icons",
        'a: "b" # c',
        "---\n- x",
        "\u2028\x7f\x85\\ \u00e9 \U0001f600",
        "!!python/object:os.system",
        "yes",
        "1e3",
        "",
    ],
)
def test_the_front_matter_of_a_card_is_yaml_whatever_the_names(released, said):
    yaml = pytest.importorskip("yaml")
    from scbch_keras.export.releasing.card import model_card

    manifest = {**released.manifest, "name": said, "training": {"data": {"title": said}, "license": said}}
    scores = {"i2t": 0.00001, "t2i": 1.0, "mean": 0.5}
    manifest["evaluation"] = {**manifest["evaluation"], "map": {"onnx": scores}}
    card = model_card(manifest)
    assert card.startswith("---\n")
    found = yaml.safe_load(card[4:].split("\n---\n")[0])
    assert found["license"] == said
    assert found["library_name"] == "scbch_keras"
    assert "onnx" in found["tags"]
    [entry] = found["model-index"]
    [result] = entry["results"]
    assert entry["name"] == said
    assert result["dataset"]["name"] == said or not said
    assert [metric["value"] for metric in result["metrics"]] == [0.00001, 1.0]


@pytest.mark.release
@pytest.mark.parametrize(
    "text", ["<script>x</script>", "a\u202eb\u2066", "[a](http://b.c)|`", "\x1b[2J\n# x"]
)
def test_a_card_shows_hostile_text_as_text(released, text):
    from scbch_keras.export.releasing.card import model_card

    manifest = {**released.manifest, "name": text, "label_names": [text], "training": {text: text}}
    body = model_card(manifest).split("\n---\n", 1)[1]
    assert not set(body) & set("\u202e\u2066\x1b")
    assert "\n# x" not in body
    prose = body.split("## Training")[0]
    assert "<script" not in prose
    assert "](" not in prose.replace("\\]", "")


@pytest.mark.release
def test_serving_warms_up_with_requests_of_one_row_and_of_many(released):
    tf = pytest.importorskip("tensorflow")
    from tensorflow.core.framework import tensor_pb2

    from scbch_keras.export.graphs.warmup import prediction_log

    path = released.path / "saved_model/icons/1/assets.extra/tf_serving_warmup_requests"
    rows = {}
    for stored in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = prediction_log().FromString(stored).predict_log.request
        assert request.model_spec.name == "icons"
        tensor = tensor_pb2.TensorProto.FromString(dict(request.inputs).popitem()[1])
        rows.setdefault(request.model_spec.signature_name, []).append(tensor.tensor_shape.dim[0].size)
    assert rows == {name: [1, 32] for name in released.manifest["signatures"]}


@pytest.mark.release
def test_every_exported_encoder_was_verified(released):
    encoders = released.manifest["verification"]["encoders"]
    assert set(encoders) == {
        *("saved_model encode_image", "saved_model encode_text", "onnx image", "onnx text"),
        *("saved_model serving_default image", "saved_model serving_default text"),
        *("HashEncoder image", "HashEncoder text"),
    }
    for what, found in encoders.items():
        assert found["batches"][-3:] == [1, 7, 1000]
        assert found["batches"][0] == 0 or what.startswith("onnx")
        assert found["bits_compared"] == ROWS * BITS / (2 if "serving_default" in what else 1)
        assert found["bits_different"] <= found["bits_near_zero"]
        assert found["largest_code_difference"] <= 1e-5


@pytest.mark.release
def test_the_encoder_gives_the_models_codes(model, released):
    encoder = HashEncoder(released.path.parent / "latest")
    assert encoder.bits == BITS
    x = data(300, seed=7)
    for name in ("image", "text"):
        expected = getattr(model, f"encode_{name}")(x[name], packed=False, verbose=0)
        codes = getattr(encoder, name)(x[name], packed=False, batch_size=64)
        np.testing.assert_allclose(codes, expected, atol=1e-5)
        packed = getattr(encoder, name)(x[name])
        surely = np.abs(expected) > 1e-5
        np.testing.assert_array_equal(
            np.unpackbits(packed, axis=1, count=BITS)[surely], (expected > 0)[surely]
        )
    index = HammingIndex(encoder.bits)
    index.add(encoder.image(x["image"]), ids=np.arange(1000, 1300))
    ids, distances = index.search(encoder.image(x["image"][5:6]), k=1)
    assert distances[0, 0] == 0
    assert ids[0, 0] <= 1005


@pytest.mark.release
@in_both_ways
def test_plain_tensorflow_serves_the_saved_model(model, released, tmp_path, having_imported):
    x = data(9, seed=8)
    np.savez(tmp_path / "x.npz", **x)
    program = f"""
import numpy as np
import tensorflow as tf
x = np.load({str(tmp_path / "x.npz")!r})
loaded = tf.saved_model.load({str(released.path / "saved_model/icons/1")!r})
results = {{}}
def feature(values):
    return tf.train.Feature(float_list=tf.train.FloatList(value=values.ravel()))
def serve(*examples):
    rows = [tf.train.Example(features=tf.train.Features(feature=example)) for example in examples]
    return loaded.signatures["serving_default"](examples=tf.constant([row.SerializeToString() for row in rows]))
image, text = feature(x["image"][0]), feature(x["text"][0])
outputs = serve({{"image": image, "text": text}}, {{"text": text}}, {{}}, {{"image": image}})
results |= {{f"serving_default {{key}}": value.numpy() for key, value in outputs.items()}}
for wrong in (x["text"][0][:-1], x["text"].ravel()):
    try:
        serve({{"text": feature(wrong)}}, {{"text": text}})
    except tf.errors.InvalidArgumentError as error:
        assert "text must be a list of 30 values" in str(error) or "reshape" in str(error)
    else:
        raise SystemExit("a list of a wrong length was taken")
for name, modality in {SIGNATURES!r}.items():
    outputs = loaded.signatures[name](**{{modality: tf.constant(x[modality])}})
    assert set(outputs) == {{"codes", "packed_codes"}}
    results |= {{f"{{name}} {{key}}": value.numpy() for key, value in outputs.items()}}
np.savez({str(tmp_path / "out.npz")!r}, **results)
"""
    finished = having_imported("tensorflow", [sys.executable, "-c", program])
    assert finished.returncode == 0, finished.stderr
    with np.load(tmp_path / "out.npz") as results:
        for name, modality in SIGNATURES.items():
            codes, packed = results[f"{name} codes"], results[f"{name} packed_codes"]
            expected = getattr(model, f"encode_{modality}")(x[modality], packed=False, verbose=0)
            np.testing.assert_allclose(codes, expected, atol=1e-5)
            assert (codes.dtype, packed.dtype) == (np.float32, np.uint8)
            np.testing.assert_array_equal(packed, pack_codes(codes))
            has = results[f"serving_default has_{modality}"]
            assert has.tolist() == [True, modality == "text", False, modality == "image"]
            np.testing.assert_allclose(
                results[f"serving_default {modality}_codes"], expected[:1] * has[:, None], atol=1e-5
            )
            assert not results[f"serving_default {modality}_packed_codes"][~has].any()


@pytest.mark.release
def test_each_weight_is_stored_once(model, released):
    size = 4 * sum(
        int(np.prod(weight.shape))
        for branch in (model.image_branch, model.text_branch)
        for weight in branch.weights
    )
    stored = {name: entry["bytes"] for name, entry in released.manifest["files"].items()}
    onnx_files = stored["image.onnx"] + stored["text.onnx"]
    variables = sum(
        count for name, count in stored.items() if name.startswith("saved_model/icons/1/variables")
    )
    for written in (onnx_files, variables):
        assert size <= written + 1000
        assert written < 1.02 * size + 30_000


@pytest.mark.release
def test_the_onnx_files_name_their_tensors_and_take_any_batch(released):
    onnx = pytest.importorskip("onnx")
    for name, width in (("image", PICTURE), ("text", (WORDS,))):
        graph_model = onnx.load(released.path / f"{name}.onnx")
        opset = released.manifest["encoders"][name]["onnx"]["opset"]
        assert [entry.version for entry in graph_model.opset_import if entry.domain == ""] == [opset]
        tensors = {
            tensor.name: [dim.dim_param or dim.dim_value for dim in tensor.type.tensor_type.shape.dim]
            for tensor in (*graph_model.graph.input, *graph_model.graph.output)
        }
        assert tensors == {name: ["batch", *width], "packed_codes": ["batch", 3], "codes": ["batch", BITS]}
        assert [output.name for output in graph_model.graph.output] == ["packed_codes", "codes"]
        constants = [list(constant.dims) for constant in graph_model.graph.initializer]
        assert constants.count([1024, 1024]) == (1 if name == "text" else 0)


@pytest.mark.release
def test_the_released_keras_file_is_the_model(model, released):
    loaded = keras.saving.load_model(released.path / "model.keras")
    x = data(20, seed=9)
    np.testing.assert_array_equal(
        loaded.encode_text(x["text"], verbose=0), model.encode_text(x["text"], verbose=0)
    )


@pytest.mark.release
def test_a_flipped_byte_in_a_release_is_refused(released, tmp_path):
    copy = shutil.copytree(released.path, tmp_path / "copy")
    stored = bytearray((copy / "text.onnx").read_bytes())
    stored[len(stored) // 2] ^= 16
    (copy / "text.onnx").write_bytes(stored)
    with pytest.raises(ValueError, match=r"text\.onnx is not the file that was released"):
        HashEncoder(copy)


@pytest.fixture
def user_layers(tmp_path, monkeypatch):
    """A module of the user's, found by the import path of this process alone."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "released_layers.py").write_text(CUSTOM_LAYERS)
    monkeypatch.syspath_prepend(source)
    monkeypatch.delitem(sys.modules, "released_layers", raising=False)
    return importlib.import_module("released_layers")


@pytest.mark.release
@in_both_ways
def test_a_later_version_moves_latest_and_may_hold_one_format_another_method_and_user_layers(
    released, user_layers, tmp_path
):
    folder = shutil.copytree(released.path.parent, tmp_path / "icons", symlinks=True)
    model = built_model(user_layers.Doubled(), method=InfoNCE)
    later = export.release(model, folder, formats=("saved_model",), version=1_700_000_000)
    assert later.path == folder / "1700000000"
    assert os.readlink(folder / "latest") == "1700000000"
    assert not list(later.path.glob("*.onnx"))
    with pytest.raises(ValueError, match="holds no ONNX files"):
        HashEncoder(folder / "latest")
    assert HashEncoder(folder / "1").bits == BITS
    assert arguments.free_version(folder, None) == 1_700_000_001


@pytest.mark.release
@in_both_ways
def test_an_export_that_differs_from_the_model_fails_and_leaves_nothing(user_layers, tmp_path):
    # Random at inference, so that nothing can equal it.
    model = built_model(user_layers.Noisy())
    with pytest.raises(RuntimeError, match=r"(?s)verifying.*encode_image differs from the model"):
        export.release(model, tmp_path / "releases", formats=["saved_model"])
    assert not (tmp_path / "releases").exists()


@pytest.mark.release
@pytest.mark.skipif(BACKEND != "torch", reason="needs a child process; on JAX the same as on torch")
def test_a_layer_that_no_other_process_can_import_fails_and_leaves_nothing(tmp_path):
    module = types.ModuleType("written_in_a_notebook")
    exec(CUSTOM_LAYERS.replace("released_layers", "notebook"), module.__dict__)
    model = built_model(module.Doubled())
    with pytest.raises(RuntimeError, match=r"(?s)child process.*No module named 'written_in_a_notebook'"):
        export.release(model, tmp_path / "releases")
    assert content(tmp_path) == []


@pytest.mark.skipif(BACKEND == "tensorflow", reason="builds in this process, which knows the layer")
def test_a_layer_from_a_script_is_refused_with_the_remedy(tmp_path):
    module = types.ModuleType("__main__")
    exec(CUSTOM_LAYERS.replace("released_layers", "script"), module.__dict__)
    with pytest.raises(ValueError, match=r"Doubled, defined in __main__.*move it to a module"):
        export.release(built_model(module.Doubled()), tmp_path / "releases")
    assert content(tmp_path) == []


@pytest.mark.release
@in_both_ways
def test_a_model_that_holds_code_is_refused_and_leaves_nothing(tmp_path):
    model = built_model(keras.layers.Lambda(lambda x: x + 1))
    with pytest.raises(RuntimeError, match=r"(?s)exporting the model.*safe_mode"):
        export.release(model, tmp_path / "releases")
    assert content(tmp_path) == []


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_model_trained_in_half_precision_is_exported_in_float32(tmp_path, policy):
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        half = built_model()
    finally:
        keras.config.set_dtype_policy(previous)
    half.compile(keras.optimizers.Adam())
    half.optimizer.build(half.trainable_variables)
    half.save(tmp_path / "half.keras")
    loaded = load_in_float32(tmp_path / "half.keras")
    full = built_model()
    for branch in ("image_branch", "text_branch"):
        getattr(full, branch).set_weights(getattr(half, branch).get_weights())
    x = data(50)
    for name in ("image", "text"):
        codes = [
            getattr(each, f"encode_{name}")(x[name], packed=False, verbose=0) for each in (half, loaded, full)
        ]
        np.testing.assert_allclose(codes[1], codes[2], atol=1e-6)
        assert np.abs(codes[0] - codes[2]).max() > 1e-5


def refuse(monkeypatch):
    """From here on, any work at all is an error."""

    def work(*arguments, **keywords):
        raise AssertionError("work was done before the arguments were checked")

    monkeypatch.setattr(SCBCH, "save", work)
    monkeypatch.setattr(publish, "run_module", work)


def test_an_existing_version_is_refused_before_any_work(model, tmp_path, monkeypatch):
    refuse(monkeypatch)
    (tmp_path / "3").mkdir()
    with pytest.raises(FileExistsError, match="version 3 exists already"):
        export.release(model, tmp_path, version=3)
    assert content(tmp_path) == ["3"]


def test_an_unbuilt_model_is_refused_before_any_work(tmp_path, monkeypatch):
    refuse(monkeypatch)
    half = small_model()
    half.image_branch.build((None, *PICTURE))
    for unbuilt in (small_model(), half):
        with pytest.raises(ValueError, match=r"not built.*call fit or build"):
            export.release(unbuilt, tmp_path / "releases")
    assert content(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"formats": ()}, ValueError, "formats"),
        ({"formats": "onnx"}, ValueError, "formats"),
        ({"formats": ("onnx", "tflite")}, ValueError, "tflite"),
        ({"version": 0}, ValueError, "version"),
        ({"version": "1"}, ValueError, "version"),
        ({"version": True}, ValueError, "version"),
        ({"tolerance": -1e-5}, ValueError, "tolerance"),
        ({"tolerance": float("nan")}, ValueError, "tolerance"),
        ({"tolerance": None}, ValueError, "tolerance"),
        ({"name": "a b"}, ValueError, r"name must consist of letters.*got 'a b'"),
        ({"label_names": ["cat", "dog"]}, ValueError, "label_names must be 4 names"),
        ({"training": {"units": (1, 2)}}, ValueError, "training must be a dict of what JSON keeps"),
        ({"evaluation": {}}, TypeError, "evaluation must be an Evaluation"),
        ({"evaluation": OTHER}, ValueError, r"query: image must have shape \(n, 12, 10, 1\); got \(2, 3\)"),
        ({"min_map": 0.5}, ValueError, "min_map needs evaluation"),
        ({"max_map_loss": 2}, ValueError, "max_map_loss must be a number in"),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(model, tmp_path, monkeypatch, arguments, error, message):
    refuse(monkeypatch)
    with pytest.raises(error, match=message):
        export.release(model, tmp_path / "releases", **arguments)
    assert content(tmp_path) == []


def test_what_is_no_scbch_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"model must be an SCBCH or another .*, got Sequential"):
        export.release(picture_body(), tmp_path)


def test_a_folder_that_cannot_take_a_release_is_refused(model, tmp_path, monkeypatch):
    refuse(monkeypatch)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="is a file"):
        export.release(model, tmp_path / "file")
    (tmp_path / "base" / "latest").mkdir(parents=True)
    with pytest.raises(FileExistsError, match="not a symbolic link"):
        export.release(model, tmp_path / "base")


def test_a_missing_package_is_named_with_its_extra(model, tmp_path, monkeypatch):
    refuse(monkeypatch)
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ImportError, match=r"need tf2onnx: .*scbch_keras\[export,onnx\]"):
        export.release(model, tmp_path)


def test_a_branch_too_large_for_an_onnx_file_is_refused(model, tmp_path, monkeypatch):
    refuse(monkeypatch)
    monkeypatch.setattr(arguments, "_ONNX_LIMIT", 1000)
    with pytest.raises(ValueError, match=r"image branch has .* GiB.*formats=\('saved_model',\)"):
        export.release(model, tmp_path, formats=("onnx",))


def test_a_version_that_appears_meanwhile_is_kept_and_latest_stays(tmp_path):
    for name in ("1", "2", ".2-staging"):
        (tmp_path / name).mkdir()
    (tmp_path / "latest").symlink_to("1")
    with pytest.raises(FileExistsError, match="version 2 appeared"):
        store.publish(tmp_path / ".2-staging", tmp_path / "2", as_latest=True)
    assert os.readlink(tmp_path / "latest") == "1"
    assert content(tmp_path) == [".2-staging", store.CHANGING, "1", "2", "latest"]


def test_a_version_is_taken_back_when_latest_cannot_be_moved(tmp_path):
    (tmp_path / ".1-staging").mkdir()
    (tmp_path / "latest").mkdir()
    with pytest.raises(OSError, match="latest"):
        store.publish(tmp_path / ".1-staging", tmp_path / "1", as_latest=True)
    assert content(tmp_path) == [".1-staging", store.CHANGING, "latest"]


def test_a_child_that_fails_is_quoted():
    with pytest.raises(RuntimeError, match=r"(?s)^counting failed .*\(exit status 1\).*No module named"):
        run_module("scbch_keras.export.no_such_step", [], "counting")


def test_versions_are_integers_and_releases_under_way_are_not_among_them(tmp_path):
    for name in ("2", "10", "010", ".11-abc", "latest", "1x", "0"):
        (tmp_path / name).mkdir()
    assert store.versions(tmp_path) == [2, 10]
    assert store.versions(tmp_path / "missing") == []


@pytest.fixture
def probe():
    rng = np.random.default_rng(0)
    codes = rng.uniform(0.1, 1, (100, 12)).astype("float32")
    codes *= rng.choice(np.array([-1, 1], "float32"), codes.shape)
    codes[3, 4] = 5e-6
    return np.arange(100, dtype="float32")[:, None], codes


def compare(probe, codes, packed=None):
    inputs, expected = probe
    packed = pack_codes(np.nan_to_num(codes)) if packed is None else packed

    def encode(x):
        rows = x[:, 0].astype(int)
        return packed[rows], codes[rows]

    return verify.compare("it", encode, inputs, expected, 1e-5)


def test_equal_codes_pass_and_bits_near_zero_are_counted(probe):
    assert compare(probe, probe[1]) == {
        "batches": [0, 1, 7, 92],
        "bits_compared": 1200,
        "bits_near_zero": 1,
        "bits_different": 0,
        "largest_code_difference": 0.0,
    }
    other = probe[1].copy()
    other[3, 4] = -2e-6
    found = compare(probe, other)
    assert (found["bits_near_zero"], found["bits_different"]) == (1, 1)
    assert found["largest_code_difference"] == pytest.approx(7e-6)


@pytest.mark.parametrize("wrong", [2e-5, np.nan, np.inf])
def test_codes_that_differ_are_refused(probe, wrong):
    other = probe[1].copy()
    other[70, 11] += wrong
    with pytest.raises(ValueError, match="differs from the model"):
        compare(probe, other)


def test_bytes_that_differ_are_refused(probe):
    packed = pack_codes(probe[1])
    packed[71, 1] ^= 128
    with pytest.raises(ValueError, match="bit 8 of row 71"):
        compare(probe, probe[1], packed)


def test_results_of_another_form_are_refused(probe):
    with pytest.raises(ValueError, match="gives float64"):
        compare(probe, probe[1].astype("float64"))
    with pytest.raises(ValueError, match=r"gives uint8 \(0, 3\)"):
        compare(probe, probe[1], np.zeros((100, 3), "uint8"))
