"""`scbch train --devices`: PyTorch in a process a device, JAX in one process, TensorFlow not."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from scbch_keras.training.runs import ranks
from scbch_keras.training.runs.folder import RunFolder
from tests.training.runs.small import BACKEND, begin, once, trained

SETTINGS = ("--bits", 16, "--noise", 0.3, "--set", "image_units=[32]", "--set", "text_units=[32]")
SETTINGS += ("--set", "neighbors=10", "--set", "warmup_epochs=1", "--set", "learning_rate=1e-3")


def command(*arguments):
    return [sys.executable, "-m", "scbch_keras.training.cli.main", "train", *map(str, arguments)]


def scbch(*arguments, **environment):
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1", **environment},
    )


def assert_same_run(actual, expected, atol):
    for mine, other in zip(actual.state["history"], expected.state["history"], strict=True):
        assert mine.keys() == other.keys()
        np.testing.assert_allclose(list(mine.values()), list(other.values()), rtol=atol, atol=atol)
    np.testing.assert_allclose(actual.array("confidence"), expected.array("confidence"), atol=atol)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "jax", reason="of JAX")
def test_two_devices_of_a_process_train_the_run_of_one(file, whole, tmp_path):
    out = tmp_path / "run"
    done = scbch(file, "--out", out, "--backend", BACKEND, "--epochs", 4, *SETTINGS, "--devices", 2)
    assert done.returncode == 0, done.stderr
    assert "Devices: JAX, in this process on cpu:0, cpu:1" in done.stdout
    run = RunFolder.open(out)
    assert run.finished
    assert_same_run(run, whole, atol=1e-5)
    for part in ("query_image", "query_text", "database_image", "database_text"):
        np.testing.assert_array_equal(run.array(f"{part}_codes"), whole.array(f"{part}_codes"))


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "torch", reason="PyTorch has processes")
def test_a_run_of_two_processes_that_is_stopped_keeps_its_last_epoch_and_goes_on_as_if_it_had_not(
    file, tmp_path
):
    out, epochs = tmp_path / "two", 6
    # Of many steps, so that it can be stopped.
    slow = ("--epochs", epochs, "--set", "batch_size=8", *SETTINGS)
    process = subprocess.Popen(
        command(file, "--out", out, "--backend", BACKEND, *slow, "--devices", 2),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "COLUMNS": "200"},
    )
    deadline = time.monotonic() + 200
    while not (out / "confidence_early.npy").exists():  # written as the second epoch ends
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors.decode()
    assert b"Devices: PyTorch, 2 processes, " in output
    assert output.count(b"Go on with: scbch train --resume") == 1
    run = RunFolder.open(out)
    assert 1 <= run.epochs_done < epochs
    assert (out / run.state["model"]).is_file()
    trained(run)
    alone = begin(file, tmp_path / "one", batch_size=8, epochs=epochs)
    trained(alone)
    assert_same_run(run, alone, atol=1e-3)  # what is left of the order of sums grows from step to step


@pytest.mark.skipif(BACKEND == "jax", reason="there are as many as are wanted")
@pytest.mark.parametrize("devices", ["0", "-1", "two", "1.5", ""])
def test_what_is_no_number_of_devices_is_refused(devices):
    with pytest.raises(ValueError, match="devices: expected all, or a number from 1 on, got"):
        ranks.devices_for(devices, BACKEND)


@once
def test_more_devices_than_there_are_are_refused():
    with pytest.raises(ValueError, match=r"devices: expected all, or 1 to \d+, .*; got 100000"):
        ranks.devices_for("100000", BACKEND)


@once
@pytest.mark.parametrize("devices", ["2", "all"])
def test_tensorflow_names_the_backends_that_have_several(devices):
    with pytest.raises(ValueError, match=r"on TensorFlow there is one; --backend torch and --backend jax"):
        ranks.devices_for(devices, "tensorflow")
    assert ranks.devices_for("1", "tensorflow").processes == 1


@once
def test_the_status_of_the_process_that_failed_is_told_and_the_others_are_ended(capfd):
    """A command that is refused fails in each; none is left."""
    assert ranks.train_by_ranks(["train", "--resume", "--out", "nowhere"], 2, {}) == 2
    assert capfd.readouterr().err.count("nowhere: expected") == 1


@once
def test_processes_that_torchrun_started_do_not_each_begin_a_run(file, tmp_path):
    done = scbch(file, "--out", tmp_path / "run", WORLD_SIZE="2", RANK="1")
    assert done.returncode == 2
    assert "start one, and --devices starts the others" in " ".join(done.stderr.split()).replace("│ ", "")
    assert not (tmp_path / "run").exists()
