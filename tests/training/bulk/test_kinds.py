"""Folders of pictures and TFRecord files as shards: the same promises as of Parquet files."""

import hashlib
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

for needed in ("pyarrow", "onnx", "onnxruntime", "typer", "h5py"):
    pytest.importorskip(needed)

from PIL import Image  # noqa: E402

from scbch_keras.export import CodesFile, HashEncoder  # noqa: E402
from scbch_keras.training.bulk.run import encode_shards  # noqa: E402
from tests.export.picture_release import WIDTH, with_pictures  # noqa: E402
from tests.export.serving.test_codes_file import write_release  # noqa: E402

SHARDS, ROWS = 4, 3
KILLED = """
import os, sys
from pathlib import Path
from scbch_keras.export import HashEncoder
from scbch_keras.training.bulk.run import encode_shards
release, pattern, out, end, id = sys.argv[1:]
replace = os.replace
def killing(source, target):
    if str(target).endswith(end):
        os.kill(os.getpid(), 9)
    replace(source, target)
os.replace = killing
encode_shards(HashEncoder(release), pattern, "image", Path(out), id=id or None)
"""


class Folders:
    """Shards of pictures, whose paths are their ids."""

    pattern, id, suffix = "*", None, ""
    without_inputs = "expected pictures"

    def __init__(self, folder):
        self.folder = folder

    def write(self, shard, ids, column="picture"):
        """A shard; its inputs, as HashEncoder takes them."""
        path = self.folder / shard
        path.mkdir()
        inputs = []
        for number, id in enumerate(ids):
            name = path / (id if column == "picture" else f"{id}.txt")
            Image.new("RGB", (20, 30), (9 * number, len(shard) * 40 % 255, ord(shard[-1]) * 3 % 255)).save(
                name, "PNG"
            )
            inputs.append(str(name))
        return inputs

    def turn_a_bit(self, shard):
        """Change one picture, whose size stays."""
        turn_a_bit(next((self.folder / shard).iterdir()))

    def damage(self, shard):
        """Cut one picture short."""
        path = next((self.folder / shard).iterdir())
        path.write_bytes(path.read_bytes()[:30])
        return str(path)


class Records:
    """TFRecord files of tf.Example with float features and ids of bytes."""

    pattern, id, suffix = "*.tfrecord", "name", ".tfrecord"
    without_inputs = "the feature 'image' is missing; found: name, other"

    def __init__(self, folder):
        self.folder = folder

    def write(self, shard, ids, column="image"):
        """A shard; its inputs, as HashEncoder takes them."""
        import tensorflow as tf

        rows = np.random.default_rng(len(ids) + ord(shard[-1])).random((len(ids), WIDTH)).astype(np.float32)
        with tf.io.TFRecordWriter(str(self.folder / f"{shard}.tfrecord")) as file:
            for id, row in zip(ids, rows, strict=True):
                features = {
                    column: tf.train.Feature(float_list=tf.train.FloatList(value=row)),
                    "name": tf.train.Feature(bytes_list=tf.train.BytesList(value=[id.encode()])),
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                file.write(example.SerializeToString())
        return rows

    def turn_a_bit(self, shard):
        """Change the file, whose size stays."""
        turn_a_bit(self.folder / f"{shard}.tfrecord")

    def damage(self, shard):
        """Cut the file short."""
        path = self.folder / f"{shard}.tfrecord"
        path.write_bytes(path.read_bytes()[:-5])
        return str(path)


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("releases") / "icons"
    return tuple(
        with_pictures(write_release(folder / version, model))
        for version, model in (("1", b"a model"), ("2", b"another model"))
    )


@pytest.fixture(scope="module")
def encoder(releases):
    return HashEncoder(releases[0])


@pytest.fixture(
    params=[
        pytest.param(Folders, marks=pytest.mark.numpy_only),
        pytest.param(
            Records,
            marks=pytest.mark.skipif(
                os.environ.get("KERAS_BACKEND") != "tensorflow", reason="read by TensorFlow"
            ),
        ),
    ]
)
def kind(request, tmp_path):
    (tmp_path / "in").mkdir()
    return request.param(tmp_path / "in")


@pytest.fixture
def expected(kind, encoder):
    """Codes and ids by shard, which are written."""
    return {
        f"part{shard}": (encoder.image(kind.write(f"part{shard}", ids)), ids)
        for shard in range(SHARDS)
        for ids in [[f"é{shard}-{row}.png" for row in range(ROWS)]]
    }


def turn_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def pattern(kind):
    return str(kind.folder / kind.pattern)


def assert_whole(out, kind, encoder, expected):
    manifest = json.loads((out / "_manifest.json").read_text())
    assert manifest["source"]["model"] == encoder.manifest["files"]["model.keras"]["sha256"]
    finished = {record["name"]: record for record in manifest["finished"]}
    assert set(finished) == {f"{shard}{kind.suffix}" for shard in expected}
    for shard, (codes, ids) in expected.items():
        file = out / f"{shard}{kind.suffix}.npy"
        opened = CodesFile.open(file)
        np.testing.assert_array_equal(opened.codes, codes)
        assert opened.ids == ids
        assert finished[f"{shard}{kind.suffix}"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert not [path for path in out.rglob(".*") if path.name != ".bulk.lock"]


@pytest.mark.slow
def test_killed_and_started_again_only_what_is_missing_is_encoded(
    kind, tmp_path, releases, encoder, expected
):
    out = tmp_path / "out"
    end = f"{os.sep}part2{kind.suffix}.npy"
    command = [sys.executable, "-c", KILLED, releases[0], pattern(kind), out, end, kind.id or ""]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in out.glob("part*.npy")}
    assert len(before) == 2
    outcome = encode_shards(encoder, pattern(kind), "image", out, id=kind.id)
    assert outcome == (SHARDS, SHARDS - 2, SHARDS * ROWS)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert_whole(out, kind, encoder, expected)


def test_ids_that_come_twice_and_inputs_that_are_missing_end_it_before_the_first_shard(
    kind, tmp_path, encoder, expected
):
    kind.write("twice", [expected["part1"][1][0]])
    with pytest.raises(ValueError, match=r"ids must differ; 'é1-0.png' is in .*part1.* and again in .*twice"):
        encode_shards(encoder, pattern(kind), "image", tmp_path / "out", id=kind.id)
    kind.write("without", ["a"], column="other")
    alone = str(kind.folder / f"without{kind.suffix}")
    with pytest.raises(ValueError, match=kind.without_inputs):
        encode_shards(encoder, alone, "image", tmp_path / "out", id=kind.id)
    assert not list((tmp_path / "out").glob("*.npy"))


def test_another_release_and_inputs_that_were_changed_are_refused(
    kind, tmp_path, releases, encoder, expected
):
    out = tmp_path / "out"
    encode_shards(encoder, pattern(kind), "image", out, id=kind.id)
    with pytest.raises(ValueError, match="codes of two models"):
        encode_shards(HashEncoder(releases[1]), pattern(kind), "image", out, id=kind.id)
    kind.turn_a_bit("part3")
    with pytest.raises(ValueError, match=r"part3.* was changed since"):
        encode_shards(encoder, pattern(kind), "image", out, id=kind.id)


def test_a_damaged_input_is_named_and_leaves_the_others(kind, tmp_path, encoder, expected):
    path = kind.damage("part1")
    with pytest.raises(ValueError, match="part1") as raised:
        encode_shards(encoder, pattern(kind), "image", tmp_path / "out", id=kind.id)
    assert path in str(raised.value)
    assert not (tmp_path / "out" / f"part1{kind.suffix}.npy").exists()
