"""Files that are written and read again: a later version, another kind and a damaged one are told apart."""

import json
import re

import numpy as np
import pytest

from scbch_keras.export import HammingIndex
from scbch_keras.labels.posterior import LabelPosterior
from scbch_keras.preprocessing.image import ImagePipeline
from scbch_keras.preprocessing.text import TextPipeline
from scbch_keras.training.data.own.vocabulary import load_vocabulary, save_vocabulary
from scbch_keras.training.features.text import TextFeatures
from scbch_keras.training.runs.folder import RunFolder
from scbch_keras.training.runs.recipe import resolve

pytestmark = pytest.mark.numpy_only


def save_index(path):
    index = HammingIndex(8)
    index.add(np.zeros((2, 1), np.uint8))
    index.save(path)


def save_posterior(path):
    ones = np.ones((2, 2), np.float32)
    LabelPosterior(ones, ones, 0.1, 0.1, 0.1, 1.0, "independent").save(path)


KINDS = {
    "x.npz": (save_index, HammingIndex.load, "a HammingIndex file"),
    "posterior.npz": (save_posterior, LabelPosterior.load, "a file of LabelPosterior.save"),
    "text.npz": (
        lambda path: TextFeatures("bow").fit(["a b"]).save(path),
        TextFeatures.load,
        "a file of Text",
    ),
    "text.json": (TextPipeline(["a"]).save, TextPipeline.load, "a file of TextPipeline.save"),
    "image_pipeline.json": (
        lambda path: ImagePipeline((4, 4)).save(path.parent),
        lambda path: ImagePipeline.load(path.parent),
        "a file of ImagePipeline.save",
    ),
    "labels.json": (lambda path: save_vocabulary(path, ["a"]), load_vocabulary, "a vocabulary file"),
    "run.json": (
        lambda path: RunFolder.create(path.parent, resolve(data="icons"), {}),
        lambda path: RunFolder.open(path.parent),
        "damaged",
    ),
}


def with_version(path, version):
    if path.suffix == ".json":
        content = json.loads(path.read_text())
        content["schema" if "schema" in content else "format"] = version
        path.write_text(json.dumps(content))
        return
    with np.load(path) as file:
        arrays = dict(file)
    for key in set(arrays) & {"json", "settings"}:
        content = {**json.loads(arrays[key].tobytes()), "format": version}
        arrays[key] = np.frombuffer(json.dumps(content).encode(), np.uint8)
    if "schema" in arrays:
        arrays["schema"] = np.int64(version)
    with path.open("wb") as file:
        np.savez(file, **arrays)


@pytest.mark.parametrize("name", KINDS)
def test_a_later_version_another_kind_and_a_damaged_file_are_told_apart(tmp_path, name):
    save, load, kind = KINDS[name]
    path = tmp_path / "files" / name
    path.parent.mkdir()
    save(path)
    load(path)
    whole = path.read_bytes()
    with_version(path, 99)
    with pytest.raises(ValueError, match=rf"{re.escape(name)}.*{kind}.* 99; this version reads"):
        load(path)
    for content in (b"", whole[:-20], b"[]", b"{}"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{re.escape(name)}.*{kind}"):
            load(path)


def test_a_later_number_says_what_helps(tmp_path):
    TextPipeline(["a"]).save(tmp_path / "x.json")
    with_version(tmp_path / "x.json", 2)
    with pytest.raises(ValueError, match=r"schema 2; this version reads schema 1; .* update this one"):
        TextPipeline.load(tmp_path / "x.json")
