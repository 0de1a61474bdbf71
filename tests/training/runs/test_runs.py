import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from keras.src.utils import module_utils
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from scbch_keras.export import HashEncoder
from scbch_keras.labels.posterior import LabelPosterior
from scbch_keras.training.cli.main import commands
from scbch_keras.training.data.own.read import read_own
from scbch_keras.training.grid.cells import read_cells
from scbch_keras.training.grid.reproduce import CELLS, Grid, reproduce
from scbch_keras.training.runs.folder import RunError, RunFolder
from scbch_keras.training.runs.open_data import open_data
from scbch_keras.training.runs.recipe import resolve
from scbch_keras.training.runs.train import load_model, train
from tests.methods import BASELINES
from tests.training.runs.small import BACKEND, SMALL, begin, once, trained


@once
@pytest.mark.parametrize(("settings", "evaluated"), [({}, [5, 6]), ({"evaluate_every": 2}, [2, 4, 6])])
def test_a_run_that_would_encode_far_more_than_it_trains_evaluates_now_and_then(
    file, tmp_path, caplog, settings, evaluated
):
    run = begin(file, tmp_path / "run", queries=60, epochs=6, **settings)
    data = open_data(run.recipe, run.path)
    few = {
        name: getattr(data.train, name)[:30] for name in ("image", "text", "labels", "ids", "clean_labels")
    }
    train(run, replace(data, train=replace(data.train, **few)), verbose=0)
    history = run.state["history"]
    assert [epoch["epoch"] for epoch in history if "i2t_map" in epoch] == evaluated
    said = "60 queries and 180 rows of the database are encoded for an evaluation, beside 30 that train"
    assert (said in caplog.text) is not bool(settings)
    # The last codes are those of the final metrics.
    assert history[-1]["i2t_map"] == pytest.approx(run.state["metrics"]["i2t"]["map"], abs=1e-6)


@once
def test_a_finished_run_holds_what_it_was_and_its_model_gives_its_codes(whole):
    run = whole
    stored = RunFolder.open(run.path)
    assert stored.recipe == run.recipe
    assert resolve(run.path / "run.toml") == run.recipe
    history = stored.state["history"]
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3, 4]
    assert history[-1]["i2t_map"] == pytest.approx(stored.state["metrics"]["i2t"]["map"], abs=1e-6)
    data = open_data(stored.recipe, run.path)
    stored.check_data(data)
    codes = load_model(stored).encode_image(data.query.image, verbose=0)
    np.testing.assert_array_equal(codes, stored.array("query_image_codes"))
    np.testing.assert_array_equal(stored.array("train_labels"), data.train.labels)
    assert (data.train.labels != data.train.clean_labels).any()


@once
def test_a_run_refuses_other_data_and_damage(file, pairs, tmp_path):
    run = begin(file, tmp_path / "run", epochs=1)
    trained(run)
    with pytest.raises(RunError, match="expected a new or empty folder"):
        begin(file, tmp_path / "run")
    x, labels = pairs
    other = tmp_path / "pairs.npz"
    np.savez(other, image=x["image"] + 1, text=x["text"].astype("float32"), labels=labels)
    recipe = resolve(data=str(other), **SMALL)
    with pytest.raises(RunError, match="the data is not the run's"):
        run.check_data(open_data(recipe, tmp_path))
    (run.path / "confidence.npy").write_bytes((run.path / "confidence.npy").read_bytes()[:50])
    with pytest.raises(RunError, match=r"confidence\.npy is damaged"):
        run.array("confidence")
    (run.path / "model.keras").unlink()
    with pytest.raises(RunError, match=r"model\.keras is missing"):
        RunFolder.open(run.path)
    (run.path / "run.json").write_text('{"format": 1, "recipe"')
    with pytest.raises(RunError, match="damaged"):
        RunFolder.open(run.path)
    with pytest.raises(RunError, match=r"run\.json"):
        RunFolder.open(tmp_path)


def grid_arguments(file, out):
    settings = [
        f"--set={name}={json.dumps(value)}"
        for name, value in SMALL.items()
        if name not in ("backend", "bits")
    ]
    command = ["reproduce", str(file)]
    command += ["--out", str(out), "--noise", "0", "--noise", "0.5", "--seeds", "2", "--bits", "16"]
    return [*command, "--epochs", "3", "--variant", "full", "--backend", BACKEND, *settings]


def cells_of(folder):
    """How many cells of a grid are done."""
    return (folder / CELLS).read_text().count("\n") if (folder / CELLS).exists() else 0


@pytest.fixture(scope="module")
def straight(file, tmp_path_factory):
    """The cells of `grid_arguments` where nothing ends it."""
    folder = tmp_path_factory.mktemp("grid") / "straight"
    grid = Grid([str(file)], [0.0, 0.5], [16], range(2), ["full"])
    settings = {name: value for name, value in SMALL.items() if name != "bits"}
    reproduce(list(grid.recipes(epochs=3, **settings)), folder)
    return folder


@once
@pytest.mark.slow
def test_a_killed_grid_goes_on_and_gives_the_same_table(file, straight, tmp_path):
    killed, lines = tmp_path / "killed", 0
    for how in (signal.SIGKILL, signal.SIGINT):
        process = subprocess.Popen(
            [sys.executable, "-m", "scbch_keras.training.cli.main", *grid_arguments(file, killed)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "COLUMNS": "200"},
        )
        deadline = time.monotonic() + 600  # beside other work, starting alone may take minutes
        while cells_of(killed) <= lines and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(how)
        told, _ = process.communicate(timeout=120)
        assert ("The same command goes on from there" in told) == (how == signal.SIGINT), told
        assert process.returncode == (-how if how == signal.SIGKILL else 130), told
        lines = cells_of(killed)
        assert lines < 4
        with (killed / CELLS).open("a") as cells:
            cells.write('{"dataset": "pa')  # as if killed in the middle of a line
    status, told = run_command(*grid_arguments(file, killed))
    assert status == 0, told
    first, second = (read_cells(folder / CELLS) for folder in (straight, killed))
    assert [cell.history for cell in first] == [cell.history for cell in second]
    assert "not a benchmark of the paper" in (killed / "table.md").read_text()


@once
def test_a_grid_refuses_a_cell_of_other_settings(file, tmp_path):
    settings = {name: value for name, value in SMALL.items() if name != "bits"}
    grid = Grid([str(file)], [0.0], [16], [0], ["full"])
    reproduce(list(grid.recipes(epochs=1, **settings)), tmp_path)
    with pytest.raises(RunError, match="other settings"):
        reproduce(list(grid.recipes(epochs=2, **settings)), tmp_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """60 pictures of coloured shapes with captions and a CSV table."""
    folder = tmp_path_factory.mktemp("shapes")
    rng = np.random.default_rng(0)
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "picture", "text", "labels"])
        for number in range(60):
            shape, dark = ("circle", "square")[number % 2], rng.random() < 0.5
            picture = Image.new("RGB", (40, 40), "black" if dark else "white")
            box = [*rng.integers(2, 10, 2).tolist(), *rng.integers(28, 38, 2).tolist()]
            draw = ImageDraw.Draw(picture)
            (draw.ellipse if shape == "circle" else draw.rectangle)(box, fill="gray")
            picture.save(folder / f"{number}.png")
            words = f"a {shape} on {'black' if dark else 'white'} number {number}"
            table.writerow([f"s{number}", f"{number}.png", words, f"{shape};{'dark' if dark else 'light'}"])
    return folder


def run_command(*arguments):
    result = CliRunner().invoke(commands(), [str(argument) for argument in arguments])
    return result.exit_code, result.output


@once
def test_a_training_leaves_tensorflow_alone(file, tmp_path, monkeypatch):
    imported = []

    class Watched:
        def find_spec(self, name, path=None, target=None):
            if name == "tensorflow":
                imported.append(name)
                raise ModuleNotFoundError(name, name=name)

    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr(module_utils.tensorflow, "_available", None)
    monkeypatch.setattr(sys, "meta_path", [Watched(), *sys.meta_path])
    small = [f"--set={name}={json.dumps(value)}" for name, value in SMALL.items() if name != "backend"]
    status, told = run_command("train", file, "--out", tmp_path / "run", "--epochs", 2, *small)
    assert status == 0, told
    assert RunFolder.open(tmp_path / "run").finished
    assert not imported
    assert module_utils.tensorflow._available is None, "what comes after finds it as before"


@once
@pytest.mark.slow
def test_own_pictures_from_describe_to_audit(folder, tmp_path):
    run = tmp_path / "run"
    status, told = run_command("describe", folder)
    assert status == 0, told
    assert "60" in told
    small = [
        f"--set={name}={json.dumps(value)}"
        for name, value in SMALL.items()
        if name not in ("backend", "bits")
    ]
    status, told = run_command(
        "train", folder, "--out", run, "--image-features", "pixels:16", "--epochs", 3, "--bits", 16, *small
    )
    assert status == 0, told
    status, told = run_command("evaluate", run)
    assert status == 0, told
    assert f"{RunFolder.open(run).state['metrics']['i2t']['map']:.4f}" in told
    status, told = run_command("evaluate", run, "--data", folder)
    assert status == 0, told
    status, told = run_command("audit", run)
    assert status == 0, told
    with (run / "audit.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 54
    assert "data:image/" in (run / "audit.html").read_text(encoding="utf-8")
    status, told = run_command("figures", run)
    assert status == 0, told
    assert {path.name for path in (run / "figures").iterdir()} >= {
        "precision-recall.svg",
        "similarity-maps.png",
    }


@once
@pytest.mark.release
def test_a_run_is_released_and_its_versions_are_kept(folder, tmp_path):
    run, out = tmp_path / "run", tmp_path / "releases" / "shapes"
    small = [f"--set={name}={json.dumps(value)}" for name, value in SMALL.items() if name != "backend"]
    status, told = run_command(
        "train", folder, "--out", run, "--image-features", "pixels:16", "--epochs", 1, *small
    )
    assert status == 0, told
    status, told = run_command("export", run, "--out", out, "--format", "onnx", "--quantize", "fp16")
    assert status == 0, told
    manifest = json.loads((out / "latest" / "manifest.json").read_text())
    assert manifest["label_names"] == ["circle", "dark", "light", "square"]
    recipe, metrics = manifest["training"]["recipe"], RunFolder.open(run).state["metrics"]
    assert (recipe["epochs"], recipe["image_features"]) == (1, "pixels:16")
    assert len(manifest["training"]["data"]["sources"][0]["sha256"]) == 64
    for direction in ("i2t", "t2i"):
        found = manifest["evaluation"]["map"]["onnx"][direction]
        assert found == pytest.approx(metrics[direction]["map"], abs=1e-6)
    for precision in ("float32", "fp16"):
        encoder = HashEncoder(out / "latest", precision=precision)
        assert encoder.text(["a circle on black"]).shape == (1, 2)
    status, told = run_command("release", "list", out)
    assert status == 0
    assert f"onnx {manifest['evaluation']['map']['onnx']['mean']:.4f}" in told
    (out / "1" / "BLESSED").unlink()
    for command, wrong in (
        (("promote", out, 1), "version 1 .* is not blessed.*its validation did not end"),
        (("rollback", out), "no blessed version before 1"),
        (("prune", out, "--keep", 0), "keep must be an int of at least 1"),
        (("validate", out, "--version", 7), "is no release"),
    ):
        status, told = run_command("release", *command)
        assert status == 2
        assert re.search(wrong, " ".join(told.split())), told
    status, told = run_command("release", "prune", out, "--keep", 1)
    assert (status, told) == (0, "")


@once
def test_data_that_changed_since_leaves_the_runs_vocabulary_alone(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "data")
    run = tmp_path / "run"
    small = {"image_features": "pixels:16", "text_features": "bow", "epochs": 1, "warmup_epochs": 0}
    trained(begin(tmp_path / "data", run, **small, noise=0.0))
    vocabulary = (run / "labels.json").read_bytes()
    with next((tmp_path / "data").glob("*.csv")).open("a", encoding="utf-8") as table:
        table.write("late,0.png,a late one,unheard-of\n")
    status, told = run_command("evaluate", run)
    assert status == 2, told
    assert "the data is not the run's" in told
    assert (run / "labels.json").read_bytes() == vocabulary


@once
@pytest.mark.parametrize(
    ("variant", "noise_model"), [("posterior", "count"), ("posterior-independent", "independent")]
)
def test_a_run_on_posterior_labels_is_audited_by_its_probabilities(file, tmp_path, variant, noise_model):
    trained(begin(file, tmp_path / "run", variant=variant, epochs=1, noise=0.5))
    posterior = LabelPosterior.load(tmp_path / "run" / "posterior.npz")
    assert posterior.noise_model == noise_model
    status, told = run_command("audit", tmp_path / "run")
    assert status == 0, told
    assert "the probabilities contradict a given label" in told
    assert f"Estimated noise: {posterior.noise_in_words}" in " ".join(told.split())
    assert posterior.noise_in_words in (tmp_path / "run" / "audit.html").read_text(encoding="utf-8")
    scores = json.loads((tmp_path / "run" / "audit.json").read_bytes())
    assert scores["by_suspicion"]["auroc"] > 0.8
    assert set(scores["reliability"]) == {"given labels", "missing labels"}


@once
def test_checked_rows_are_the_truth_and_degrees_of_relevance_are_measured_on_demand(file, pairs, tmp_path):
    table = tmp_path / "checked.csv"
    _, labels = pairs
    recipe = resolve(data=str(file), queries=0.1)
    rows = open_data(recipe, tmp_path).train.ids[:20]
    lines = [f"{name},{';'.join(np.flatnonzero(labels[int(name)]).astype(str))}" for name in rows]
    table.write_text("\n".join(["id,labels", *lines]), encoding="utf-8")
    run, small = tmp_path / "run", [f"--set={name}={json.dumps(value)}" for name, value in SMALL.items()]
    command = ("train", file, "--out", run, "--epochs", 1, "--noise", 0.5, "--checked", table)
    small = [setting for setting in small if "backend" not in setting]
    status, told = run_command(*command, *small)
    assert status == 2
    assert "checked rows are for the variants on posterior labels; got variant=full" in " ".join(told.split())
    assert not run.exists()
    status, told = run_command(*command, "--variant", "posterior", "--set", "graded=true", *small)
    assert status == 0, told
    assert "checked by hand: 20 rows of checked.csv, SHA-256" in told
    assert "nDCG@100" in told
    posterior = LabelPosterior.load(run / "posterior.npz")
    np.testing.assert_array_equal(posterior.probabilities[:20], labels[rows.astype(int)])
    assert 0 < RunFolder.open(run).state["metrics"]["t2i"]["ndcg_at_100"] <= 1
    # The posterior is kept with the run, which needs the file no more.
    table.unlink()
    status, told = run_command("evaluate", run, "--graded")
    assert status == 0, told
    assert "weighted mAP" in told


@once
@pytest.mark.parametrize("variant", BASELINES)
@pytest.mark.slow
def test_other_methods_run_and_are_audited_too(file, tmp_path, variant):
    model = trained(begin(file, tmp_path / "run", variant=variant, epochs=2))
    assert type(model) is BASELINES[variant]
    run = RunFolder.open(tmp_path / "run")
    assert run.finished
    assert 0 < run.state["metrics"]["t2i"]["map"] <= 1
    np.testing.assert_array_equal(
        load_model(run).encode_image(np.load(file)["image"], verbose=0),
        model.encode_image(np.load(file)["image"], verbose=0),
    )
    assert run_command("audit", tmp_path / "run")[0] == 0


@once
def test_features_and_noise_are_files_that_can_be_trained_on(folder, tmp_path):
    features, noisy = tmp_path / "shapes.h5", tmp_path / "noisy.npz"
    status, told = run_command("features", folder, "--out", features, "--image-features", "pixels:16")
    assert status == 0, told
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "shapes.h5",
        "shapes.image.json",
        "shapes.text.npz",
    ]
    own = read_own(features)
    assert own.image.shape == (60, 256)
    assert own.label_names == ("circle", "dark", "light", "square")
    status, told = run_command("noise", features, "--out", noisy, "--noise", "0.5")
    assert status == 0, told
    with np.load(noisy) as file:
        assert (file["labels"] != file["clean_labels"]).any(axis=1).sum() == 30
        np.testing.assert_array_equal(file["clean_labels"], own.labels)
    status, told = run_command("noise", features, "--out", noisy, "--noise", "0.5")
    assert status == 2
    assert "exists" in told


@once
def test_commands_tell_bad_input_in_one_message(folder, tmp_path):
    for arguments, message in (
        (["train", folder, "--out", tmp_path / "a"], "pixels:32"),
        (["train", tmp_path / "nothing.npz", "--out", tmp_path / "b"], "nothing.npz"),
        (["train", "mirflickr", "--out", tmp_path / "c"], "folder"),
        (["train", "icons", "--noise", "2", "--out", tmp_path / "d"], "noise must be a number in"),
        (
            ["train", "icons", "--set", "neighbours=3", "--out", tmp_path / "e"],
            "unknown setting 'neighbours'",
        ),
        (["train", "--resume", "--out", tmp_path], "run.json"),
        (["evaluate", tmp_path], "run.json"),
        (["audit", tmp_path], "run.json"),
        (["reproduce", "mnist"], "expected one of"),
    ):
        status, told = run_command(*arguments)
        assert status == 2, told
        assert message in told.replace("\n", "")
    assert not list(tmp_path.iterdir())


@once
def test_what_a_package_is_missing_for_leaves_no_run_behind(folder, tmp_path, monkeypatch):
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    status, told = run_command("train", tmp_path / "x.parquet", "--out", tmp_path / "run")
    assert status == 2, told
    assert "pip install pyarrow" in told.replace("\n", "")
    assert not (tmp_path / "run").exists()


@once
def test_a_training_that_diverges_is_one_message_with_a_remedy(file, tmp_path):
    run = begin(file, tmp_path / "run", epochs=3, learning_rate=1e30)
    with pytest.raises(FloatingPointError, match=r"(?i)lower the learning rate"):
        trained(run)
    status, told = run_command("train", "--resume", "--out", run.path)
    assert status == 2, told
    assert "ower the learning rate" in told
    assert "Traceback" not in told
