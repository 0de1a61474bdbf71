"""The report: drawn from the results alone, well formed, self-contained, and escaped."""

import re

import pytest

from scbch_keras.training.quickstart.report import draw_report, write_report
from scbch_keras.training.quickstart.results import (
    Confidence,
    DataSummary,
    Example,
    Hit,
    Icon,
    Posterior,
    Results,
    Run,
    Search,
    Served,
    Settings,
    Suspect,
)
from tests.page import Page

pytestmark = pytest.mark.numpy_only

_HOSTILE = "<script>alert('x')</script>&\""
_BIDI = "a\u202eb\u2066"


def _run(name, score):
    curve = {"t2i": (0.9, 0.5, 0.25), "i2t": (0.8, 0.4, 0.25)}
    epochs = {"loss": (2.0, None, 1.0), "t2i_map": (0.3, 0.4, score), "i2t_map": (0.3, None, score - 0.1)}
    recall = {"t2i": (0.0, 0.5, 1.0), "i2t": (0.0, 0.5, 1.0)}
    return Run(name, {"t2i": score, "i2t": score - 0.1}, epochs, curve, recall, 12.3)


def _results(name="acorn", noise=0.5):
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><path d="M0,0H8V8Z"/></svg>'
    corrupted = (True, False) if noise else (False, False)
    searches = tuple(
        Search(direction, name, ("oak", "nut"), (Hit("leaf", 0, ("Nature",)), Hit(name, 9, ())))
        for direction in ("t2i", "i2t")
    )
    runs = [_run("full", 0.75), _run("unweighted", 0.76), _run("posterior", 0.8)] + (
        [_run("clean", 0.85)] if noise else []
    )
    return Results(
        settings=Settings(
            backend="jax", noise=noise, bits=64, seed=0, epochs=3, warmup_epochs=1, batch_size=128,
            learning_rate=1e-4, neighbors=20, image_units=(8, 8), text_units=(8,), picture_size=32,
            icon_limit=None,
        ),
        versions={"keras": "3.15.1"},
        data=DataSummary(
            icons=4, training_icons=2, training_pictures=2, database_icons=2, query_icons=2, words=3,
            categories=("Nature", "Objects"), labels_per_icon=1.5, corrupted_icons=int(any(corrupted)),
            unlabelled=(name,), undrawable=(), missing_pictures=1, broken_pictures=0, wordless_icons=1,
        ),
        random_map={"t2i": 0.23, "i2t": 0.23},
        random_precision={"t2i": 0.25, "i2t": 0.25},
        runs=tuple(runs),
        released="posterior",
        confidence=Confidence(
            corrupted=corrupted,
            first=(0.6, 0.8),
            last=(0.55, 0.95),
            first_epoch=2,
            separation=0.7 if noise else None,
            found=0.65 if noise else None,
            suspects=(
                Suspect(name, 0.55, ("Objects",), ("Nature",), corrupted=True),
                Suspect("leaf", 0.95, ("Nature",), ("Nature",), corrupted=False),
            ),
        ),
        posterior=Posterior(0.42, 0.91 if noise else None, 0.93 if noise else None),
        served=Served("releases/1", 8, 512, 510, 2, 1e-5, 0.4),
        searches=searches,
        example=Example("leaf", {"thin": "iVBORw0KGgo="}, ("leaf", name)),
        icons={key: Icon(svg, f"{key}, tag", ("Nature",)) for key in (name, "leaf")},
        seconds=123.4,
    )  # fmt: skip


@pytest.fixture(scope="module")
def page():
    return Page(draw_report(_results()))


def test_every_tag_is_closed_in_order(page):
    assert page.errors == []
    assert page.open == []


def test_ids_are_unique_and_references_find_them(page):
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    for reference in page.values("href", "xlink:href"):
        assert reference.removeprefix("#") in ids
    used = re.findall(r"url\(#([^)]*)\)", " ".join(page.values("clip-path", "fill", "style")))
    assert used
    assert set(used) <= set(ids)


def test_nothing_is_loaded_from_anywhere(page):
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    sources = page.values("src", "href", "xlink:href", "srcset", "action", "data")
    assert sources
    for source in sources:
        assert source.startswith(("data:image/", "#"))
    html = draw_report(_results())
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_what_comes_from_the_data_is_escaped():
    html = draw_report(_results(_HOSTILE))
    page = Page(html)
    assert "<script" not in html
    assert page.errors == []
    assert _HOSTILE in "".join(page.text)
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]


def test_what_turns_the_direction_of_writing_is_written_out():
    assert not set(draw_report(_results(_BIDI))) & set("\u202e\u2066")


def test_sections_are_listed_and_tables_have_captions(page):
    anchors = [value for value in page.values("href") if value.startswith("#") and "-" not in value]
    assert len(set(anchors)) == 6
    tags = [tag for tag, _ in page.tags]
    assert tags.count("caption") == tags.count("table") == 2


def test_pictures_and_figures_have_words_for_those_who_do_not_see_them(page):
    assert all("alt" in attrs for tag, attrs in page.tags if tag == "img")
    figures = [attrs for _, attrs in page.tags if attrs.get("role") == "img"]
    assert len(figures) == 6
    assert all(len(attrs["aria-label"]) > 20 for attrs in figures)


def test_the_numbers_of_the_results_are_on_the_page(page):
    text = re.sub(r"\s+", " ", "".join(page.text))
    for expected in (
        "0.750", "0.650", "0.850", "0.230", "2 min 3 s", "510 of 512 bits", "The other 2 come from numbers",
        "The confidence weights changed mAP by -0.010 from words to pictures and by -0.010",
        "in 70 % of all such pairs", "1 of 2 answers", "✓ Nature", "✗ none shared",
        "1 of them carry corrupted labels; as many picked by chance would have about 1", "✓ found: corrupted",
        "✗ false alarm", "not the paper's, changed the mean by +0.050", "By this estimate 42 % of the icons",
        "In 91 % of all pairs of a wrong and a right label",
        "1 left out for want of a category (acorn)", "1 pictures missing",
    ):  # fmt: skip
        assert expected in text, expected
    assert ("del", {}) in page.tags
    assert ("ins", {}) in page.tags


def test_without_noise_nothing_is_said_of_corrupted_labels():
    page = Page(draw_report(_results(noise=0.0)))
    text = "".join(page.text)
    assert page.errors == []
    assert "noise 0" in text
    assert "mislabelled" not in text
    assert "doubts most" not in text
    assert "wrong and a right label" not in text


def test_the_same_results_give_the_same_text(tmp_path):
    results = _results()
    results.save(tmp_path / "results.json")
    write_report(Results.load(tmp_path / "results.json"), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == draw_report(results)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "results.json"]


def test_results_survive_the_file(tmp_path):
    results = _results(_HOSTILE)
    results.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json") == results


@pytest.mark.parametrize("content", ["[]", "{}", '{"format": 1}', '{"format": 99}'])
def test_a_file_that_is_no_results_is_refused(tmp_path, content):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="expected"):
        Results.load(path)
