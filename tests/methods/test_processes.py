"""Several processes train the model of one: PyTorch under torchrun, JAX joined by jax.distributed."""

import json
import os
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.methods.test_devices import ALONE, MODEL

BACKEND = keras.backend.backend()
pytestmark = pytest.mark.skipif(BACKEND == "tensorflow", reason="TensorFlow has none: test_devices.py")
of_torch = pytest.mark.skipif(BACKEND != "torch", reason="of PyTorch")
of_jax = pytest.mark.skipif(BACKEND != "jax", reason="of JAX")

JOINED = """
import os, jax
jax.distributed.initialize(os.environ["ADDRESS"], 2, int(os.environ["RANK"]))
"""

# Batches of 20, of 14, which are parts of 7, and of a single row; and one of 53, which two cannot share evenly.
TRAIN = """
import json, pathlib
from scbch_keras.methods.nrch import NRCH
rank = int(os.environ.get("RANK", "0"))
out = pathlib.Path(sys.argv[1])
# SPMD programs take long to compile: on JAX fewer, of batches of 20 and, which two cannot share evenly, of 13.
on_jax = keras.backend.backend() == "jax"
x, y = data(53 if on_jax else 54)
def of_rows():
    branches = {name: sk.HashBranch(16, (8,)) for name in ("image_branch", "text_branch")}
    return NRCH(16, 3, warmup_epochs=1, **branches)
def result(made, history):
    return {
        "history": history.history,
        "weights": [value.tolist() for value in made.get_weights()],
        "confidence": [] if made.confidence is None else keras.ops.convert_to_numpy(made.confidence).tolist(),
        "codes": made.encode_image(x["image"], verbose=0).tolist(),
    }
results = {}
cases = (
    ("confidence", lambda: model(), 20, 9),
    ("probabilities", lambda: model(labels="posterior"), 53, 9),
    ("rows of the training set", of_rows, 20, 0),
)
for name, make, size, patience in cases[:1] if on_jax else cases:
    keras.utils.set_random_seed(rank)  # the first process' weights and order count
    made = make()
    made.compile(keras.optimizers.Adam(1e-3))
    history = made.fit(x, y, batch_size=size, epochs=3, verbose=2, validation_data=data(11), callbacks=[
        keras.callbacks.ModelCheckpoint(str(out / f"{name}.keras")),
        keras.callbacks.EarlyStopping("loss", patience=patience, min_delta=9),
    ])
    results[name] = result(made, history)
made = keras.saving.load_model(out / "confidence.keras")
history = made.fit(x, y, batch_size=20, epochs=5, initial_epoch=3, verbose=0)
results["gone on with"] = result(made, history)
(out / f"{rank}.json").write_text(json.dumps(results, default=float))
"""

# What Keras sets for several processes; and what one of them does, whatever the other does.
DISTRIBUTED = """
keras.distribution.set_distribution(keras.distribution.DataParallel())
made = model()
history = made.fit(x, y, batch_size=20, epochs=3, verbose=0)
(out / f"{rank}-distributed.json").write_text(json.dumps(result(made, history), default=float))
if rank == 0:
    made.save(out / "alone.keras")
    assert made.evaluate(x, y, verbose=0)
parts = keras.distribution.LayoutMap(keras.distribution.DeviceMesh((1, 2), ["batch", "model"]))
keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=parts, batch_dim_name="batch"))
for call in (lambda: made.fit(x, y), lambda: made.encode_image(x["image"])):
    try:
        call()
        sys.exit("trained or encoded")
    except RuntimeError as error:
        assert "2 processes" in str(error) and "DataParallel" in str(error)
keras.distribution.set_distribution(None)
if rank == 0:
    again = keras.saving.load_model(out / "alone.keras")
    assert again.evaluate(x, y, verbose=0) == made.evaluate(x, y, verbose=0)
"""
REFUSED = """
x, y = data(40)
class Backup(keras.callbacks.BackupAndRestore): pass
batch = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4), keras.layers.BatchNormalization()])
other = {"image": x["image"] + rank, "text": x["text"]}
loader = [({**{k: v[i:i + 20] for k, v in x.items()}, "index": np.arange(i, i + 20)}, y[i:i + 20]) for i in (0, 20)]
cases = {
    "a loader yields the same": lambda: model().fit(loader, epochs=1),
    "would write one file from several": lambda: model().fit(x, y, callbacks=[Backup(str(out))]),
    "different data, models or settings": lambda: model().fit(other, y),
    "model or settings": lambda: model(margin=0.1 + 0.1 * rank).fit(x, y),
    "the same seed": lambda: model().fit(sk.PairDataset(**x, labels=y, seed=rank)),
}
if not on_jax:
    cases["BatchNormalization"] = lambda: sk.SCBCH(16, 3, batch, neighbors=3).fit(x, y)
messages = {}
for words, case in cases.items():
    try:
        case()
        messages[words] = "trained"
    except ValueError as error:
        messages[words] = str(error)
(out / f"{rank}-refused.json").write_text(json.dumps(messages))
"""


def read(folder, name):
    return [json.loads(path.read_text()) for path in sorted(folder.glob(name))]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder in which two processes have written what they made, and what they printed."""
    folder = tmp_path_factory.mktemp("two")
    script = folder / "train.py"
    environments = [{}]
    if BACKEND == "torch":
        script.write_text(ALONE + MODEL + TRAIN + REFUSED)
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    else:
        script.write_text(ALONE + JOINED + MODEL + TRAIN + DISTRIBUTED + REFUSED)
        launcher = []
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            address = f"localhost:{probe.getsockname()[1]}"
        environments = [{"ADDRESS": address, "RANK": str(rank), "JAX_PLATFORMS": "cpu"} for rank in range(2)]
    running = [
        subprocess.Popen(
            [sys.executable, *launcher, str(script), str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )
        for environment in environments
    ]
    outputs = [process.communicate(timeout=150) for process in running]
    for process, (_, errors) in zip(running, outputs, strict=True):
        assert process.returncode == 0, errors
    return folder, "".join(printed for printed, _ in outputs)


def assert_same(result, expected):
    assert result["codes"] == expected["codes"]
    for key in result["history"]:
        np.testing.assert_allclose(
            result["history"][key], expected["history"][key], rtol=2e-6, atol=1e-6, err_msg=key
        )
    for ours, theirs in zip(result["weights"], expected["weights"], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)
    np.testing.assert_allclose(result["confidence"], expected["confidence"], atol=2e-6)


@pytest.mark.slow
def test_processes_train_the_model_of_one(two, tmp_path, monkeypatch):
    folder, printed = two
    ranks = read(folder, "?.json")
    monkeypatch.setattr(sys, "argv", ["train.py", str(tmp_path)])
    exec(compile(MODEL + TRAIN, "train.py", "exec"), {})
    [alone] = read(tmp_path, "?.json")
    assert len(ranks) == 2
    assert ranks[0] == ranks[1]
    assert printed.count("Epoch 1/3") == len(alone) - 1  # one process shows progress
    for name, expected in alone.items():
        assert list(ranks[0][name]["history"]) == list(expected["history"])
        assert_same(ranks[0][name], expected)
    if BACKEND == "torch":
        assert (
            len(ranks[0]["rows of the training set"]["history"]["loss"]) == 2
        )  # both stopped at the same epoch


@pytest.mark.slow
def test_what_processes_cannot_share_is_refused_in_each(two):
    ranks = read(two[0], "?-refused.json")
    assert len(ranks) == 2
    for messages in ranks:
        for words, message in messages.items():
            assert words.split()[-1] in message, (words, message)
            assert message != "trained", words


@of_jax
@pytest.mark.slow
def test_processes_train_under_a_distribution_of_keras_as_without(two):
    results = read(two[0], "?-distributed.json")
    assert len(results) == 2
    assert results[0] == results[1]
    assert_same(results[0], read(two[0], "0.json")[0]["confidence"])


@of_torch
def test_processes_that_cannot_meet_are_refused(small_model, pairs, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(RuntimeError, match=r"MASTER_ADDR.* is not set.*torchrun"):
        small_model().fit(*pairs, epochs=1, verbose=0)
