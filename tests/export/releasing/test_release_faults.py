"""Files of releases, indexes and codes that are not as they were written: refused with a ValueError or an OSError."""

import contextlib
import copy
import json
import os
import shutil
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scbch_keras import limits
from scbch_keras.export import (
    CodesFile,
    Evaluation,
    HammingIndex,
    HashEncoder,
    ImagePipeline,
    Source,
    TextPipeline,
)
from scbch_keras.export.format import manifest as manifests
from tests.export.serving.test_encoder import SHAPES, add_pipeline, edit, encoder_graph, folder  # noqa: F401
from tests.export.serving.test_travel import codes  # noqa: F401

pytestmark = [pytest.mark.numpy_only, pytest.mark.slow]

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def as_link(path):
    shutil.move(path, path.with_name("moved"))
    path.symlink_to("moved")


def as_folder(path):
    path.unlink()
    path.mkdir()


def as_pipe(path):
    path.unlink()
    os.mkfifo(path)


def as_device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


OTHERS = {
    "a symbolic link": as_link,
    "a folder": as_folder,
    "a pipe": as_pipe,
    "a link to a device": as_device,
}
OPENS = """
import sys
from scbch_keras.export import CodesFile, Evaluation, HammingIndex, HashEncoder, ImagePipeline, TextPipeline
try:
    eval(sys.argv[1])(sys.argv[2])
except (ValueError, OSError) as error:
    print(error)
else:
    print("opened")
"""


@pytest.fixture
def message_of(having_imported):
    """A function: what a process of its own says, since opening a pipe could take for ever."""

    def run(call, path):
        done = having_imported("onnxruntime", [sys.executable, "-c", OPENS, call, path], timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes")
@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("name", [manifests.NAME, "text.onnx", manifests.TEXT_PIPELINE])
def test_what_is_no_plain_file_in_a_release_is_refused(folder, message_of, kind, name):  # noqa: F811
    add_pipeline(folder)
    OTHERS[kind](folder / name)
    said = message_of("HashEncoder", folder)
    assert name in said
    assert "must be a plain file, got" in said or "passes the symbolic link" in said


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes")
@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a link to a device"])
@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("HammingIndex.load", "i.npz"),
        ("Evaluation.load", "e.npz"),
        ("TextPipeline.load", "t.json"),
        ("ImagePipeline.load", "image_pipeline.json"),
        ("CodesFile.open", "c.npy"),
        ("CodesFile.open", "c.npy.json"),
        ("CodesFile.open", "c.npy.ids.txt"),
    ],
)
def test_readers_do_not_wait_for_pipes_and_devices(codes, message_of, tmp_path, kind, call, name):  # noqa: F811
    path = tmp_path / name
    path.touch()
    OTHERS[kind](path)
    target = {"CodesFile.open": codes, "ImagePipeline.load": tmp_path}.get(call, path)
    said = message_of(call, target)
    assert f"{path} must be a plain file, got {kind.removeprefix('a link to ')}" in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 200_000, "levels deep"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "levels deep"),
        (b" " * (manifests.MAX_BYTES + 1), f"more than {manifests.MAX_BYTES} bytes"),
        (b"\xff\xfe", "is not JSON"),
        (b"9" * 10_000, "is not JSON"),
        (b'{"schema": NaN}', "schema nan"),
    ],
)
def test_a_manifest_beyond_all_use_is_refused(folder, content, message):  # noqa: F811
    (folder / manifests.NAME).write_bytes(content)
    with pytest.raises(ValueError, match=f"{manifests.NAME}.*{message}"):
        HashEncoder(folder)


def places(value, path=()):
    """The path of each value in nested lists and objects."""
    yield path
    for key, child in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(child, (*path, key))


OTHER_VALUES = (
    None,
    True,
    0,
    -1,
    2**70,
    1e300,
    float("nan"),
    "",
    "x",
    "\ud800",
    [],
    [[]],
    [None],
    {},
    {"x": 1},
)


def swapped(data, stored):
    """JSON with one value in it replaced by one of another type."""
    changed = copy.deepcopy(stored)
    path = data.draw(st.sampled_from([path for path in places(stored) if path]))
    target = changed
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = data.draw(st.sampled_from(OTHER_VALUES))
    return changed


def refuses(read):
    """Whether the reader gives something, or refuses it as it says it does, in words."""
    with contextlib.suppress(ValueError, OSError):
        read()


QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(data=st.data())
@QUICK
def test_a_manifest_with_a_value_of_another_type_is_refused_or_harmless(folder, data):  # noqa: F811
    if not (folder / manifests.TEXT_PIPELINE).exists():
        add_pipeline(folder)
        (folder / manifests.MODEL).write_bytes(b"m")
        edit(folder, lambda m: m.update(version=1, name="n", files=manifests.describe_files(folder)))
    original = (folder / manifests.NAME).read_bytes()
    stored = {key: value for key, value in json.loads(original).items() if key != "sha256"}
    try:
        # With a checksum of its own, as who changes a manifest on purpose would write it.
        changed = swapped(data, stored)
        changed["sha256"] = manifests._sha256(changed)
        (folder / manifests.NAME).write_text(json.dumps(changed))
        refuses(lambda: Source.of(HashEncoder(folder)))
    finally:
        (folder / manifests.NAME).write_bytes(original)


def index_file(ids):
    index = HammingIndex(12, source=Source("n", 1, "m", "f"))
    index.add(np.zeros((3, 2), np.uint8), ids)
    return index.save


def evaluation_file(path):
    half = ({"image": np.ones((2, 3), np.float32), "text": np.ones((2, 4), np.float32)}, np.eye(2))
    Evaluation.of(half, half).save(path)


FILES = {
    "index": (HammingIndex.load, index_file([4, 2, 7])),
    "index with strings": (HammingIndex.load, index_file(["a", "b", "c"])),
    "evaluation": (Evaluation.load, evaluation_file),
    "text pipeline": (TextPipeline.load, TextPipeline(["a", "b"], "tfidf", [1, 2]).save),
}


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@QUICK
def test_a_file_that_was_cut_or_changed_is_refused_or_harmless(tmp_path, name, data):
    load, save = FILES[name]
    path = tmp_path / "file"
    save(path)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    for _ in range(data.draw(st.integers(0, 3)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    refuses(lambda: load(path))


ARRAYS = (
    np.float64("inf"),
    np.float64("nan"),
    np.int64(-1),
    np.int64(2**62),
    np.uint64(2**64 - 1),
    np.array(""),
    np.array("[" * 100_000),
    np.array('{"x": 1}'),
    np.zeros((0,)),
    np.zeros((3, 2)),
    np.zeros((3, 2, 2), np.uint8),
    np.array(3, np.uint8),
    np.array([b"x"]),
    np.array(["x", "\ud800"]),
    np.zeros(3, [("a", "i4")]),
    np.array(["2020-01-01"], "M8[D]"),
    np.frombuffer(b"[" * 100_000, np.uint8),
    np.frombuffer(b'["a", 2, null]', np.uint8),
)


@pytest.mark.parametrize("name", ["index", "index with strings", "evaluation"])
@given(data=st.data())
@QUICK
def test_arrays_of_another_type_are_refused_or_harmless(tmp_path, name, data):
    load, save = FILES[name]
    path = tmp_path / "file"
    save(path)
    with np.load(path) as file:
        arrays = dict(file)
    key = data.draw(st.sampled_from(sorted(arrays)))
    arrays[key] = data.draw(st.sampled_from(ARRAYS))
    with path.open("wb") as file:
        np.savez(file, **arrays)
    refuses(lambda: load(path))


@given(data=st.data())
@QUICK
def test_a_description_of_codes_with_a_value_of_another_type_is_refused_or_harmless(codes, data):  # noqa: F811
    described = codes.with_name("c.npy.json")
    original = described.read_bytes()
    try:
        described.write_text(json.dumps(swapped(data, json.loads(original))))
        refuses(lambda: CodesFile.open(codes))
    finally:
        described.write_bytes(original)


@given(data=st.data())
@QUICK
def test_a_pipeline_with_a_value_of_another_type_is_refused_or_harmless(tmp_path, data):
    path = tmp_path / "p.json"
    TextPipeline(["a", "b"], "tfidf", [1, 2]).save(path)
    path.write_text(json.dumps(swapped(data, json.loads(path.read_bytes()))))
    refuses(lambda: TextPipeline.load(path))
    ImagePipeline((2, 3)).save(tmp_path)
    path = tmp_path / "image_pipeline.json"
    path.write_text(json.dumps(swapped(data, json.loads(path.read_bytes()))))
    refuses(lambda: ImagePipeline.load(tmp_path))


def test_an_index_that_unfolds_out_of_proportion_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "ROOM", 1000)
    index_file(None)(tmp_path / "i")
    with np.load(tmp_path / "i") as file:
        np.savez_compressed(tmp_path / "i.npz", **{**file, "codes": np.zeros((1_000_000, 2), np.uint8)})
    (tmp_path / "i.npz").replace(tmp_path / "i")
    with pytest.raises(ValueError, match="bytes unpacked"):
        HammingIndex.load(tmp_path / "i")
