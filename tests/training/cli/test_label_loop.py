"""The loop on one's own data: describe, audit without a run, fix, and what the corrections gained."""

import csv
import json
import re

import keras
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from scbch_keras.labels.noise import mixed_symmetric
from scbch_keras.training.cli.main import commands
from scbch_keras.training.runs.describe import describe
from scbch_keras.training.runs.folder import RunFolder

pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="the same on every backend")
COLOURS, SHAPES, PAPERS = ("red", "green", "blue"), ("circle", "square", "cross"), ("dark", "light")
NAMES = sorted((*COLOURS, *SHAPES, *PAPERS))
WHEN = "2026-01-31T12:00:00Z"


def drawn(rng, number):
    return COLOURS[number % 3], SHAPES[rng.integers(3)], PAPERS[rng.integers(2)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """150 pictures whose texts say what is on them, 45 of them with one label exchanged, and the true labels."""
    folder = tmp_path_factory.mktemp("loop") / "shapes"
    folder.mkdir()
    rng = np.random.default_rng(0)
    kinds = [drawn(rng, number) for number in range(150)]
    true = np.array([[name in kind for name in NAMES] for kind in kinds], "uint8")
    noisy = mixed_symmetric(true, 0.3, 0).labels
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "picture", "text", "labels"])
        for number, (kind, labels) in enumerate(zip(kinds, noisy, strict=True)):
            shades = np.full((6, 6, 3), 60 * COLOURS.index(kind[0]) + 20) + rng.integers(0, 40, (6, 6, 3))
            Image.fromarray(shades.astype("uint8")).save(folder / f"{number}.png")
            words = "a {} {} on {} paper".format(*kind)
            table.writerow([f"s{number}", f"{number}.png", words, ";".join(np.array(NAMES)[labels != 0])])
    return folder, true, noisy


def run_command(*arguments):
    result = CliRunner().invoke(commands(), [str(argument) for argument in arguments])
    return result.exit_code, " ".join(result.output.split())


def corrections(path, true, noisy, rows, who="Ann"):
    """A file in which all labels of some rows are edited to the true ones."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "label", "given", "decision", "new_labels", "who", "when"])
        for row in rows:
            given, new = (";".join(np.array(NAMES)[labels[row] != 0]) for labels in (noisy, true))
            table.writerow([f"s{row}", "", given, "edit", new, who, WHEN])
    return path


def test_data_is_audited_without_a_run_and_says_by_what(data, tmp_path):
    folder, true, noisy = data
    status, told = run_command("audit", folder, "--out", tmp_path / "audit")
    assert status == 0, told
    assert "By the texts (bow) alone, no picture was looked at. --image-features" in told
    assert "Estimated noise: Of 100 samples" in told
    with (tmp_path / "audit" / "audit.csv").open(newline="", encoding="utf-8") as file:
        ranked = [int(row["id"][1:]) for row in csv.DictReader(file)]
    wrong = (true != noisy).any(axis=1)
    assert wrong[ranked[:45]].mean() > 0.9
    assert not (tmp_path / "audit" / "audit.json").exists()
    page = (tmp_path / "audit" / "audit.html").read_text(encoding="utf-8")
    assert "It rests on the texts (bow) alone" in page
    assert "agree with their probabilities" in page
    status, told = run_command(
        "audit", folder, "--out", tmp_path / "audit", "--image-features", "pixels:4", "--limit", 5
    )
    assert status == 0, told
    assert "By the pictures (pixels:4) and the texts (bow)." in told


def test_features_are_audited_with_a_score_where_the_truth_is_known(data, pairs, tmp_path):
    inputs, labels = pairs
    noisy = mixed_symmetric(labels, 0.3, 0).labels
    np.savez(tmp_path / "pairs.npz", **inputs, labels=noisy, clean_labels=labels)
    status, told = run_command("audit", tmp_path / "pairs.npz", "--out", tmp_path / "audit")
    assert status == 0, told
    assert "By the features of image and text in the file." in told
    scores = json.loads((tmp_path / "audit" / "audit.json").read_bytes())
    assert scores["by_suspicion"]["auroc"] > 0.8
    status, told = run_command("audit", tmp_path / "pairs.npz", "--image-features", "pixels:4")
    assert status == 2
    assert "has features already" in told


def test_what_an_audit_cannot_do_is_refused(data, tmp_path):
    folder, *_ = data
    table = (folder / "table.csv").read_text(encoding="utf-8").splitlines()
    few = folder.parent / "few"
    few.mkdir()
    for number in range(10):
        (few / f"{number}.png").write_bytes((folder / f"{number}.png").read_bytes())
    (few / "table.csv").write_text("\n".join(table[:11]), encoding="utf-8")
    for arguments, message in (
        ((few,), "10 rows are too few"),
        ((folder, "--by", "neighbours"), "--by neighbours is for a run"),
        ((folder, "--out", folder / "table.csv"), "expected a folder, got the file"),
        ((folder, "--limit", 0), "limit must be"),
        ((folder, "--out", folder), "audit.csv would be a second table"),
        ((tmp_path / "nothing",), "there is no such file or folder"),
    ):
        status, told = run_command("audit", *arguments)
        assert status == 2, told
        assert message in told
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_describe_tells_doubtful_labels_or_why_not(data, tmp_path):
    folder, true, noisy = data
    doubts = describe(folder).doubts
    assert re.match(
        r"Doubtful labels, by the texts \(bow\) alone.*: \d+ given ones are probably wrong", doubts[0]
    )
    assert doubts[1].startswith("Estimated noise: Of 100 samples")
    named = [re.match(r"  s(\d+): ", line) for line in doubts]
    assert sum(map(bool, named)) == 5
    assert all((true != noisy)[int(one[1])].any() for one in named if one)
    np.savez(
        tmp_path / "wide.npz",
        image=np.eye(6000, dtype="float32"),
        text=np.eye(6000, 3),
        labels=np.eye(6000, 2),
    )
    assert describe(tmp_path / "wide.npz").doubts == (
        "Doubtful labels: left out, since 6,000 rows of 6,003 features and 2 labels take longer than seconds; "
        "scbch audit looks for them",
    )


@pytest.mark.slow
def test_what_was_fixed_is_told_by_describe_and_train_and_its_gain_is_printed(data, tmp_path):
    folder, true, noisy = data
    wrong = np.flatnonzero((true != noisy).any(axis=1))
    file = corrections(tmp_path / "corrections.csv", true, noisy, wrong)
    status, told = run_command("fix", folder, file, "--out", tmp_path / "new")
    assert status == 0, told
    assert "45 of 45 reviewed samples changed: 45 labels removed, 45 added" in told
    assert "copies of the pictures" in told
    assert (
        "90 changed (45 removed, 45 added) in 45 samples by Ann"
        in run_command("describe", tmp_path / "new")[1]
    )
    settings = {"bits": 16, "warmup_epochs": 1, "image_units": [16], "text_units": [16], "neighbors": 10}
    flags = ["--image-features", "pixels:4", "--epochs", 2, "--set=learning_rate=3e-3"]
    flags += [f"--set={name}={value}" for name, value in settings.items()]
    status, told = run_command("gain", tmp_path / "new", "--out", tmp_path / "gain", "--seeds", 2, *flags)
    assert status == 0, told
    assert "Corrected labels: 90 changed" in told
    scores = {}
    for name in ("before", "after"):
        runs = [RunFolder.open(tmp_path / "gain" / f"{name}-{seed}") for seed in range(2)]
        scores[name] = [np.mean([run.state["metrics"][way]["map"] for way in ("i2t", "t2i")]) for run in runs]
        assert "90 changed" in runs[0].state["data"]["notes"]["corrected labels"]
        rows = [int(one[1:]) for one in runs[0].array("train_ids")]
        np.testing.assert_array_equal(
            runs[0].array("train_labels"), (noisy if name == "before" else true)[rows]
        )
        np.testing.assert_array_equal(runs[0].array("query_labels"), true[np.setdiff1d(np.arange(150), rows)])
        for score in scores[name]:
            assert f"{score:.4f}" in told
    assert f"{np.subtract(scores['after'], scores['before']).mean():+.4f} ±" in told
    assert scores["before"] != scores["after"]
    status, again = run_command("gain", tmp_path / "new", "--out", tmp_path / "gain", "--seeds", 2, *flags)
    assert status == 0
    assert again == told[told.index("Corrected labels") :]  # nothing was trained again
    status, told = run_command("gain", folder, "--out", tmp_path / "other", *flags)
    assert status == 2
    assert "expected data that scbch fix changed" in told
    run = tmp_path / "gain" / "before-0"
    told = run_command("audit", run)[1]
    assert "the probabilities contradict a given label" in told
    with (run / "audit.csv").open(newline="", encoding="utf-8") as file:
        first = [int(row["id"][1:]) for row in csv.DictReader(file)][:30]
    assert np.isin(first, wrong).mean() > 0.9  # of the labels that this run was trained on
    assert "the neighbours contradict" in run_command("audit", run, "--by", "neighbours")[1]
    (tmp_path / "new" / "table.csv").unlink()
    told = run_command("audit", run)[1]
    assert "Ranked by the neighbours, since the run's data cannot be opened" in told
    status, told = run_command("audit", run, "--out", tmp_path / "audit")
    assert (status, "--out is for data" in told) == (2, True)
