"""Encoders, indexes, codes and pipelines in other processes: pickled, copied, and opened again where they arrive."""

import copy
import json
import multiprocessing
import os
import pickle
import shutil

import numpy as np
import pytest

from scbch_keras.export import (
    CodesFile,
    HammingIndex,
    HashEncoder,
    ImagePipeline,
    Source,
    TextPipeline,
    encode_file,
)
from scbch_keras.export.format import manifest as manifests
from tests.export.serving.test_encoder import add_pipeline, edit, encoder_graph, features, folder  # noqa: F401

pytestmark = pytest.mark.numpy_only

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

TRAVELS = {
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "old pickle": lambda thing: pickle.loads(pickle.dumps(thing, 2)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.fixture(params=sorted(TRAVELS))
def travel(request):
    return TRAVELS[request.param]


def test_an_encoder_travels_by_its_arguments(folder, travel):  # noqa: F811
    add_pipeline(folder)
    encoder = HashEncoder(folder, modalities=["text"], threads=2, providers=[("CPUExecutionProvider", {})])
    arrived = travel(encoder)
    assert (arrived.path, arrived.bits, arrived.precision) == (encoder.path, encoder.bits, encoder.precision)
    assert arrived._settings == encoder._settings
    x = features("text", 30)
    np.testing.assert_array_equal(arrived.text(x), encoder.text(x))
    np.testing.assert_array_equal(arrived.text(["a dog"]), encoder.text(["a dog"]))
    with pytest.raises(ValueError, match="opened without modality 'image'"):
        arrived.image(features("image", 1))
    assert len(pickle.dumps(encoder)) < 2000


def test_an_encoder_of_latest_travels_as_the_version_it_opened(folder, travel):  # noqa: F811
    latest = folder.parent / "latest"
    latest.symlink_to("1")
    encoder = HashEncoder(latest)
    shutil.copytree(folder, folder.with_name("2"))
    latest.unlink()
    latest.symlink_to("2")
    assert travel(encoder).path == folder.resolve()


@pytest.mark.parametrize("reads", [manifests.NAME, "image.onnx", "text.onnx", manifests.TEXT_PIPELINE])
def test_latest_opens_although_its_version_is_deleted_meanwhile(folder, monkeypatch, reads):  # noqa: F811
    add_pipeline(folder)
    latest = folder.parent / "latest"
    latest.symlink_to("1")
    newer = shutil.copytree(folder, folder.with_name("2"))
    really_open = os.open

    def deleted_before(path, *arguments, **options):
        if path == folder / reads and folder.exists():
            latest.unlink()
            latest.symlink_to("2")
            shutil.rmtree(folder)
        return really_open(path, *arguments, **options)

    monkeypatch.setattr(os, "open", deleted_before)
    encoder = HashEncoder(latest)
    assert encoder.path == newer
    assert len(encoder.text(["a dog"])) == 1
    shutil.rmtree(newer)
    with pytest.raises(FileNotFoundError, match="is no release"):
        HashEncoder(latest)


def _replaced_encoder(release):
    onnx.save(encoder_graph("text", bits=9), release / "text.onnx")
    edit(release, lambda manifest: manifest.update(files=manifests.describe_files(release)))


@pytest.mark.parametrize(
    "change",
    [
        _replaced_encoder,
        lambda release: edit(release, lambda m: m.update(version=2)),
        lambda release: edit(release, lambda m: m.update(bits=9)),
        lambda release: edit(release, lambda m: m["files"].update(more={"sha256": "0", "bytes": 1})),
    ],
)
def test_a_release_that_changed_on_the_way_is_refused_with_both_checksums(folder, travel, change):  # noqa: F811
    encoder = HashEncoder(folder)
    before = manifests.content_sha256(manifests.read(folder))
    travels = pickle.dumps(encoder)
    change(folder)
    now = manifests.content_sha256(manifests.read(folder))
    for arrive in (lambda: pickle.loads(travels), lambda: travel(encoder)):
        with pytest.raises(ValueError, match=rf"{folder} is not the release .* was {before} and is {now}"):
            arrive()


def test_a_file_that_changed_on_the_way_is_refused_with_both_checksums(folder):  # noqa: F811
    travels = pickle.dumps(HashEncoder(folder))
    released = manifests.read(folder)["files"]["text.onnx"]["sha256"]
    content = bytearray((folder / "text.onnx").read_bytes())
    content[-1] ^= 1
    (folder / "text.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=rf"its sha256 is [0-9a-f]{{64}}; the manifest says '{released}'"):
        pickle.loads(travels)
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match="is no release"):
        pickle.loads(travels)


def test_a_release_that_was_validated_again_on_the_way_is_the_same(folder, travel):  # noqa: F811
    encoder = HashEncoder(folder)
    edit(folder, lambda manifest: manifest.update(validation={"blessed": True}))
    assert travel(encoder).bits == encoder.bits


def _encoded(encoder, x):
    return encoder.image(x)


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_an_encoder_works_in_the_processes_of_a_pool(folder, method):  # noqa: F811
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("not on this system")
    encoder = HashEncoder(folder)
    x = features("image", 20)
    with multiprocessing.get_context(method).Pool(1) as pool:
        came = pool.apply_async(_encoded, (encoder, x)).get(120)
    np.testing.assert_array_equal(came, encoder.image(x))


@pytest.mark.parametrize("engine", ["faiss", "numpy", None])
@pytest.mark.parametrize("ids", [None, [5, 3, 9], ["x", "y", "z"]])
def test_an_index_travels_with_its_content(travel, engine, ids):
    if engine == "faiss":
        pytest.importorskip("faiss")
    index = HammingIndex(16, engine=engine, source=Source("n", 1, "m", "f"))
    index.add(np.arange(6, dtype=np.uint8).reshape(3, 2), ids)
    index.remove([index.ids[1]])
    arrived = travel(index)
    for one, other in zip(arrived.search(index.codes, 2), index.search(index.codes, 2), strict=True):
        assert one.tolist() == other.tolist()
    assert (arrived.engine, arrived.source, len(arrived)) == (index.engine, index.source, 2)
    arrived.add(np.zeros((1, 2), np.uint8), None if ids is None else ids[1:2])
    assert arrived.ids[-1] == (3 if ids is None else ids[1])
    assert len(index) == 2


def test_an_index_of_faiss_is_refused_where_there_is_none(monkeypatch):
    import sys

    pytest.importorskip("faiss")
    travels = {engine: pickle.dumps(HammingIndex(16, engine=engine)) for engine in ("faiss", None)}
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"scbch_keras\[faiss\]"):
        pickle.loads(travels["faiss"])
    assert pickle.loads(travels[None]).engine == "numpy"


@pytest.fixture
def codes(folder, tmp_path):  # noqa: F811
    def version(manifest):
        manifest.update(version=1)
        manifest["files"][manifests.MODEL] = {"sha256": "0" * 64, "bytes": 1}

    edit(folder, version)
    encode_file(HashEncoder(folder), "text", [(features("text", 3), ["a", "b", "c"])], tmp_path / "c.npy")
    return tmp_path / "c.npy"


def test_codes_travel_by_their_path_and_checksum(codes, travel, monkeypatch, tmp_path):
    monkeypatch.chdir(codes.parent)
    opened = CodesFile.open("c.npy")
    travels = pickle.dumps(opened)
    assert len(travels) < 500
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    arrived = pickle.loads(travels)
    np.testing.assert_array_equal(arrived.codes, opened.codes)
    assert (arrived.ids, arrived.source, arrived.bits) == (opened.ids, opened.source, opened.bits)
    monkeypatch.chdir(codes.parent)
    assert travel(opened).ids == opened.ids
    assert travel(opened) == opened == arrived
    assert opened in {arrived}
    described = codes.with_name("c.npy.json")
    described.write_text(json.dumps(json.loads(described.read_text()) | {"modality": "image"}))
    assert CodesFile.open(codes) != opened
    with pytest.raises(ValueError, match=rf"c\.npy\.json was {opened.sha256} and is [0-9a-f]{{64}}"):
        pickle.loads(travels)


def test_codes_have_the_ids_of_their_file_in_an_index(codes, tmp_path):
    opened = CodesFile.open(codes)
    assert opened.index().ids.tolist() == ["a", "b", "c"]
    assert opened.index(named=False).ids.tolist() == [0, 1, 2]
    opened.index().save(tmp_path / "i.npz")
    assert HammingIndex.load(tmp_path / "i.npz").search(opened.codes[1:2], 1)[0].tolist() == [["b"]]
    object.__setattr__(opened, "ids", ["a", "b", "a"])
    with pytest.raises(ValueError, match=r"c\.npy\.ids\.txt: .*id a comes twice.*index\(named=False\)"):
        opened.index()


def test_pipelines_and_sources_travel(travel):
    texts = TextPipeline(["a", "dog"], "tfidf", [1.5, 2.0])
    np.testing.assert_array_equal(travel(texts)(["A dog dog"]), texts(["A dog dog"]))
    pictures = ImagePipeline((2, 3))
    pixels = np.arange(36, dtype=np.uint8).reshape(2, 2, 3, 3)
    np.testing.assert_array_equal(travel(pictures)(pixels), pictures(pixels))
    source = Source("n", 1, "m", "f")
    assert travel(source) == source
