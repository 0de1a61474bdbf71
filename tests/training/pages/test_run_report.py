"""`scbch report`: what the page of a finished run shows, and which runs have none."""

import json
import re
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from scbch_keras.metrics import mean_average_precision, precision_at_n
from scbch_keras.metrics.graded import precision_with_all_labels
from scbch_keras.training.cli.main import commands
from scbch_keras.training.pages.audit_run import audit_of
from scbch_keras.training.pages.run_advice import advice
from scbch_keras.training.pages.run_report import write_run_report
from scbch_keras.training.runs.evaluate import random_order
from scbch_keras.training.runs.folder import RunFolder
from tests.page import Page
from tests.training.pages.finished_run import (
    BITS,
    HOSTILE,
    NAMES,
    finished_run,
    write_arrays,
    write_pictures,
)

pytestmark = pytest.mark.numpy_only


def run_command(*arguments):
    done = CliRunner().invoke(commands(), [str(argument) for argument in arguments])
    return done.exit_code, " ".join(done.output.split())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run on pictures, and its page."""
    folder = tmp_path_factory.mktemp("report")
    run = finished_run(folder / "run", write_pictures(folder / "data"))
    write_run_report(run.path, folder / "out")
    return run, (folder / "out" / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def copy(whole, tmp_path):
    """The run, to be spoiled."""
    shutil.copytree(whole[0].path, tmp_path / "run")
    return tmp_path / "run"


def labels_of(run, part):
    return run.array(f"{part}_labels")


def test_the_page_is_whole_and_loads_nothing(whole):
    page = Page(whole[1])
    assert page.errors == []
    assert page.open == []
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    anchors = [value for value in page.values("href") if re.fullmatch(r"#[a-z]+", value)]
    assert len(anchors) == 8
    assert {anchor[1:] for anchor in anchors} <= set(ids)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    assert all(source.startswith(("data:image/", "#")) for source in page.values("src", "href", "xlink:href"))
    assert "<img src=x" not in whole[1]
    assert HOSTILE in "".join(page.text)


def test_pictures_and_figures_have_words(whole):
    page = Page(whole[1])
    pictures = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(pictures) == 2 * 3 * (1 + 8)  # six queries, three a direction, with their hits
    assert all(re.fullmatch(r"picture of p\d+", attrs["alt"]) for attrs in pictures)
    figures = [attrs for _, attrs in page.tags if attrs.get("role") == "img"]
    assert len(figures) == 4
    assert all(len(attrs["aria-label"]) > 20 for attrs in figures)
    tags = [tag for tag, _ in page.tags]
    assert tags.count("caption") == tags.count("table") == 3


def test_numbers_are_those_of_the_codes_beside_those_of_chance(whole):
    run, html = whole
    words = Page(html).words
    codes = [run.array(f"{part}_{side}_codes") for part, side in (("query", "text"), ("database", "image"))]
    both = (*codes, labels_of(run, "query"), labels_of(run, "database"))
    assert f"{mean_average_precision(*both, bits=BITS):.3f}" in words
    relevant = (both[2].astype(int) @ both[3].T.astype(int)) > 0
    complete = (both[2].astype(int) @ both[3].T.astype(int)) == both[2].sum(axis=1)[:, None]
    for kind, measure, chance in (
        ("one", precision_at_n, relevant[relevant.any(axis=1)].mean()),
        ("all", precision_with_all_labels, complete[relevant.any(axis=1)].mean()),
    ):
        label = "one label of the query" if kind == "one" else "all labels of the query"
        values = " ".join(f"{value:.3f}" for value in measure(*both, bits=BITS, n=[1, 5, 10, 50]))
        assert f"{label} text → image {values}" in words
        assert f"{label} a random order {' '.join([f'{chance:.3f}'] * 4)}" in words
    assert relevant.mean() != complete.mean()


def test_data_recipe_and_cost_are_told(whole):
    words = Page(whole[1]).words
    for expected in (
        "54 pairs with 3 labels",
        "6 queries among 54 items",
        "SCBCH (full)",
        "1 min 15 s for 6 epochs",
        "2 min 30 s of one core, 200 % of the time",
        "1,536 MiB at most",
        "the given ones, wrong ones included",
    ):
        assert expected in words.replace("\N{NO-BREAK SPACE}", " "), expected


def test_hits_are_those_of_the_index_with_shared_labels_marked(whole):
    for card in re.findall(r'<section class="search".*?</section>', whole[1], re.DOTALL):
        query, _, hits = card.partition("<ol")
        asked = {name for name in ("animal", "sea") if re.search(rf"\b{name}\b", query)}
        for hit in re.findall(r'<li class="hit.*?</li>', hits, re.DOTALL):
            marked = re.search(r"<em>(.*?)</em>", hit, re.DOTALL).group(1)
            assert ("✗" in marked) == ("wrong" in hit.partition(">")[0])
            assert {name for name in ("animal", "sea") if name in marked} <= asked


def test_without_pictures_and_texts_ids_and_labels_are_shown(tmp_path):
    run = finished_run(tmp_path / "run", write_arrays(tmp_path / "x.npz"))
    page = Page(write_run_report(run.path).read_text(encoding="utf-8"))
    assert page.errors == []
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert "bits off" in page.words


def test_the_same_run_gives_the_same_page_and_the_command_names_it(whole, tmp_path):
    run, html = whole
    status, told = run_command("report", run.path, "--out", tmp_path / "new" / "place")
    assert status == 0, told
    page = tmp_path / "new" / "place" / "report.html"
    assert "".join(told.split()).endswith("".join(str(page).split()))
    assert page.read_text(encoding="utf-8") == html


def changed(run, **state):
    stored = json.loads((run / "run.json").read_text())
    stored.update(state)
    (run / "run.json").write_text(json.dumps(stored))
    return RunFolder.open(run)


def history(scores, **more):
    return [
        {"epoch": place + 1, "loss": 1.0, "i2t_map": score, "t2i_map": score, **more}
        for place, score in enumerate(scores)
    ]


ADVICE = {
    "still rising": (history([0.3, 0.4, 0.5, 0.6, 0.7, 0.8]), "still rose, by 0.100 after epoch 5", "--epochs 12"),
    "fell": (history([0.3, 0.7, 0.6, 0.5, 0.5, 0.4]), "highest after epoch 2, 0.700, and fell by 0.300", "--epochs 2"),
    "skipped": (history([0.5] * 6, skipped=2.0), "12 updates were skipped", ""),
    "level": (history([0.5, 0.6, 0.6, 0.6, 0.6, 0.6]), None, None),
}  # fmt: skip


def tried(path):
    """What to try next, as one text."""
    run = RunFolder.open(path)
    chance = random_order(run.array("query_labels"), run.array("database_labels"))
    given = advice(run, chance, audit_of(run, "neighbours")[0])
    return "\n".join(f"{one.text} {one.command}" for one in given)


@pytest.mark.parametrize("kind", ADVICE)
def test_what_to_try_next_is_what_the_epochs_say(copy, kind):
    logs, sentence, _ = ADVICE[kind]
    changed(copy, history=logs)
    words = tried(copy)
    for _, said, setting in ADVICE.values():
        if said is not None:
            assert (said in words) == (said == sentence)
            assert not setting or (setting in words) == (said == sentence)


def test_what_to_try_next_is_what_labels_codes_and_queries_say(copy):
    words = tried(copy)
    assert "There are 6 queries: a single one changes mAP by up to 0.167" in words
    for other in ("different codes", "doubted", "Next to nothing"):
        assert other not in words
    run = RunFolder.open(copy)
    codes = run.array("database_image_codes")
    run.save_array("database_image_codes", np.repeat(codes[:1], len(codes), axis=0))
    run.save_array("soft_labels", (1 - run.array("train_labels")).astype("float32"))
    score = random_order(run.array("query_labels"), run.array("database_labels")).map
    changed(copy, metrics={way: {"map": score} for way in ("i2t", "t2i")})
    words = tried(copy)
    assert "54 images of the database have 1 different codes" in words
    assert "--bits 32" in words
    assert re.search(r"\d+ of \d+ labels are doubted: look at them and decide. scbch audit", words)
    assert "--variant posterior" in words
    assert "Next to nothing was learned" in words


def unfinished(run, data):
    (run / "checkpoint-1.keras").write_bytes(b"")
    changed(run, status="running", history=history([0.5]), model="checkpoint-1.keras")


def moved(run, data):
    data.rename(data.with_name("elsewhere"))


def other_data(run, data):
    with (data / "table.csv").open("a", encoding="utf-8") as table:
        table.write("new,0.png,words,sea\n")


def no_picture(run, data):
    (data / "7.png").unlink()


def lost(name):
    return lambda run, data: (run / name).unlink()


def cut(name):
    return lambda run, data: (run / name).write_bytes((run / name).read_bytes()[:40])


def array(name, values):
    return lambda run, data: np.save(run / f"{name}.npy", values)


def no_metrics(run, data):
    changed(run, metrics={"i2t": {"map": 0.5}})


REFUSED = {
    "unfinished": (unfinished, r"1 of 6 epochs are done: resume it, scbch train --resume --out"),
    "moved data": (moved, r"cannot be opened: .*put it back at"),
    "other data": (other_data, r"the data is not the run's.*put it back at"),
    "a picture that is gone": (no_picture, r"7\.png.*put it back at"),
    "lost codes": (lost("query_text_codes.npy"), r"query_text_codes\.npy is missing; a file was lost"),
    "cut codes": (cut("database_image_codes.npy"), r"is damaged.*backup, or train the run anew"),
    "codes of another length": (array("query_image_codes", np.zeros((6, 3), "uint8")), r"damaged.*backup"),
    "codes of other rows": (array("database_text_codes", np.zeros((7, 2), "uint8")), r"damaged.*backup"),
    "no codes": (array("query_text_codes", np.zeros((6, 2))), r"damaged.*backup"),
    "other labels": (array("train_labels", np.ones((3, 3), "uint8")), r"damaged.*backup"),
    "lost metrics": (no_metrics, r"damaged.*there is no 't2i'.*backup"),
    "no run.json": (lost("run.json"), r"expected a run's folder"),
    "cut run.json": (cut("run.json"), r"damaged.*backup"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.slow
def test_what_cannot_be_reported_is_told_in_one_message_with_its_remedy(tmp_path, kind):
    spoil, message = REFUSED[kind]
    data = write_pictures(tmp_path / "data", rows=60)
    run = finished_run(tmp_path / "run", data)
    spoil(run.path, data)
    status, told = run_command("report", run.path)
    assert status == 2, told
    assert re.search(message, told), told
    assert told.count("Error:") == 1
    assert "Traceback" not in told
    assert not (run.path / "report.html").exists()


@pytest.mark.parametrize("name", ["file", "page.html"])
def test_a_file_in_the_place_of_the_folder_is_refused(whole, tmp_path, name):
    (tmp_path / "file").write_text("")
    status, told = run_command("report", whole[0].path, "--out", tmp_path / name)
    assert status == 2
    assert "out: expected a folder, in which report.html is written; got the file" in told
    assert not (tmp_path / "page.html").exists()


def test_names_of_labels_are_of_the_data(whole):
    assert all(name in Page(whole[1]).words for name in NAMES)
