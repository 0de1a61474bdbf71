"""The quickstart and its command line: the whole path on few icons, and what it refuses."""

import dataclasses
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import httpx
import keras
import numpy as np
import py_phosphor_icons as phosphor
import pytest

from scbch_keras.export import CodesFile, HashEncoder
from scbch_keras.training import environment
from scbch_keras.training.data.icons.pictures import WEIGHTS, load_icons, rasterize
from scbch_keras.training.quickstart import findings
from scbch_keras.training.quickstart.arguments import MARKER, check_arguments, claim_folder
from scbch_keras.training.quickstart.fresh_search import FreshSearch, search_in_fresh_process
from scbch_keras.training.quickstart.icon_files import text_of
from scbch_keras.training.quickstart.next_steps import next_commands
from scbch_keras.training.quickstart.quickstart import quickstart
from scbch_keras.training.quickstart.report import draw_report
from scbch_keras.training.quickstart.results import Results

once = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the same on every backend; runs on torch"
)
_FEW = {"bits": 20, "epochs": 4, "icon_limit": 100, "seed": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("quickstart") / "new" / "folder"


@pytest.fixture(scope="module")
def results(folder):
    if keras.backend.backend() != "torch":
        pytest.skip("a minute on each backend; .ci/wheel_alone runs it on all three")
    return quickstart(folder, noise=0.5, **_FEW)


@pytest.mark.release
def test_the_whole_path_on_few_icons(results, folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("report.html", "results.json", "model.keras", "releases", "icons", MARKER),
        *(f"{name}.npy{more}" for name in ("pictures", "texts") for more in ("", ".json", ".ids.txt")),
    }
    assert Results.load(folder / "results.json") == results
    assert (folder / "report.html").read_text(encoding="utf-8") == draw_report(results)
    assert (folder / "report.html").stat().st_size < 3_000_000
    assert [run.name for run in results.runs] == ["full", "unweighted", "posterior", "clean"]
    assert results.settings.backend == keras.backend.backend()
    assert results.data.training_icons == 80
    assert results.data.corrupted_icons == 40
    assert results.data.query_icons == 20


@pytest.mark.release
def test_the_release_is_the_best_model_that_never_saw_the_true_labels_and_takes_strings_and_pictures(
    results, folder
):
    scores = {run.name: run.mean_map for run in results.runs if run.name != "clean"}
    assert scores[results.released] == max(scores.values())
    manifest = json.loads((folder / results.served.release / "manifest.json").read_text())
    assert manifest["training"]["run"] == results.released
    icons = load_icons(_FEW["seed"], 20, 100)
    encoder = HashEncoder(folder / "releases" / "icons" / "latest")
    words = [text_of(icons, row) for row in range(len(icons.names))]
    np.testing.assert_array_equal(encoder.text(words), encoder.text(icons.text))
    drawn = [rasterize(phosphor.get_svg(name), 32) for name in icons.names]
    pixels = [np.repeat((255 * (1 - ink)).round().astype(np.uint8)[:, :, None], 3, axis=2) for ink in drawn]
    differ = encoder.image(pixels) != encoder.image(icons.pictures[:, WEIGHTS.index("regular")])
    assert differ.mean() < 0.001
    stored = CodesFile.open(folder / "pictures.npy")
    names = [f"{icons.names[row]}.png" for row in icons.train]
    assert stored.ids == names
    np.testing.assert_array_equal(
        stored.codes, encoder.image([str(folder / "icons" / name) for name in names])
    )


@pytest.mark.release
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="commands without a backend: once is enough")
def test_the_next_commands_work_as_they_are_printed(results, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    commands = next_commands(results, Path(folder.name))
    scripts = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, "PATH": scripts, "COLUMNS": "200", "BROWSER": "true"}
    assert list(commands) == ["search", "demo", "describe"]
    for name in ("search", "describe"):
        done = subprocess.run(commands[name], shell=True, capture_output=True, text=True, env=environ)
        assert done.returncode == 0, done.stdout + done.stderr
        assert {"search": ".png", "describe": "Nothing stands in the way"}[name] in done.stdout
    page = subprocess.Popen(
        f"exec {commands['demo']}", shell=True, stdout=subprocess.PIPE, text=True, env=environ
    )
    try:
        address = page.stdout.readline().split()[2]
        about = httpx.get(f"{address}page/about").json()
        assert (about["count"], about["has_pictures"]) == (80, True)
        assert about["takes_words"]
        assert about["takes_pictures"]
        assert {label["name"] for label in about["labels"]} == set(results.data.categories)
    finally:
        page.terminate()
        page.wait(30)
        page.stdout.close()


@pytest.mark.release
def test_every_metric_is_there_by_epoch_and_the_last_is_what_is_reported(results):
    for run in results.runs:
        assert {"loss", "i2t_map", "t2i_map", "skipped"} <= run.epochs.keys()
        assert {len(values) for values in run.epochs.values()} == {_FEW["epochs"]}
        for direction in ("i2t", "t2i"):
            assert run.map[direction] == pytest.approx(run.epochs[f"{direction}_map"][-1], abs=1e-12)
            assert run.recall[direction][-1] == pytest.approx(1)
            assert run.precision[direction][-1] == pytest.approx(results.random_precision[direction])
    first_epochs = [run.epochs["loss"][0] for run in results.runs]
    assert first_epochs[0] == first_epochs[1], (
        "warm-up knows no weights: the same initial weights and batches"
    )
    assert first_epochs[0] != first_epochs[2]
    weights = results.run("full").epochs["confidence"]
    assert weights[:2] == (1, 1)
    assert weights[3] < 1
    assert set(results.run("unweighted").epochs.get("confidence", (1,))) == {1}


@pytest.mark.release
def test_it_learns_something_from_few_icons_in_few_epochs(results):
    assert results.run("full").map["t2i"] > results.random_map["t2i"]


@pytest.mark.release
def test_the_fresh_process_agrees_with_the_model(results, folder):
    served = results.served
    assert served.codes == 2 * (80 + 20)
    assert served.bits == served.codes * _FEW["bits"]
    assert served.equal + served.near_zero == served.bits
    assert (folder / served.release / "image.onnx").is_file()


@pytest.mark.release
def test_shown_searches_are_right_about_being_right(results):
    assert len(results.searches) == 20
    for search in results.searches:
        distances = [hit.distance for hit in search.hits]
        assert len(distances) == 8
        assert distances == sorted(distances)
        asked = set(results.icons[search.icon].categories)
        for hit in search.hits:
            assert set(hit.shared) == asked & set(results.icons[hit.icon].categories)
    asked = [search.icon for search in results.searches]
    assert len(set(asked)) == 20


@pytest.mark.release
def test_the_posterior_knows_something_of_wrong_labels(results):
    assert results.posterior.wrong > 0.5
    assert results.posterior.missing > 0.5
    assert 0 < results.posterior.noise_rate < 1


@pytest.mark.release
def test_suspects_are_told_by_their_true_labels(results):
    suspects = results.confidence.suspects
    weights = [suspect.confidence for suspect in suspects]
    assert weights == sorted(weights)
    for suspect in suspects:
        assert suspect.true == results.icons[suspect.icon].categories
        assert suspect.corrupted == (suspect.given != suspect.true)
        assert len(suspect.given) == len(suspect.true)


@pytest.mark.release
@once
def test_the_same_seed_gives_the_same_numbers_and_a_second_run_keeps_the_first_release(results, folder):
    (folder / "mine.txt").write_text("a file of the user's")
    again = quickstart(folder, noise=0.5, **_FEW)
    timeless = [
        dataclasses.replace(
            each,
            seconds=0,
            runs=tuple(dataclasses.replace(run, seconds=0) for run in each.runs),
            served=dataclasses.replace(each.served, seconds=0, release=""),
        )
        for each in (results, again)
    ]
    assert timeless[0] == timeless[1]
    assert again.served.release != results.served.release
    assert (folder / results.served.release / "image.onnx").is_file()
    assert (folder / "mine.txt").read_text() == "a file of the user's"


@pytest.mark.release
def test_a_damaged_release_is_an_error_that_names_it(results, folder, tmp_path):
    icons = load_icons(_FEW["seed"], 20, 100)
    release = folder / results.served.release
    (release / "image.onnx").rename(release / "away.onnx")
    try:
        with pytest.raises(RuntimeError, match=r"could not search .*releases"):
            search_in_fresh_process(release, icons.queries.inputs, icons.database.inputs, 3, tmp_path)
    finally:
        (release / "away.onnx").rename(release / "image.onnx")


@once
def test_a_random_order_is_the_mean_over_random_orders():
    icons = load_icons(0, 20, 60)
    query, database = icons.queries, icons.database
    score, share = findings.random_ranking(query, database)
    rng = np.random.default_rng(0)
    relevant = (query.labels.astype(int) @ database.labels.T.astype(int)) > 0
    relevant = relevant[relevant.any(axis=1)]
    tries = []
    for _ in range(400):
        shuffled = rng.permuted(relevant, axis=1)
        precision = shuffled.cumsum(axis=1) / np.arange(1, relevant.shape[1] + 1)
        tries.append(((precision * shuffled).sum(axis=1) / relevant.sum(axis=1)).mean())
    error = np.std(tries) / np.sqrt(len(tries))
    assert score["i2t"] == score["t2i"] == pytest.approx(np.mean(tries), abs=4 * error)
    assert share["t2i"] == pytest.approx(relevant.mean())


def test_codes_that_differ_away_from_zero_are_an_error_and_near_zero_are_counted():
    coordinates = {"query_image": np.array([[0.5, -0.5, 1e-7, 0.25]], np.float32)}
    mine = {"query_image": np.array([[0b10110000]], np.uint8)}

    def found(byte):
        return FreshSearch({"query_image": np.array([[byte]], np.uint8)}, {}, {}, 0.1)

    served = findings.compare_codes("releases/1", found(0b10010000), mine, coordinates, 4)
    assert (served.bits, served.equal, served.near_zero) == (4, 3, 1)
    with pytest.raises(RuntimeError, match="query_image: 1 of 4 bits"):
        findings.compare_codes("releases/1", found(0b00010000), mine, coordinates, 4)


@once
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise": 1.1}, r"noise must be a number in \[0, 1\]; got 1\.1"),
        ({"noise": float("nan")}, "noise must be .* got nan"),
        ({"bits": 0}, "bits must be an int from 1 to 1024; got 0"),
        ({"bits": 8.0}, r"bits must be .* got 8\.0"),
        ({"seed": -1}, "seed must be .* got -1"),
        ({"epochs": 0}, "epochs must be .* got 0"),
        ({"icon_limit": 29}, "icon_limit must be an int of at least 30, or None; got 29"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        check_arguments(**{"noise": 0.5, "bits": 64, "seed": 0, "epochs": 3, **arguments})
    with pytest.raises(ValueError, match=message):
        quickstart(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds other files"):
        claim_folder(tmp_path)
    with pytest.raises(ValueError, match="expected a folder, got the file"):
        claim_folder(tmp_path / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_new_an_empty_and_an_earlier_folder_are_taken(tmp_path):
    assert claim_folder(tmp_path / "a" / "new" / "one").is_dir()
    (tmp_path / "empty").mkdir()
    claim_folder(tmp_path / "empty")
    (tmp_path / "empty" / "report.html").write_text("an earlier report")
    claim_folder(tmp_path / "empty")
    assert (tmp_path / "empty" / "report.html").read_text() == "an earlier report"


def _scbch(*arguments, code="from scbch_keras.training.cli.main import main; main()", run=subprocess.run):
    environ = {key: value for key, value in os.environ.items() if key not in ("KERAS_BACKEND", "KERAS_HOME")}
    environ |= {"COLUMNS": "300", "NO_COLOR": "1", "SCBCH_ALLOCATOR": "0"}
    command = [sys.executable, "-c", code, *arguments]
    return run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ, timeout=300)


@once
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--noise", "1.5"), "noise must be a number in [0, 1]; got 1.5"),
        (("--noise", "nan"), "noise must be a number in [0, 1]; got nan"),
        (("--noise", "much"), "--noise"),
        (("--bits", "0"), "bits must be an int from 1 to 1024; got 0"),
        (("--epochs", "0"), "epochs must be an int of at least 1; got 0"),
        (("--backend", "theano"), "expected one of tensorflow, jax, torch; got 'theano'"),
        (("--out", sys.prefix), "holds other files"),
    ],
)
def test_wrong_options_end_with_a_message_and_code_2(arguments, message, tmp_path, having_imported):
    out = () if "--out" in arguments else ("--out", str(tmp_path / "out"))
    done = _scbch("quickstart", *arguments, *out, run=partial(having_imported, "typer"))
    assert done.returncode == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def _without(*packages):
    """Code that runs `scbch` where `packages` cannot be found, as on a computer that lacks them."""
    return (
        "import sys\n"
        f"absent = {packages!r}\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in absent: raise ModuleNotFoundError(f'no {name}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, package=None: None if name in absent else find(name, package)\n"
        "from scbch_keras.training.cli.main import main; main()"
    )


@once
@pytest.mark.parametrize("package", ["typer", "rich", "resvg_py", "tf2onnx", "fastapi"])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(package, tmp_path):
    done = _scbch("quickstart", "--out", str(tmp_path / "out"), code=_without(package))
    assert done.returncode == 1
    assert package.replace("_", "-") in done.stderr
    assert "pip install 'scbch_keras[quickstart]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@once
def test_a_backend_that_is_not_installed_is_named_with_its_extra(tmp_path):
    done = _scbch("quickstart", "--backend", "jax", "--out", str(tmp_path / "out"), code=_without("jax"))
    assert done.returncode == 2
    assert "--backend: jax is not installed: pip install 'scbch_keras[jax]'" in done.stderr


@once
def test_the_backend_is_the_asked_one_then_the_variable_then_the_configured_then_the_first(
    tmp_path, monkeypatch
):
    installed = {"tensorflow", "torch"}
    monkeypatch.setattr(environment, "find_spec", lambda name: name if name in installed else None)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    assert environment.choose_backend("torch") == "torch"
    assert environment.choose_backend() == "tensorflow"
    monkeypatch.delenv("KERAS_BACKEND")
    assert environment.choose_backend() == "tensorflow"
    configured = tmp_path / "keras.json"
    configured.write_text('{"backend": "torch"}')
    assert environment.choose_backend() == "torch"
    for not_installed_or_damaged in ('{"backend": "jax"}', "?"):
        configured.write_text(not_installed_or_damaged)
        assert environment.choose_backend() == "tensorflow"
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(environment.BackendError, match=r"KERAS_BACKEND: jax is not installed: .*\[jax\]"):
        environment.choose_backend()
    installed.clear()
    monkeypatch.delenv("KERAS_BACKEND")
    with pytest.raises(environment.BackendError, match="no backend is installed"):
        environment.choose_backend()
