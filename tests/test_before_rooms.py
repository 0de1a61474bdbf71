"""What an earlier version made is still open: a release, an index and codes of it, and a finished run.

tests/golden/before_rooms was made by the version before the packages were divided into rooms (manifests, pipelines,
indices, codes and runs in their first form), with a release without a SavedModel; beside it stand the codes and search
results that this version gave.
"""

import json
import shutil

import numpy as np
import pytest

from scbch_keras.export import CodesFile, HammingIndex, HashEncoder, Source
from scbch_keras.export.format import manifest
from scbch_keras.preprocessing.text import TextPipeline
from tests.conftest import GOLDEN

BEFORE = GOLDEN / "before_rooms"
RELEASE = BEFORE / "release"


def stored(name):
    return np.load(BEFORE / f"{name}.npy")


@pytest.fixture(scope="module")
def inputs():
    with np.load(BEFORE / "inputs.npz") as file:
        return dict(file)


@pytest.mark.numpy_only
def test_the_release_is_whole_and_gives_its_codes_of_strings_pictures_and_features(inputs):
    pytest.importorskip("onnxruntime")
    assert not manifest.wrong_files(RELEASE, manifest.read(RELEASE))
    encoder = HashEncoder(RELEASE)
    np.testing.assert_array_equal(encoder.text(inputs["texts"].tolist()), stored("text_codes"))
    np.testing.assert_array_equal(encoder.text(inputs["counts"]), stored("text_codes"))
    np.testing.assert_array_equal(encoder.image(inputs["pixels"]), stored("picture_codes"))
    np.testing.assert_array_equal(encoder.image(inputs["features"]), stored("image_codes"))


@pytest.mark.numpy_only
def test_its_words_are_divided_by_the_rule_of_then(inputs):
    pipeline = TextPipeline.load(RELEASE / "text_pipeline.json")
    np.testing.assert_array_equal(pipeline(inputs["texts"].tolist()), inputs["counts"])
    assert pipeline(["sea night"]).sum() == 2
    assert not pipeline(["sea, night."]).any()  # the rule of now trims the punctuation


@pytest.mark.numpy_only
@pytest.mark.parametrize("engine", ["numpy", None])
def test_the_index_opens_finds_what_it_found_and_can_be_changed(tmp_path, engine):
    index = HammingIndex.load(BEFORE / "index.npz", engine=engine)
    queries = stored("text_codes")
    for actual, name in zip(index.search(queries, k=6), ("search_ids", "search_distances"), strict=True):
        np.testing.assert_array_equal(actual, stored(name))
    assert index.source == Source.of(HashEncoder(RELEASE))
    index.remove([10])
    index.save(tmp_path / "index.npz")
    assert 10 not in HammingIndex.load(tmp_path / "index.npz", engine=engine)


@pytest.mark.numpy_only
def test_the_codes_open_with_their_ids_and_are_of_the_release():
    codes = CodesFile.open(BEFORE / "codes.npy")
    np.testing.assert_array_equal(codes.codes, stored("text_codes"))
    assert list(codes.ids) == [f"text-{row}" for row in range(len(codes.codes))]
    assert codes.source == Source.of(HashEncoder(RELEASE))
    ids, distances = codes.index().search(stored("text_codes")[:1], k=1)
    assert (ids[0, 0], distances[0, 0]) == ("text-0", 0)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A copy of the run beside its data, whose path it names as seen from there."""
    pytest.importorskip("keras")
    shutil.copy(BEFORE / "pairs.npz", tmp_path)
    shutil.copytree(BEFORE / "run", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


def test_the_run_opens_and_its_model_gives_its_codes_on_every_backend(run):
    from scbch_keras.codes import pack_codes
    from scbch_keras.training.runs.evaluate import encode
    from scbch_keras.training.runs.folder import RunFolder
    from scbch_keras.training.runs.open_data import open_data
    from scbch_keras.training.runs.train import load_model

    opened = RunFolder.open(run)
    assert opened.finished
    data = open_data(opened.recipe, run)
    opened.check_data(data)
    model = load_model(opened)
    for part in ("query", "database"):
        for modality, codes in encode(model, getattr(data, part)).items():
            expected = opened.array(f"{part}_{modality}_codes")
            sure = np.abs(codes) > 1e-5  # another backend rounds otherwise near zero
            bits = np.unpackbits(expected, axis=1, count=codes.shape[1]).astype(bool)
            np.testing.assert_array_equal((codes > 0)[sure], bits[sure])
            assert sure.mean() > 0.99
            assert pack_codes(codes).shape == expected.shape


def test_the_commands_take_the_run(run):
    import keras
    from typer.testing import CliRunner

    from scbch_keras.training.cli import runs as _  # noqa: F401 - it adds its commands
    from scbch_keras.training.cli.app import app

    metrics = json.loads((run / "run.json").read_text())["metrics"]
    for data in ([], ["--data", "pairs.npz"]):
        command = ["evaluate", str(run), "--backend", keras.backend.backend(), *data]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        assert f"{metrics['i2t']['map']:.4f}" in result.output
        assert f"{metrics['t2i']['precision_radius_2']:.4f}" in result.output
