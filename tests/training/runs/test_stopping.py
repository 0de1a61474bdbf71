"""A training that is stopped or disturbed: it ends at once, keeps its last epoch, and shares its folder with nobody."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from scbch_keras.export.releasing.locks import held
from scbch_keras.training.cli import runs as commands_runs  # noqa: F401 - it adds its commands
from scbch_keras.training.cli.app import app
from scbch_keras.training.grid.reproduce import reproduce
from scbch_keras.training.runs.folder import LOCK, RunError, RunFolder
from scbch_keras.training.runs.recipe import resolve
from scbch_keras.training.runs.stopping import RunStopped, ended_in_time
from scbch_keras.training.runs.train import load_model
from tests.training.runs.small import BACKEND, SMALL, begin, once, trained


class Interrupt(keras.callbacks.Callback):
    """A signal at a moment of an epoch (from 0): one, as a second would end the tests themselves."""

    def __init__(self, number, moment, epoch):
        super().__init__()
        self.number, self.when = number, (moment, epoch)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        self.at("batch begin", self.epoch)

    def on_train_batch_end(self, batch, logs=None):
        self.at("batch end", self.epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.at("epoch end", epoch)

    def at(self, moment, epoch):
        if (moment, epoch) == self.when:
            self.when = None
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("number", "moment", "epoch", "kept"),
    [
        (signal.SIGTERM, "batch end", 2, 2),
        # Signals and the moments of an epoch are the same on every backend; to go on bit for bit is not.
        pytest.param(signal.SIGINT, "batch begin", 1, 1, marks=once),
        pytest.param(signal.SIGTERM, "epoch end", 1, 2, marks=once),
        pytest.param(signal.SIGINT, "batch end", 0, 0, marks=once),
    ],
)
def test_a_stopped_run_keeps_its_last_epoch_and_goes_on_bit_for_bit(
    file, whole, tmp_path, number, moment, epoch, kept
):
    stopped = begin(file, tmp_path / "stopped")
    with pytest.raises(RunStopped, match=f"stopped after epoch {kept} of 4") as told:
        trained(stopped, callbacks=[Interrupt(number, moment, epoch)])
    assert told.value.status == 128 + number
    reopened = RunFolder.open(tmp_path / "stopped")
    assert (reopened.epochs_done, reopened.state["model"]) == (
        kept,
        f"checkpoint-{kept}.keras" if kept else None,
    )
    assert not reopened.finished
    with pytest.raises(RunError, match="not finished"):
        reopened.array("confidence")
    trained(reopened)
    assert reopened.state["history"] == whole.state["history"]
    for name in (
        "query_image_codes",
        "database_text_codes",
        "confidence",
        "confidence_early",
        "map_image_first",
        "map_text_last",
    ):
        np.testing.assert_array_equal(reopened.array(name), whole.array(name))
    assert sorted(path.name for path in reopened.path.glob("*.keras")) == ["model.keras"]


@once
@pytest.mark.slow
def test_the_command_ends_within_seconds_and_by_the_signals_status(file, tmp_path):
    out = tmp_path / "run"
    flags = [
        f"--set={name}={json.dumps(value)}"
        for name, value in SMALL.items()
        if name not in ("backend", "bits")
    ]
    command = [
        sys.executable,
        "-m",
        "scbch_keras.training.cli.main",
        "train",
        str(file),
        "--out",
        str(out),
        "--bits",
        "16",
    ]
    command += ["--epochs", "100000", "--backend", BACKEND, *flags]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 600
    while not (out / "map_text_first.npy").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)  # SIGINT: test_a_killed_grid_goes_on_and_gives_the_same_table
    process.wait(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, process.stderr.read().decode()
    assert RunFolder.open(out).epochs_done > 0
    assert not [path for path in out.glob(".*") if path.name != LOCK]


@once
def test_a_process_that_does_not_end_by_itself_is_ended_in_time():
    program = (
        "import os, signal, threading\nfrom scbch_keras.training.runs import stopping\nstopping.SECONDS = 0.2\n"
        "signal.signal(signal.SIGTERM, lambda *_: None)\n"
        "with stopping.ended_in_time():\n    os.kill(os.getpid(), signal.SIGTERM)\n    threading.Event().wait()\n"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 143


@once
def test_what_ends_in_time_is_left_alone():
    ended = []
    before = threading.active_count()
    with ended_in_time(ended.append):
        assert threading.active_count() == before + 1
    assert (ended, threading.active_count()) == ([], before)


@once
def test_a_run_and_a_grid_belong_to_one_process_at_a_time(file, tmp_path):
    run = begin(file, tmp_path / "run", epochs=1)
    again = RunFolder.open(run.path)
    with held(run.path / LOCK), pytest.raises(RunError, match="another process is at work on this run"):
        trained(run)
    (tmp_path / "grid").mkdir()
    recipes = [resolve(data=str(file), epochs=1, **SMALL)]
    with (
        held(tmp_path / "grid" / LOCK),
        pytest.raises(RunError, match="another process is at work on this grid"),
    ):
        reproduce(recipes, tmp_path / "grid")
    trained(run)
    with pytest.raises(RunError, match="another process went on with this run"):
        trained(again)
    (run.path / LOCK).write_text("of a process that has ended")
    assert RunFolder.open(run.path).finished


@once
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "another model", "text"])
def test_a_damaged_checkpoint_is_told_in_one_message(file, tmp_path, damage):
    run = begin(file, tmp_path / "run", epochs=1)
    trained(run)
    model = run.path / "model.keras"
    content = model.read_bytes()
    if damage == "another model":
        keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)]).save(model)
    else:
        middle = len(content) // 2
        flipped = (
            content[:middle]
            + bytes(byte ^ 255 for byte in content[middle : middle + 99])
            + content[middle + 99 :]
        )
        model.write_bytes({"cut": content[:-500], "flipped": flipped, "empty": b"", "text": b"hello"}[damage])
    result = CliRunner().invoke(app, ["evaluate", str(run.path)])
    assert result.exit_code == 2, result.output
    assert "model.keras" in result.output
    assert "Traceback" not in result.output
    with pytest.raises(RunError, match=r"model\.keras"):
        load_model(run)


@once
def test_a_full_disk_names_the_file_and_keeps_the_checkpoint_before(file, tmp_path):
    run = begin(file, tmp_path / "run", epochs=1)
    model = trained(run)
    kept = (run.path / "model.keras").read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limit[1]))
    try:
        with pytest.raises(
            OSError, match=r"checkpoint-9\.keras could not be written .*model\.keras is still there"
        ):
            run.save_model(model, "checkpoint-9.keras")
        with pytest.raises(OSError, match=r"big\.npy could not be written, nothing of it was left"):
            run.save_array("big", np.zeros(9999))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert RunFolder.open(run.path).state["model"] == "model.keras"
    assert (run.path / "model.keras").read_bytes() == kept
    assert not list(run.path.glob(".*-*"))
