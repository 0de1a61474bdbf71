"""Rows proposed to be checked by hand, and the audit that knows their true labels."""

import csv
import json

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from scbch_keras.training.cli.main import commands

pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="the same on every backend")


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    """300 rows of features with 5 labels of which most were left out, and the true ones."""
    rng = np.random.default_rng(0)
    true = (rng.random((300, 5)) < 0.3).astype("uint8")
    image = true @ rng.standard_normal((5, 20)) + 0.5 * rng.standard_normal((300, 20))
    text = rng.poisson(0.05 + true @ (rng.random((5, 30)) < 0.2))
    labels = true & (rng.random(true.shape) < 0.35)
    path = tmp_path_factory.mktemp("tagged") / "tagged.npz"
    names, ids = np.array(["ant", "bee", "cat", "dog", "emu"]), np.array([f"row {n}" for n in range(300)])
    np.savez(path, image=image, text=text, labels=labels.astype("uint8"), label_names=names, ids=ids)
    return path, true, names


def run_command(*arguments):
    result = CliRunner().invoke(commands(), [str(argument) for argument in arguments])
    return result.exit_code, " ".join(result.output.split())


def test_rows_are_proposed_checked_and_the_audit_says_what_they_show(tagged, tmp_path):
    path, true, names = tagged
    out = tmp_path / "audit"
    status, told = run_command("audit", path, "--out", out, "--propose", 40)
    assert status == 0, told
    assert "check.csv: 40 rows to check (random)" in told
    with (out / "check.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    checked = tmp_path / "checked.csv"
    with checked.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "labels"])
        for row in rows:
            number = int(row["id"].removeprefix("row "))
            table.writerow([row["id"], json.dumps(names[true[number] != 0].tolist())])
    status, told = run_command(
        "audit", path, "--out", out, "--checked", checked, "--propose", 20, "--propose-by", "doubtful"
    )
    assert status == 0, told
    assert "Checked by hand: 40 rows of checked.csv" in told
    assert "20 rows to check (doubtful)" in told
    assert "lost one label" in told
    with (out / "check.csv").open(newline="", encoding="utf-8") as file:
        more = {row["id"] for row in csv.DictReader(file)}
    assert len(more) == 20
    assert not more & {row["id"] for row in rows}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--propose", 400), "count must be at most 300, the number of items not known yet; got 400"),
        (("--propose", 5, "--propose-by", "luck"), "expected one of random, doubtful"),
        (("--checked", "none.csv"), "checked: expected a .csv or .jsonl file with the columns id and labels"),
    ],
)
def test_what_cannot_be_proposed_or_was_not_checked_is_named(tagged, tmp_path, arguments, message):
    status, told = run_command("audit", tagged[0], "--out", tmp_path / "audit", *arguments)
    assert status == 2
    assert message in told
