"""`scbch tune`: a study of tiny trainings, and what it may vary."""

import re

import numpy as np
import pytest
from typer.testing import CliRunner

from scbch_keras.training.cli.main import commands
from scbch_keras.training.runs.folder import RunFolder
from scbch_keras.training.runs.open_data import open_data
from scbch_keras.training.runs.recipe import resolve
from scbch_keras.training.runs.space import Choices, Range, read_space
from tests.training.runs.small import SMALL, once

pytestmark = once
optuna = pytest.importorskip("optuna")


def run_command(*arguments):
    done = CliRunner().invoke(commands(), [str(argument) for argument in arguments])
    return done.exit_code, " ".join(done.output.split())


def settings():
    small = {**SMALL, "epochs": 2, "noise": 0.3}
    return [
        f"--set={name}={value!r}"
        for name, value in small.items()
        if name not in ("backend", "noise", "epochs")
    ]


@pytest.mark.slow
def test_two_trials_give_a_recipe_that_trains_and_a_study_goes_on(file, tmp_path):
    out = tmp_path / "study"
    space = ("--space", "learning_rate=1e-4:1e-2:log", "--space", "image_units=[16],[32]")
    command = ("tune", file, "--out", out, "--epochs", 2, "--noise", 0.3, *space, *settings())
    status, told = run_command(*command, "--trials", 2)
    assert status == 0, told
    assert "2 trials" in told
    # The recipe's own settings lie in the space: they are the first trial.
    assert "trial 0:" in told
    assert re.search(r"learning_rate=0\.001, image_units=\[32\]", told)
    best = resolve(out / "best.toml")
    assert 1e-4 <= best.learning_rate <= 1e-2
    assert best.image_units in ((16,), (32,))
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == [
        "best.toml", "data", "study.log",
    ]  # fmt: skip

    status, told = run_command(*command, "--trials", 3)
    assert status == 0, told
    assert "trial 2:" in told
    assert "trial 1:" not in told
    assert "3 trials" in told
    status, told = run_command(*command[:-1], "--set=margin=0.9", "--trials", 3)
    assert status == 2
    assert "holds a study of another recipe; name another folder" in told

    status, told = run_command(
        "train", "--config", out / "best.toml", "--out", tmp_path / "run", "--epochs", 1
    )
    assert status == 0, told
    assert RunFolder.open(tmp_path / "run").recipe.learning_rate == best.learning_rate


@pytest.mark.slow
def test_a_trial_that_lags_behind_is_pruned_and_one_that_was_killed_does_not_count(
    file, tmp_path, monkeypatch
):
    from scbch_keras.training.runs import tune as tuning

    scores = iter([[0.5, 0.6, 0.7]] * 3 + [[0.5, 0.1, 0.1]])

    def scored(recipe, data, folder, trial, epoch, stop):
        folder.mkdir()
        if trial.number == 4:
            raise KeyboardInterrupt
        watch = tuning._Watch(trial, 3, epoch)
        for place, score in enumerate(next(scores)):
            watch.on_epoch_end(place, {"i2t_map": score, "t2i_map": score})
        return 0.7

    monkeypatch.setattr(tuning, "_score", scored)
    recipe = resolve(data=str(file), epochs=3, **SMALL)
    space = read_space(recipe, ["margin=0.1:0.2"])
    tuned = tuning.tune(recipe, space, tmp_path / "study", 4)
    assert [trial.state for trial in tuned.trials] == ["complete"] * 3 + ["pruned"]
    with pytest.raises(KeyboardInterrupt):
        tuning.tune(recipe, space, tmp_path / "study", 5)
    assert not list((tmp_path / "study").glob("trial-*"))
    monkeypatch.setattr(tuning, "_score", lambda *arguments: 0.9)
    tuned = tuning.tune(recipe, space, tmp_path / "study", 5)
    assert len(tuned.trials) == 5
    assert tuned.score == 0.9


def test_trials_see_training_pairs_alone_and_items_stay_together(file, pairs, tmp_path):
    from scbch_keras.training.runs.tune import validation_data

    x, labels = pairs
    group = np.arange(len(labels)) // 2
    np.savez(
        tmp_path / "g.npz",
        image=x["image"],
        text=x["text"].astype("float32"),
        labels=labels[group * 2],
        group=group,
    )
    for path in (file, tmp_path / "g.npz"):
        data = open_data(resolve(data=str(path), noise=0.3, **SMALL), tmp_path)
        held = validation_data(data, 0)
        ids = {part: set(getattr(held, part).ids) for part in ("train", "query", "database")}
        assert ids["train"] == ids["database"]
        assert not ids["train"] & ids["query"]
        assert ids["train"] | ids["query"] == set(data.train.ids)
        assert 0.15 < len(ids["query"]) / len(data.train) < 0.25
        row = {name: place for place, name in enumerate(data.train.ids)}
        for part in (held.query, held.train):
            given = data.train.labels[[row[name] for name in part.ids]]
            np.testing.assert_array_equal(part.labels, given)
        if data.train.groups is not None:
            assert not set(held.query.groups) & set(held.train.groups)


def test_a_space_is_said_by_flags_or_a_file(tmp_path):
    recipe = resolve(data="icons")
    (tmp_path / "space.toml").write_text(
        '[learning_rate]\nlow = 1e-5\nhigh = 1e-3\nlog = true\n[variant]\nchoices = ["full", "dcmh"]\n'
    )
    assert read_space(recipe, ["bits=32,64", "neighbors=5:20"], tmp_path / "space.toml") == {
        "learning_rate": Range(1e-5, 1e-3, True),
        "variant": Choices(("full", "dcmh")),
        "bits": Choices((32, 64)),
        "neighbors": Range(5, 20),
    }
    assert read_space(recipe, ["variant=full,posterior"])["variant"] == Choices(("full", "posterior"))


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("learning_rat=1:2", "did you mean 'learning_rate'"),
        ("noise=0.1:0.5", "noise says which data there is"),
        ("margin", "expected NAME=LOW:HIGH"),
        ("margin=2:1", "LOW < HIGH"),
        ("margin=a:b", "expected numbers"),
        ("margin=0:1:log", "both above 0 with log"),
        ("margin=1:2:3", "LOW:HIGH or LOW:HIGH:log"),
        ("bits=64", "at least two values"),
        ("bits=64,64", "each once"),
        ("bits=0:64", "bits must be an int of at least 1"),
        ("variant=full,nonsense", "variant must be one of"),
        ("beta=true:false", "expected numbers"),
    ],
)
def test_a_space_that_a_recipe_does_not_take_is_refused(flag, message):
    with pytest.raises(ValueError, match=message):
        read_space(resolve(data="icons"), [flag])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = [", "is not a TOML file"),
        ("margin = 3", "expected a table with low and high"),
        ("[margin]\nlow = 1", "expected a table with low and high"),
        ("[margin]\nlow = 1\nhigh = 2\nstep = 1", "expected a table with low and high"),
        ("", "name at least one setting"),
    ],
)
def test_a_space_file_that_is_none_is_refused(tmp_path, text, message):
    (tmp_path / "space.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_space(resolve(data="icons"), [], tmp_path / "space.toml")


def test_a_folder_of_something_else_is_left_alone(file, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    status, told = run_command("tune", file, "--out", tmp_path, "--trials", 1)
    assert status == 2
    assert "holds something else" in told
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
