"""validate: a release that is whole, works and finds well enough is blessed, and no other."""

import json
import re
import shutil

import keras
import numpy as np
import pytest

from scbch_keras import SCBCH, HashBranch, export
from scbch_keras.export import Evaluation, HashEncoder, TextPipeline, validate
from scbch_keras.export.format import manifest as manifests
from scbch_keras.export.validation.validate import Criteria, judge

pytestmark = [
    pytest.mark.release,
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="the same on every backend; runs on torch"),
]

BITS, IMAGE = 12, 6
WORDS = ("dog", "cat", "sea", "grass")


def a_model(bits=BITS):
    keras.utils.set_random_seed(5)
    model = SCBCH(
        bits=bits, num_classes=3, image_branch=HashBranch(bits, (8,)), text_branch=HashBranch(bits, (8,))
    )
    model.build({"image": (None, IMAGE), "text": (None, len(WORDS))})
    return model


@pytest.fixture(scope="module")
def evaluation():
    rng = np.random.default_rng(0)

    def a_set(rows):
        labels = rng.integers(2, size=(rows, 3), dtype="uint8")
        features = {"image": rng.normal(size=(rows, IMAGE)), "text": rng.random((rows, len(WORDS)))}
        return {name: values.astype("float32") for name, values in features.items()}, labels

    return Evaluation.of(a_set(10), a_set(50))


@pytest.fixture(scope="module")
def released(evaluation, tmp_path_factory):
    """Version 1 blessed, and `latest`; version 2, of the same model, too bad for its min_map."""
    pytest.importorskip("tensorflow_text")
    folder = tmp_path_factory.mktemp("base") / "icons"
    settings = {"text": TextPipeline(WORDS), "evaluation": evaluation}
    export.release(a_model(), folder, **settings)
    with pytest.warns(UserWarning, match=r"version 2 .* is not blessed.*is below min_map, 1"):
        second = export.release(a_model(), folder, formats=("onnx",), min_map=1, **settings)
    assert not second.validation.blessed
    return folder


@pytest.fixture
def version(released, tmp_path):
    """Version 1, to be damaged. No hard links: what is done to one file is done to no other."""
    return shutil.copytree(released / "1", tmp_path / "1")


def marks(version):
    return {name for name in manifests.MARKERS if (version / name).exists()}


def edited(version, change):
    manifest = manifests.read(version)
    change(manifest)
    manifests.write(version, manifest)


def test_a_version_that_finds_too_badly_stays_and_latest_does_not_move(released):
    assert marks(released / "2") == {"NOT_BLESSED", "INFRA_BLESSED"}
    assert (released / "latest").resolve() == released / "1"
    stored = json.loads((released / "2" / "manifest.json").read_text())["validation"]
    assert "below min_map, 1" in stored["quality"]["reasons"][0]
    # The release at `latest` was measured beside it, and is the same model.
    baseline = stored["quality"]["baseline"]
    assert baseline["path"] == str(released / "1")
    assert baseline["map"]["onnx"]["mean"] == pytest.approx(json_map(released / "2"), abs=1e-9)


def json_map(version):
    return manifests.read(version)["evaluation"]["map"]["onnx"]["mean"]


def test_a_whole_release_is_validated_and_blessed_in_a_fresh_process(released, evaluation):
    (released / "2" / ".manifest.json-0123456789ab").write_text("of a killed validation")
    found = validate(released / "2", evaluation=evaluation)
    assert (found.blessed, found.infra, found.quality) == (True, (), ())
    assert marks(released / "2") == {"BLESSED", "INFRA_BLESSED"}
    stored = manifests.read(released / "2")["validation"]
    assert stored["evaluation"]["map"]["onnx"]["mean"] == pytest.approx(json_map(released / "2"))
    assert set(stored["encoders"]) == {
        *("onnx image", "onnx text", "onnx text_raw"),
        *("HashEncoder image", "HashEncoder text", "HashEncoder of strings"),
    }
    assert stored["encoders"]["onnx text_raw"]["batches"][-3:] == [1, 7, 1000]


def test_a_flipped_byte_in_any_file_is_named(version):
    files = manifests.read(version)["files"]
    assert len(files) > 15
    for name in [*files, manifests.NAME]:
        content = (version / name).read_bytes()
        if not content:
            continue
        middle = len(content) // 2
        (version / name).write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        found = validate(version)
        assert len(found.infra) == 1
        assert name in found.infra[0]
        assert marks(version) == {"NOT_BLESSED", "INFRA_NOT_BLESSED"}
        if name != manifests.NAME:
            assert manifests.read(version)["validation"]["infra"]["reasons"] == list(found.infra)
        (version / name).write_bytes(content)


@pytest.mark.parametrize("name", ["image.onnx", "text_pipeline.json", "saved_model/icons/1/saved_model.pb"])
def test_a_missing_file_an_extra_one_and_a_link_are_named(version, name):
    (version / name).rename(version / "extra.bin")
    (version / "more").symlink_to("/etc")
    found = validate(version)
    assert found.infra == (
        f"{name} is missing",
        "extra.bin is no file of the release",
        "more is no plain file or folder",
    )


def test_a_manifest_that_points_outside_its_folder_is_refused(version):
    (version.parent / "model.onnx").write_bytes((version / "image.onnx").read_bytes())

    def leave(manifest):
        manifest["files"]["../model.onnx"] = manifest["files"]["image.onnx"]
        manifest["encoders"]["image"]["onnx"]["path"] = "../model.onnx"

    edited(version, leave)
    found = validate(version)
    assert "names '../model.onnx', not a path inside the folder" in found.infra[0]
    with pytest.raises(ValueError, match=r"names '\.\./model\.onnx', not a path inside"):
        HashEncoder(version)


def test_encoders_and_words_of_another_model_are_refused_though_every_checksum_fits(version):
    onnx = pytest.importorskip("onnx")
    onnx.save(shorter(onnx, onnx.load(version / "image.onnx")), version / "image.onnx")
    TextPipeline(WORDS[::-1]).save(version / "text_pipeline.json")
    edited(version, lambda m: m.update(files=manifests.describe_files(version)))
    found = validate(version)
    told = "\n".join(found.infra)
    for opened in ("onnx image", "HashEncoder"):
        assert re.search(rf"{opened}: .*image\.onnx has outputs", told), told
    assert "saved_model encode_raw_text differs from the model" in told
    assert "onnx text_raw differs from the model" in told
    assert marks(version) == {"NOT_BLESSED", "INFRA_NOT_BLESSED"}


def shorter(onnx, model):
    """The encoder with codes of 5 bits, of which it says so."""
    helper, graph = onnx.helper, model.graph
    for node in graph.node:
        node.output[:] = [
            f"long_{name}" if name in ("codes", "packed_codes") else name for name in node.output
        ]
        node.input[:] = [f"long_{name}" if name in ("codes", "packed_codes") else name for name in node.input]
    for name, width in (("codes", 5), ("packed_codes", 1)):
        bounds = [np.array([value]) for value in (0, width, 1)]
        inputs = [f"{name}_{bound}" for bound in ("start", "end", "axis")]
        graph.initializer.extend(map(onnx.numpy_helper.from_array, bounds, inputs))
        graph.node.append(helper.make_node("Slice", [f"long_{name}", *inputs], [name]))
    for output, width in zip(graph.output, (1, 5), strict=True):
        output.type.tensor_type.shape.dim[1].dim_value = width
    return model


def test_what_is_asked_of_the_score_is_asked_of_every_format(tmp_path):
    evaluation = Evaluation.of(*[({"image": np.ones((2, 3)), "text": np.ones((2, 3))}, np.ones((2, 1)))] * 2)
    scores = {
        form: {"i2t": mean, "t2i": mean, "mean": mean} for form, mean in (("onnx", 0.5), ("other", 0.4))
    }
    scores["onnx_int8"] = {"i2t": 0.1, "t2i": 0.1, "mean": 0.1}  # is held to its own limit
    answer = {"losses": {}, "map": scores, "baseline": {"path": "icons/1", "map": {"onnx": {"mean": 0.49}}}}

    def reasons(**criteria):
        return judge(tmp_path, (), answer, Criteria(evaluation, **criteria)).quality

    assert reasons(min_map=0.4, max_map_loss=0.1) == ()
    assert reasons(min_map=0.45, max_map_loss=0.1) == ("other: mAP 0.4000 is below min_map, 0.45",)
    assert reasons() == ("other: mAP 0.4000 is more than 0 below the 0.4900 of icons/1",)
    answer["baseline"] = {"path": "icons/1", "error": "it has schema 1"}
    assert "icons/1, cannot be scored on this evaluation: it has schema 1" in reasons()[0]
    assert not judge(tmp_path, ("x is missing",), {}, Criteria(evaluation)).blessed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tolerance": 1}, "tolerance must be a number in"),
        ({"min_map": 0.5}, "min_map needs evaluation"),
        ({"baseline": "icons/1"}, "baseline needs evaluation"),
    ],
)
def test_wrong_arguments_leave_the_marks_alone(version, arguments, message):
    with pytest.raises(ValueError, match=message):
        validate(version, **arguments)
    assert marks(version) == {"BLESSED", "INFRA_BLESSED"}
    with pytest.raises(FileNotFoundError, match="is no release"):
        validate(version.parent)
