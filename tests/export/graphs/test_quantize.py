"""Encoders in less precision: smaller files, nearly the same codes, and refused where they are not."""

import re
import shutil

import keras
import numpy as np
import pytest

from scbch_keras import SCBCH, HashBranch, export
from scbch_keras.codes import pack_codes, unpack_codes
from scbch_keras.export import Evaluation, HashEncoder, TextPipeline
from scbch_keras.export.format import manifest as manifests
from scbch_keras.export.validation import quantization_loss as precision

pytestmark = [
    pytest.mark.release,
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="the same files on every backend"),
]

BITS = 20
WIDTHS = {"image": 256, "text": 200}
WORDS = TextPipeline([f"w{number}" for number in range(WIDTHS["text"])], "counts")


def a_model(*image_layers):
    keras.utils.set_random_seed(5)
    body = keras.Sequential([keras.Input((WIDTHS["image"],)), *image_layers])
    text = HashBranch(BITS, (256,))
    model = SCBCH(bits=BITS, num_classes=4, image_branch=body, text_branch=text)
    model.build({name: (None, width) for name, width in WIDTHS.items()})
    return model


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    model = a_model(keras.layers.Dense(512, activation="relu"))
    folder = tmp_path_factory.mktemp("quantized") / "releases"
    return export.release(model, folder, formats=("onnx",), text=WORDS, quantize=("fp16", "int8"))


def features(name, rows, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, WIDTHS[name]), np.float32)


def test_the_files_are_a_quarter_and_half_as_large(released):
    sizes = {name: entry["bytes"] for name, entry in released.manifest["files"].items()}
    assert sizes["image.int8.onnx"] < 0.3 * sizes["image.onnx"]
    assert sizes["image.fp16.onnx"] < 0.52 * sizes["image.onnx"]
    assert {"text.int8.onnx", "text.fp16.onnx"} <= set(sizes)


@pytest.mark.parametrize("kind", ["int8", "fp16"])
@pytest.mark.parametrize("name", WIDTHS)
def test_a_precision_gives_nearly_the_same_codes_of_features(released, name, kind):
    x = features(name, 400)
    exact = getattr(HashEncoder(released.path), name)(x)
    encoder = HashEncoder(released.path, precision=kind)
    packed, codes = (getattr(encoder, name)(x, packed=packed) for packed in (True, False))
    assert (packed.dtype, codes.dtype) == (np.uint8, np.float32)
    np.testing.assert_array_equal(packed, pack_codes(codes))
    changed = (unpack_codes(packed, BITS) != unpack_codes(exact, BITS)).mean()
    assert changed < (0.02 if kind == "int8" else 0.002)
    noted = released.manifest["encoders"][name][f"onnx_{kind}"]
    assert noted["path"] == f"{name}.{kind}.onnx"
    assert 0 <= noted["changed_bits"] < 0.02
    assert f"'{released.path}'): {BITS} bits, {kind}, image and text" in repr(encoder)


def test_int8_codes_do_not_depend_on_the_rows_beside(released):
    encoder = HashEncoder(released.path, precision="int8", threads=1)
    x = features("image", 64)
    x[:32] *= 1e4
    together, alone = (encoder.image(x, batch_size=size, packed=False) for size in (64, 1))
    # A sum that a processor rounds otherwise may be the next whole number of 8 bits; nothing else may differ.
    step = 0.01
    np.testing.assert_allclose(together, alone, atol=step)
    surely = np.abs(alone) > step
    assert surely.mean() > 0.9
    np.testing.assert_array_equal((together > 0)[surely], (alone > 0)[surely])


def test_strings_are_taken_in_every_precision(released):
    texts = ["W1 w2 w3", "", "unknown w7"] * 20
    exact = HashEncoder(released.path, modalities=("text",)).text(texts)
    for kind in ("int8", "fp16"):
        encoder = HashEncoder(released.path, modalities=("text",), precision=kind)
        np.testing.assert_array_equal(encoder.text(texts), encoder.text(WORDS(texts)))
        assert (encoder.text(texts) != exact).mean() < 0.1


def test_what_is_not_in_the_release_is_refused(released, tmp_path):
    with pytest.raises(ValueError, match=r"precision must be one of .*'fp16'; got 'int4'"):
        HashEncoder(released.path, precision="int4")
    with pytest.raises(ValueError, match="threads must be an int from 1 to 1024, or None; got 0"):
        HashEncoder(released.path, threads=0)
    copy = shutil.copytree(released.path, tmp_path / "copy")
    manifest = manifests.read(copy)
    del manifest["encoders"]["text"]["onnx_int8"]
    manifests.write(copy, manifest)
    with pytest.raises(
        ValueError, match=r"holds no int8 encoder of text; make it with .*quantize=\('int8',\)"
    ):
        HashEncoder(copy, precision="int8")


def an_evaluation(model):
    """Pairs with the first two bits of their codes as the label, so that float32 finds better than chance."""
    chosen = {}
    for name in WIDTHS:
        x = features(name, 400, seed=1)
        first, second = (getattr(model, f"encode_{name}")(x, packed=False, verbose=0)[:, :2] > 0).T
        chosen[name] = x[np.concatenate([np.flatnonzero(2 * first + second == c)[:20] for c in range(4)])]
    labels = np.repeat(np.eye(4, dtype=np.uint8), 20, axis=0)
    return Evaluation.of((chosen, labels), (chosen, labels))


def test_a_precision_that_loses_too_much_is_not_blessed(tmp_path):
    model = a_model(keras.layers.Dense(64, activation="relu"))
    off, outgoing = (
        next(weight for weight in model.image_branch.weights if tuple(weight.shape) == shape)
        for shape in ((64,), (64, BITS))
    )
    # A unit that is always off, with weights so large that the scale of their block rounds the others to 0.
    off.assign(np.where(np.arange(64) == 0, -6e4, 0.0))
    outgoing.assign(np.where(np.arange(64)[:, None] == 0, 1e4, keras.ops.convert_to_numpy(outgoing)))
    too_much = r"onnx_int8 loses [0-9.]+ mAP points on the evaluation; at most 0\.3 are accepted"
    with pytest.warns(UserWarning, match=rf"is not blessed.*{too_much}$"):
        release = export.release(
            model,
            tmp_path / "releases",
            formats=("onnx",),
            quantize=("int8", "fp16"),
            evaluation=an_evaluation(model),
        )
    assert (release.path / "NOT_BLESSED").exists()
    assert (release.path / "INFRA_BLESSED").exists()
    assert not (tmp_path / "releases" / "latest").is_symlink()
    scores = release.manifest["evaluation"]["map"]
    for form, lost in (("onnx_int8", 1), ("onnx_fp16", 0)):
        worse = 100 * max(scores["onnx"][way] - scores[form][way] for way in ("i2t", "t2i"))
        assert round(worse) >= lost
        for name in WIDTHS:
            assert release.manifest["encoders"][name][form]["map_loss"] == worse
    lines = (release.path / manifests.CARD).read_text().splitlines()
    assert any(line.startswith("| `image.int8.onnx` | ") for line in lines)
    # Without an evaluation the bits are counted.
    found = export.validate(release.path)
    assert found.infra == ()
    (reason,) = found.quality
    assert re.match(r"onnx_int8 changes [0-9.]+% of the bits of image; without an evaluation", reason)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantize": "int8"}, "quantize must be a sequence of .*got 'int8'"),
        ({"quantize": ("int4",)}, "quantize must be a sequence of .*'int4'"),
        ({"quantize": ("int8",), "formats": ("saved_model",)}, "quantize makes ONNX files"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        export.release(a_model(keras.layers.Dense(8)), tmp_path / "releases", **arguments)
    assert not list(tmp_path.iterdir())


def test_lost_map_is_judged_where_it_was_measured():
    both = {"image": {"changed_bits": 0.5, "map_loss": 0.31}, "text": {"changed_bits": 0, "map_loss": 0.31}}
    assert precision.refusals({"onnx_int8": both}) == [
        "onnx_int8 loses 0.31 mAP points on the evaluation; at most 0.3 are accepted"
    ]
    assert precision.refusals({"onnx_int8": {"image": {"changed_bits": 0.5, "map_loss": -0.2}}}) == []
    assert precision.refusals({"onnx_int8": {"image": {"changed_bits": 0.02}}}) == []


def test_quantized_encoders_run_in_every_batch_and_are_served_by_triton(released):
    verified = released.manifest["verification"]["encoders"]
    for name in WIDTHS:
        for kind in ("int8", "fp16"):
            assert verified[f"onnx {name}.{kind}"]["batches"][-3:] == [1, 7, 1000]
            assert verified[f"HashEncoder {kind} {name}"]["batches"] == [0, 1, 7, 1000]
            served = f"{released.manifest['name']}_{name}_{kind}"
            assert f"triton/{served}/config.pbtxt" in released.manifest["files"]
    assert "HashEncoder int8 of strings" in verified
