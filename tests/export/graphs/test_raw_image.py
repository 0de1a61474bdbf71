"""A release that takes pictures: HashEncoder, image_raw.onnx and encode_image_bytes give the model's codes."""

import importlib
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from scbch_keras import SCBCH, HashBranch, export
from scbch_keras.codes import pack_codes
from scbch_keras.export import HashEncoder, ImagePipeline
from scbch_keras.export.format import manifest as manifests
from scbch_keras.export.graphs.probes import PICTURES, picture_probes
from scbch_keras.export.releasing import arguments
from scbch_keras.preprocessing.pictures import decoded

PIL = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="a release by child processes, as on torch; runs there"
)

BITS, WORDS = 20, 9
SIZE = (24, 20)

CUSTOM_LAYER = """
import keras

@keras.saving.register_keras_serializable("picture_layers")
class Centred(keras.layers.Layer):
    def build(self, input_shape):
        # As in Keras' own preprocessing: a tensor that is no weight.
        self.mean = keras.ops.convert_to_tensor([123.0, 117.0, 104.0])

    def call(self, inputs):
        return (inputs - self.mean) / 127.5
"""


def small_model(dimensions):
    keras.utils.set_random_seed(3)
    model = SCBCH(
        bits=BITS,
        num_classes=4,
        image_branch=HashBranch(BITS, (16,)),
        text_branch=HashBranch(BITS, (8,)),
    )
    model.build({"image": (None, dimensions), "text": (None, WORDS)})
    return model


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A convolution behind a layer of the user's, found by the import path of this process alone."""
    source = tmp_path_factory.mktemp("source")
    (source / "picture_layers.py").write_text(CUSTOM_LAYER)
    sys.path.insert(0, str(source))
    try:
        layers = importlib.import_module("picture_layers")
        keras.utils.set_random_seed(4)
        yield keras.Sequential(
            [
                keras.Input((None, None, 3)),
                layers.Centred(),
                keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
                keras.layers.BatchNormalization(),
                keras.layers.GlobalAveragePooling2D(),
            ]
        )
    finally:
        sys.path.remove(str(source))
        del sys.modules["picture_layers"]


@pytest.fixture(scope="module")
def pipeline(backbone):
    return ImagePipeline(SIZE, backbone)


@pytest.fixture(scope="module")
def model(pipeline):
    return small_model(pipeline.dimensions)


@pytest.fixture(scope="module")
def released(model, pipeline, tmp_path_factory):
    return export.release(model, tmp_path_factory.mktemp("releases"), image=pipeline)


@pytest.fixture(scope="module")
def files():
    return [content for seed in range(3) for content in picture_probes(seed=seed)]


@pytest.fixture(scope="module")
def expected(model, pipeline, files):
    return model.encode_image(pipeline(files), packed=False, verbose=0)


def check(packed, codes, expected):
    np.testing.assert_allclose(codes, expected, atol=1e-5)
    assert (codes.dtype, packed.dtype) == (np.float32, np.uint8)
    np.testing.assert_array_equal(packed, pack_codes(codes))


@pytest.mark.release
def test_the_manifest_describes_the_raw_image_encoder(released):
    described = released.manifest["encoders"]["raw_image"]
    assert described["pipeline"]["path"] == "image_pipeline.json"
    assert (described["pipeline"]["size"], described["pipeline"]["backbone"]) == (
        list(SIZE),
        "image_backbone.keras",
    )
    assert described["saved_model"]["signature"] == "encode_image_bytes"
    assert (described["onnx"]["path"], described["onnx"]["opset"]) == ("image_raw.onnx", 18)
    signature = released.manifest["signatures"]["encode_image_bytes"]
    assert signature["inputs"] == {"image_bytes": {"shape": [None], "dtype": "string"}}
    assert signature["outputs"] == released.manifest["signatures"]["encode_image"]["outputs"]
    assert {"image_pipeline.json", "image_backbone.keras", "image_raw.onnx"} <= released.manifest[
        "files"
    ].keys()


@pytest.mark.release
def test_every_encoder_of_pictures_was_verified(released):
    found = released.manifest["verification"]["encoders"]
    for name in ("saved_model encode_image_bytes", "HashEncoder of pictures", "onnx image_raw"):
        assert found[name]["bits_compared"] == PICTURES * BITS
        assert found[name]["bits_different"] <= found[name]["bits_near_zero"]
        assert found[name]["largest_code_difference"] <= 1e-5


@pytest.mark.release
def test_search_takes_the_path_of_a_picture_file_for_a_picture(released, files, tmp_path, monkeypatch):
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from scbch_keras.training.cli import serving as commands_serving

    monkeypatch.chdir(tmp_path)
    names = [f"{row} {kind}.JPG" for row, kind in enumerate(["a dog", "x", "y"])]
    for name, content in zip(names, files, strict=False):
        (tmp_path / name).write_bytes(content)
    encoder = HashEncoder(released.path)
    export.encode_file(encoder, "image", [(names, names)], "codes.npy")
    arguments = [
        "search",
        "codes.npy",
        *names,
        "--release",
        str(released.path),
        "--k",
        "3",
        "--out",
        "r.json",
    ]
    found = {}
    for extra in ([], ["--modality", "image"]):
        done = CliRunner().invoke(commands_serving.app, [*arguments, *extra])
        assert done.exit_code == 0, done.output
        assert (f"{names[0]} is searched for as a picture" in done.output) == (not extra)
        found[bool(extra)] = json.loads((tmp_path / "r.json").read_text())
    assert found[False] == found[True]
    assert [row["distance"] for row in found[False] if row["id"] == row["query"]] == [0] * 3


@pytest.mark.release
def test_hash_encoder_gives_the_models_codes_of_pictures_in_every_form(released, files, expected, tmp_path):
    encoder = HashEncoder(released.path, modalities=["image"])
    paths = [tmp_path / str(place) for place in range(len(files))]
    for path, content in zip(paths, files, strict=True):
        path.write_bytes(content)
    for form in (
        files,
        tuple(paths),
        [str(path) for path in paths],
        [decoded(content) for content in files],
        [*files[:5], *paths[5:]],
    ):
        check(encoder.image(form), encoder.image(form, packed=False, batch_size=7), expected)
    same = np.stack([decoded(files[0])] * 5)
    check(encoder.image(same), encoder.image(same, packed=False), expected[[0] * 5])
    for single in (files[0], paths[0], str(paths[0])):
        np.testing.assert_array_equal(encoder.image(single), encoder.image(files[:1]), strict=True)
    assert encoder.image([]).shape == encoder.image(same[:0]).shape == (0, 3)


@pytest.mark.release
def test_features_are_taken_beside_pictures_and_many_threads_share_an_encoder(
    released, pipeline, files, expected
):
    encoder = HashEncoder(released.path)
    check(encoder.image(pipeline(files)), encoder.image(pipeline(files), packed=False), expected)
    with ThreadPoolExecutor(8) as pool:
        came = list(pool.map(lambda content: encoder.image([content], packed=False), files))
    np.testing.assert_allclose(np.concatenate(came), expected, atol=1e-5)


@pytest.mark.release
def test_the_pipeline_of_a_release_gives_the_features_of_the_training(released, pipeline, files):
    again = ImagePipeline.load(released.path)
    assert (again.size, again.dimensions) == (SIZE, 8)
    np.testing.assert_allclose(again(files), pipeline(files), atol=1e-5)


@pytest.mark.release
def test_image_raw_onnx_takes_pixels_of_any_size_with_standard_operators(released, files, expected):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    stored = onnx.load(released.path / "image_raw.onnx")
    onnx.checker.check_model(stored, full_check=True)
    assert {node.domain for node in stored.graph.node} == {""}
    session = runtime.InferenceSession(released.path / "image_raw.onnx", providers=["CPUExecutionProvider"])
    tensors = {
        tensor.name: (tensor.type, tensor.shape) for tensor in (*session.get_inputs(), *session.get_outputs())
    }
    assert tensors == {
        "pictures": ("tensor(uint8)", ["batch", "height", "width", 3]),
        "packed_codes": ("tensor(uint8)", ["batch", 3]),
        "codes": ("tensor(float)", ["batch", BITS]),
    }
    picture = decoded(files[2])
    check(*session.run(None, {"pictures": np.stack([picture] * 3)}), expected[[2] * 3])


@pytest.mark.release
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="runs once")
def test_plain_tensorflow_serves_picture_files(released, files, expected, tmp_path, having_imported):
    np.savez(tmp_path / "files.npz", files=np.array(files))
    saved_model = released.path / released.manifest["encoders"]["image"]["saved_model"]["path"]
    program = f"""
import numpy as np
import tensorflow as tf
files = np.load({str(tmp_path / "files.npz")!r})["files"].tolist()
serve = tf.saved_model.load({str(saved_model)!r}).signatures["encode_image_bytes"]
outputs = serve(image_bytes=tf.constant(files))
assert set(outputs) == {{"codes", "packed_codes"}}
assert serve(image_bytes=tf.constant([], tf.string))["packed_codes"].shape == (0, 3)
for wrong in (b"", b"GIF89a", files[0][:-2], files[1][:-20]):
    try:
        serve(image_bytes=tf.constant([files[2], wrong]))
    except tf.errors.InvalidArgumentError:
        continue
    raise SystemExit(f"{{wrong[:9]}} gives codes")
np.savez({str(tmp_path / "out.npz")!r}, **{{key: value.numpy() for key, value in outputs.items()}})
"""
    finished = having_imported("tensorflow", [sys.executable, "-c", program])
    assert finished.returncode == 0, finished.stderr
    with np.load(tmp_path / "out.npz") as outputs:
        check(outputs["packed_codes"], outputs["codes"], expected)


@pytest.mark.release
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="runs once")
def test_grey_pixels_are_released_without_a_backbone(tmp_path, files):
    pipeline = ImagePipeline((6, 5))
    model = small_model(30)
    released = export.release(model, tmp_path, formats=["onnx"], image=pipeline)
    assert "image_backbone.keras" not in released.manifest["files"]
    encoder = HashEncoder(released.path)
    expected = model.encode_image(pipeline(files), packed=False, verbose=0)
    check(encoder.image(files), encoder.image(files, packed=False), expected)
    (released.path / "image_raw.onnx").write_bytes(b"another")
    with pytest.raises(ValueError, match=r"image_raw\.onnx has 7 bytes; the manifest says"):
        HashEncoder(released.path).image(files)


@pytest.mark.release
def test_pictures_are_refused_where_the_release_takes_none_or_says_so_wrongly(released, files, tmp_path):
    copy = shutil.copytree(released.path, tmp_path / "copy")
    manifest = manifests.read(copy)

    def opened(raw_image):
        encoders = {
            name: entry for name, entry in manifest["encoders"].items() if name != "raw_image"
        } | raw_image
        manifests.write(copy, {**manifest, "encoders": encoders})
        return HashEncoder(copy)

    for wrong in (files, [decoded(files[0])], decoded(files[0])[None], "one.png"):
        with pytest.raises(ValueError, match=r"got pictures: the release .* takes none.*image=pipeline"):
            opened({}).image(wrong)
    for raw_image in ({}, {"onnx": {"path": "image_raw.onnx"}}, None):
        with pytest.raises(ValueError, match="does not describe its raw_image"):
            opened({"raw_image": raw_image})
    described = manifest["encoders"]["raw_image"]
    swapped = opened({"raw_image": {**described, "onnx": {"path": "image.onnx"}}})
    with pytest.raises(ValueError, match=r"image\.onnx has inputs .*the manifest says .*pictures"):
        swapped.image(files)


@pytest.mark.release
def test_what_is_no_picture_is_refused_with_its_place(released, files):
    encoder = HashEncoder(released.path)
    picture = np.zeros((3, 4, 3), np.uint8)
    for wrong, message in (
        ([files[0], files[3][:-30]], r"pictures: at 1: the picture \(\d+ bytes\): the picture is truncated"),
        (
            [*files[:5], "missing.png"],
            r"pictures: at 5: missing\.png: there is no such file",
        ),
        ([picture, picture.astype("float32")], r"uint8 \(height, width, 3\), got float32 \(3, 4, 3\) at 1"),
        ([picture, picture[..., :1]], r"got uint8 \(3, 4, 1\) at 1"),
        ([picture, None], "must be arrays, paths or bytes, got NoneType at 1"),
        (picture, r"must be uint8 \(n, height, width, 3\), got uint8 \(3, 4, 3\)"),
        (picture[None].astype("float32"), r"got float32 \(1, 3, 4, 3\)"),
        (picture[None, :0], r"got uint8 \(1, 0, 4, 3\)"),
        ("missing.png", r"pictures: at 0: missing\.png: there is no such file"),
        (np.zeros((2, 7), np.float32), r"image features must have shape \(n, 8\); got \(2, 7\)"),
    ):
        with pytest.raises(ValueError, match=message):
            encoder.image(wrong, batch_size=4)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (
            ImagePipeline((2, 3)),
            ValueError,
            r"image gives 6 features; the image branch takes .* shape \(8,\)",
        ),
        ("pixels:8", TypeError, r"image must be an ImagePipeline \(ImageFeatures\.pipeline\(\).*got str"),
    ],
)
def test_another_pipeline_is_refused_before_any_work(model, tmp_path, image, error, message):
    with pytest.raises(error, match=message):
        export.release(model, tmp_path / "releases", image=image)
    assert not list(tmp_path.iterdir())


def test_a_backbone_too_large_for_an_onnx_file_is_refused_before_any_work(
    model, pipeline, tmp_path, monkeypatch
):
    sizes = [
        4 * sum(weight.size for weight in each.get_weights())
        for each in (model.image_branch, pipeline.backbone)
    ]
    monkeypatch.setattr(arguments, "_ONNX_LIMIT", sum(sizes))
    with pytest.raises(ValueError, match=r"image branch with the backbone of image has .*'saved_model',"):
        export.release(model, tmp_path / "releases", formats=["onnx"], image=pipeline)
    assert not list(tmp_path.iterdir())


def test_a_missing_pillow_is_named(model, pipeline, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"with image need PIL: .*scbch_keras\[export,onnx,pictures\]"):
        export.release(model, tmp_path / "releases", image=pipeline)
    assert not list(tmp_path.iterdir())


def test_a_backbone_of_another_form_is_refused():
    flat = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    places = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
    for backbone, size, message in (
        (flat, (8, 9), r"backbone must take \(n, 8, 9, 3\), got \(None, 8, 8, 3\)"),
        (places, (8, 8), r"backbone must give features \(n, d\), got \(None, 6, 6, 2\)"),
        ("vgg19", (8, 8), "backbone must be a built keras.Model .* got str"),
        (flat, [8, 8], r"size must be two whole numbers .* got \[8, 8\]"),
    ):
        with pytest.raises(ValueError, match=message):
            ImagePipeline(size, backbone)


def test_a_picture_of_the_size_needs_no_pillow(tmp_path):
    program = """
import sys
sys.modules["PIL"] = None
import numpy as np
from scbch_keras.preprocessing.pictures import blocks, checked_pictures
picture = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
assert (next(blocks(checked_pictures(picture), (2, 2), 8)) == picture).all()
try:
    next(blocks(checked_pictures(picture), (2, 3), 8))
except ImportError as error:
    assert "pip install 'scbch_keras[pictures]'" in str(error)
else:
    raise SystemExit("resized without Pillow")
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
