"""What is shown and logged of a training: the live table, and trackers."""

import io
import sys

import pytest
from rich.console import Console
from typer.testing import CliRunner

from scbch_keras.training.cli.main import commands
from scbch_keras.training.runs.folder import RunFolder
from tests.training.runs.small import SMALL, once

pytestmark = once
SMALL_FLAGS = [f"--set={name}={value!r}" for name, value in SMALL.items() if name != "backend"]


def run_command(*arguments):
    done = CliRunner().invoke(commands(), [str(argument) for argument in arguments])
    return done.exit_code, done.output


@pytest.mark.slow
def test_mlflow_and_tensorboard_have_the_numbers_of_the_run(file, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    store = (tmp_path / "mlruns").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(store)
    run = tmp_path / "run"
    trackers = ("--track", "mlflow", "--track", "tensorboard")
    status, told = run_command("train", file, "--out", run, "--epochs", 2, *SMALL_FLAGS, *trackers)
    assert status == 0, told
    # Plain lines where there is no terminal.
    assert [line.split()[1] for line in told.splitlines() if line.startswith("epoch ")] == ["1/2", "2/2"]
    assert f"Next: scbch report {run}" in told
    history = RunFolder.open(run).state["history"]

    [logged] = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert logged.info.status == "FINISHED"
    assert (logged.info.run_name, logged.data.params["bits"]) == ("run", "16")
    for name in ("loss", "i2t_map", "t2i_map"):
        values = mlflow.MlflowClient().get_metric_history(logged.info.run_id, name)
        assert [value.value for value in values] == pytest.approx([epoch[name] for epoch in history])

    events = EventAccumulator(str(run / "tensorboard" / "train"))
    events.Reload()
    tags = [tag for tag in events.Tags()["tensors"] if tag.endswith("i2t_map")]
    assert len(tags) == 1
    assert len(events.Tensors(tags[0])) == 2


def test_wandb_has_the_numbers_of_the_run_without_a_network(file, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    for name, value in (("MODE", "offline"), ("DIR", str(tmp_path)), ("SILENT", "true")):
        monkeypatch.setenv(f"WANDB_{name}", value)
    status, told = run_command(
        "train", file, "--out", tmp_path / "run", "--epochs", 2, *SMALL_FLAGS, "--track", "wandb"
    )
    assert status == 0, told
    [logged] = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    for epoch in RunFolder.open(tmp_path / "run").state["history"]:
        assert str(epoch["i2t_map"]).encode() in logged.read_bytes()


@pytest.mark.parametrize("tracker", ["mlflow", "wandb"])
@pytest.mark.slow
def test_a_tracker_that_is_not_installed_is_named_before_anything_is_written(
    file, tmp_path, monkeypatch, tracker
):
    monkeypatch.setitem(sys.modules, tracker, None)
    status, told = run_command("train", file, "--out", tmp_path / "run", "--track", tracker)
    assert status == 2
    assert f"track: {tracker} needs {tracker}: pip install {tracker}" in told
    assert not (tmp_path / "run").exists()


def test_a_terminal_has_a_live_table_with_a_row_an_epoch():
    from scbch_keras.training.cli.live import TrainingTable

    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, height=30)
    with TrainingTable(console, 3) as table:
        for epoch in range(3):
            table.on_epoch_begin(epoch)
            table.on_train_batch_end(0)
            table.on_epoch_end(
                epoch, {"loss": 2.5 - epoch, "i2t_map": 0.25, "t2i_map": 0.125 if epoch else None}
            )
    text = stream.getvalue()
    last = text[text.rindex("epoch") :]
    for cell in ("1/3", "2/3", "3/3", "2.5000", "0.5000", "0.2500", "0.1250", "I2T mAP", "time"):
        assert cell in last, cell
    assert "batch" not in last


def test_without_a_terminal_there_are_plain_lines():
    from scbch_keras.training.cli.live import TrainingTable

    stream = io.StringIO()
    with TrainingTable(Console(file=stream, width=40), 12) as table:
        table.on_epoch_begin(7)
        table.on_epoch_end(7, {"loss": 1.0, "i2t_map": 0.5})
    line = stream.getvalue()
    assert line.startswith("epoch 8/12  loss 1.0000  I2T mAP 0.5000  time ")
    assert line.count("\n") == 1
