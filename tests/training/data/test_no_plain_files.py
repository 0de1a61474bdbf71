"""Pipes, devices, sockets and folders in the place of a file are refused at once by every reader."""

import os
import signal
import socket

import pytest

pytest.importorskip("h5py")
pytest.importorskip("scipy.io")

from scbch_keras.export import Evaluation, HammingIndex, TextPipeline, open_index
from scbch_keras.labels.posterior import LabelPosterior
from scbch_keras.npz import load_npz
from scbch_keras.training.bulk import shards
from scbch_keras.training.data.benchmarks.files import Reader
from scbch_keras.training.data.own.read import read_own
from scbch_keras.training.data.own.stream import open_inputs
from scbch_keras.training.data.own.vocabulary import load_vocabulary
from scbch_keras.training.features.text import TextFeatures
from scbch_keras.training.grid.cells import read_cells
from scbch_keras.training.runs.recipe import resolve
from scbch_keras.training.runs.state import read_state

pytestmark = [
    pytest.mark.numpy_only,
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names"),
]


def _own(path):
    return read_own(path, check_pictures=False)


def _inputs(path):
    return [block for block, _ in open_inputs(path, "text", None, 4).blocks]


def _benchmark(path):
    return Reader(path.parent / "cache").features(path, ["image"], 4, [6])


def _shard(path):
    return list(shards.read(path, shards.Columns("image", None), 4))


READERS = {
    **{f"own.{ending}": _own for ending in ("csv", "jsonl", "npz", "h5", "mat", "parquet")},
    **{
        f"inputs.{ending}": _inputs
        for ending in ("npy", "npz", "h5", "mat", "parquet", "csv", "jsonl", "txt")
    },
    **{f"benchmark.{ending}": _benchmark for ending in ("mat", "h5", "txt")},
    "shard.parquet": _shard,
    "ids.parquet": lambda path: list(shards.read_ids(path, shards.Columns("image", "id"))),
    "arrays.npz": load_npz,
    "cells.jsonl": read_cells,
    "labels.json": load_vocabulary,
    "words.npz": TextFeatures.load,
    "recipe.toml": resolve,
    "run.json": read_state,
    "index.npz": HammingIndex.load,
    "mapped.npz": lambda path: HammingIndex.load(path, mapped=True),
    "codes.npy": open_index,
    "evaluation.npz": Evaluation.load,
    "pipeline.json": TextPipeline.load,
    "posterior.npz": LabelPosterior.load,
}


def _pipe(path):
    os.mkfifo(path)


def _socket(path):
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path.name)
    listening.close()


def _device(path):
    path.symlink_to("/dev/zero")


def _late(number, frame):
    pytest.fail("it waits", pytrace=False)


@pytest.mark.parametrize("make", [_pipe, _socket, _device])
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_plain_file_is_refused_at_once(tmp_path, monkeypatch, name, make):
    monkeypatch.chdir(tmp_path)  # the path of a socket has an end
    make(tmp_path / name)
    before = signal.signal(signal.SIGALRM, _late)
    signal.alarm(30)
    try:
        with pytest.raises((ValueError, OSError)):
            READERS[name](tmp_path / name)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("ending", ["tfrecord", "tfrecord.gz"])
def test_a_pipe_is_no_record_file(tmp_path, ending):
    from scbch_keras.training.tfx.examples import _first_cut_record

    path = tmp_path / f"x.{ending}"
    os.mkfifo(path)
    with pytest.raises(ValueError, match="must be a plain file, got a pipe"):
        _first_cut_record(path, ending.endswith("gz"))
