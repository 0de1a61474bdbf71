"""The tables of a grid: sums by hand, honest names, and published numbers only where they belong."""

import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest

from scbch_keras.training.grid.published import BENCHMARKS, ablation, comparison
from scbch_keras.training.grid.tables import (
    BEST,
    LAST,
    NOT_A_BENCHMARK,
    VARIANTS,
    read_cells,
    summarize,
    tables,
    to_csv,
    to_markdown,
)
from scbch_keras.training.pages.grid_page import _MARKS, _SERIES, _style_of, draw_page, write_grid

pytestmark = pytest.mark.numpy_only

_HOSTILE = "<script>alert('x')</script>|&\""


def cell(scores=((0.5, 0.75), (0.75, 0.5)), **changes):
    """A cell as the grid writes it; `scores` are (I2T, T2I) of each epoch."""
    history = [
        {"epoch": epoch, "i2t": i2t, "t2i": t2i, "loss": 1.0} for epoch, (i2t, t2i) in enumerate(scores, 1)
    ]
    return {
        "dataset": "mirflickr", "title": "MIRFlickr-25K", "stand_in": False, "noise": 0.5, "bits": 64, "seed": 0,
        "variant": "full", "backend": "torch", "epochs": len(history), "versions": {"keras": "3.15.1"},
        "data_checksum": "ab12", "history": history, "seconds": 12.5, "metrics": {},
        "settings": {"seed": changes.get("seed", 0), "batch_size": 128}, **changes,
    }  # fmt: skip


@pytest.fixture
def read(tmp_path):
    """A function that writes cells and reads them as `read_cells` does."""

    def read(*cells):
        path = tmp_path / "cells.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in cells), encoding="utf-8")
        return read_cells(path)

    return read


def test_mean_and_deviation_over_seeds_by_hand(read):
    (row,) = summarize(read(cell(seed=4), cell(((0.625, 0.75), (0.5, 0.5)), seed=1)))
    assert row.seeds == (1, 4)
    # last epochs (0.75, 0.5) and (0.5, 0.5), means 0.625 and 0.5
    assert row.last.i2t == pytest.approx((0.625, 0.03125**0.5))
    assert row.last.t2i == pytest.approx((0.5, 0))
    assert row.last.mean == pytest.approx((0.5625, 0.0078125**0.5))
    # both best by their mean at epoch 1, equals going to the first: (0.5, 0.75) and (0.625, 0.75)
    assert row.best.i2t == pytest.approx((0.5625, 0.0078125**0.5))
    assert row.best.t2i == pytest.approx((0.75, 0))
    assert row.best.mean == pytest.approx((0.65625, 0.001953125**0.5))


def test_one_seed_has_no_deviation_and_epochs_without_evaluation_do_not_count(read):
    one = cell(((0.9, 0.9), (0.2, 0.4), (0.1, 0.3)))
    one["history"][0] = {"epoch": 1, "loss": 2.0}
    (row,) = summarize(read(one))
    assert row.last.mean == (pytest.approx(0.2), None)
    assert row.best.mean == (pytest.approx(0.3), None)


def test_rows_are_told_apart_by_all_but_the_seed(read):
    others = [
        {"variant": "no-confidence"},
        {"noise": 0.2},
        {"bits": 16},
        {"backend": "jax"},
        {"stand_in": True},
    ]
    rows = summarize(read(cell(), *(cell(**other) for other in others), cell(seed=1)))
    assert [len(row.seeds) for row in rows].count(2) == 1
    assert len(rows) == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"scores": [(0.5, 0.5)]},
            "same epochs for every seed of .*full.* got 2 for seed 0 and 1 for seed 1",
        ),
        ({"settings": {"seed": 1, "batch_size": 64}}, "same settings for every seed .* for seed 1"),
    ],
)
def test_what_was_trained_otherwise_is_not_averaged(read, change, message):
    with pytest.raises(ValueError, match=message):
        summarize(read(cell(), cell(seed=1, **change)))


def test_csv_names_its_columns_honestly_and_has_the_numbers(read):
    rows = summarize(
        read(cell(), cell(seed=1), cell(noise=0.0), cell(variant="no-attraction"), cell(stand_in=True))
    )
    lines = list(csv.DictReader(io.StringIO(to_csv(rows))))
    clean, full, reduced, stand_in = lines
    assert {name for name in full if "best" in name} == {
        f"best_epoch_by_test_map_optimistic_{score}{end}"
        for score in ("i2t", "t2i", "mean")
        for end in ("", "_std")
    }
    assert (full["seeds"], full["last_epoch_mean"], full["last_epoch_mean_std"]) == (
        "2",
        "0.625000",
        "0.000000",
    )
    assert (full["published_benchmark"], full["published_mean"]) == ("MIRFlickr-25K", "0.786")
    # no noise and no ablation are published on MIRFlickr-25K; of one seed there is no deviation
    assert [one["published_mean"] for one in (clean, reduced, stand_in)] == ["", "", ""]
    assert clean["last_epoch_i2t_std"] == ""
    assert stand_in["published_benchmark"] == ""


def test_a_benchmark_stands_beside_all_thirteen_methods(read):
    scores = ((0.80, 0.78), (0.78, 0.76))
    made = tables(summarize(read(cell(scores), cell(scores, noise=0.0, seed=1), cell(scores, noise=0.0))))
    table = made[0]
    assert table.groups == (("noise 0", 1), ("noise 0.2", 4), ("noise 0.5", 4), ("noise 0.8", 4))
    assert table.columns == ("64 bits", *("16 bits", "32 bits", "64 bits", "128 bits") * 3)
    names = [line.name for line in table.lines]
    assert sum(name.endswith(", published") for name in names) == 13
    assert names[12] == "SCBCH (2025), published"
    assert names[13:] == [
        f"SCBCH, measured (torch, 2 epochs, 1 to 2 seeds), {LAST}",
        f"SCBCH, measured (torch, 2 epochs, 1 to 2 seeds), {BEST}",
        f"SCBCH, measured (torch) minus published, both at the {BEST}",
    ]
    column = 7  # noise 0.5, 64 bits
    published, last, best, difference = (line.values[column] for line in table.lines[12:])
    assert (published, difference) == ("78.6", "+0.4")
    assert (last.mean, best.mean) == (pytest.approx(0.77), pytest.approx(0.79))
    assert [line.values[0] for line in table.lines if line.name.endswith("published")] == [None] * 13


def test_markdown_is_a_table_in_percent_and_never_says_best_without_its_price(read):
    text = to_markdown(summarize(read(cell(), cell(seed=1), cell(title=_HOSTILE, dataset="icons"))))
    lines = text.splitlines()
    head = next(place for place, line in enumerate(lines) if line.startswith("| --- |"))
    assert "| noise 0.2, 16 bits |" in lines[head - 1]
    assert "<script" not in text
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in lines[head - 1 : head + 15]}
    assert widths == {14}
    assert "| 62.5 ± 0.0 |".replace("± ", "±\N{NO-BREAK SPACE}") in text
    for match in re.finditer(r"(?i)best[^|]*", text):
        assert "test mAP" in match[0], match[0]


@pytest.mark.parametrize(
    "change",
    [
        {"stand_in": True, "title": "MIRFlickr-25K, stand-in features"},
        {"dataset": "mirflickr-subset", "title": "MIRFlickr, 724 pairs"},
        {"dataset": "icons", "title": "Icons"},
    ],
)
def test_what_is_no_benchmark_never_stands_beside_published_numbers(read, change):
    cells = read(
        *(cell(variant=variant, noise=noise, **change) for variant in VARIANTS for noise in (0.2, 0.5))
    )
    rows = summarize(cells)
    text = to_markdown(rows) + draw_page(cells).partition("<footer>")[0]
    assert NOT_A_BENCHMARK in text
    for one in (*comparison(), *ablation()):
        assert f"{one.method} ({one.about})" not in text
    given = {
        value
        for table in tables(rows)
        for line in table.lines
        for value in line.values
        if isinstance(value, str)
    }
    assert given == {"1"}, "only the number of seeds is ready text; published numbers would be too"
    assert ", published" not in text
    assert "as published" not in text
    assert "minus published" not in text


def test_a_stand_in_beside_the_real_data_has_a_table_of_its_own(read):
    real, stand_in = cell(((0.77, 0.77),)), cell(((0.99, 0.99),), stand_in=True, title="Stand-in")
    made = tables(summarize(read(real, stand_in)))
    assert [table.title for table in made] == [
        "MIRFlickr-25K: published and measured", "MIRFlickr-25K: each direction",
        f"Stand-in: {NOT_A_BENCHMARK}", f"Stand-in ({NOT_A_BENCHMARK}): each direction",
    ]  # fmt: skip
    means = [
        [value.mean for line in table.lines for value in line.values if hasattr(value, "mean")]
        for table in made
    ]
    assert [{round(mean, 2) for mean in found} for found in means] == [{0.77}, {0.77}, {0.99}, {0.99}]


def test_ablations_are_laid_out_as_table_3(read):
    coco = {"dataset": "ms-coco", "title": "MS-COCO"}
    table = tables(summarize(read(cell(variant="no-contrastive", **coco), cell(**coco))))[1]
    assert table.title == "MS-COCO: ablations"
    assert table.columns == ("64 bits",) * 3
    names = [re.sub(r", measured \(.*?\)", "", line.name) for line in table.lines]
    assert names == [
        "SCBCH-1 (no classification loss), published", "SCBCH-2 (no contrastive loss), published",
        f"SCBCH-2 (no contrastive loss), {LAST}", f"SCBCH-2 (no contrastive loss), {BEST}",
        "SCBCH-3 (no confidence weights), published", "SCBCH-4 (no attraction term), published",
        "SCBCH, published", f"SCBCH, {LAST}", f"SCBCH, {BEST}",
    ]  # fmt: skip
    assert table.lines[1].values == ("36.8", "37.0", "36.0")
    flickr = tables(summarize(read(cell(variant="no-contrastive"))))[1]
    assert "The paper has no ablations on MIRFlickr-25K." in flickr.note
    assert len(flickr.lines) == 2


def test_the_published_numbers_are_whole_and_agree_with_each_other():
    assert len(comparison()) == 13 * 4
    assert len(ablation()) == 5 * 2
    assert {one.dataset for one in comparison()} == set(BENCHMARKS.values())
    grid = {(noise, bits) for noise in (0.2, 0.5, 0.8) for bits in (16, 32, 64, 128)}
    assert all(one.percent.keys() == grid for one in comparison())
    full = {one.dataset: one.percent for one in comparison() if one.method == "SCBCH"}
    for one in ablation():
        assert one.percent.keys() == {(noise, 64) for noise in (0.2, 0.5, 0.8)}
        assert one.method != "SCBCH" or one.percent.items() <= full[one.dataset].items()


def test_a_cut_last_line_is_reported_and_the_others_are_read(tmp_path):
    path = tmp_path / "cells.jsonl"
    whole = (json.dumps(cell()) + "\n").encode()
    path.write_bytes(whole + json.dumps(cell(seed=1, title="é"), ensure_ascii=False).encode()[:47])
    with pytest.warns(UserWarning, match=r"cells.jsonl, line 2: the last line was cut off"):
        cells = read_cells(path)
    assert [one.seed for one in cells] == [0]
    path.write_bytes(whole + json.dumps(cell(seed=1)).encode())
    assert [one.seed for one in read_cells(path)] == [0, 1]


@pytest.mark.parametrize("damaged", ['{"dataset": "mir', "[1]", "7", '\xff{"', "{}"])
def test_a_damaged_line_is_named(tmp_path, damaged):
    path = tmp_path / "cells.jsonl"
    lines = [json.dumps(cell()).encode(), damaged.encode("latin-1"), json.dumps(cell(seed=1)).encode()]
    for kept in (lines, lines[:2]):
        path.write_bytes(b"".join(line + b"\n" for line in kept))
        with pytest.raises(
            ValueError,
            match=r"cells.jsonl, line 2: (expected a JSON obj|it must be an obj|the field .dataset)",
        ):
            read_cells(path)


def _epoch(number, **scores):
    return {"epoch": number, "i2t": 0.5, "t2i": 0.5, **scores}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variant": "no-such"}, "variant must be one of 'full', .*; got 'no-such'"),
        ({"stand_in": 0}, "stand_in must be True or False; got 0"),
        ({"noise": 1.5}, r"noise must be a number in \[0, 1\]; got 1.5"),
        ({"noise": float("nan")}, "noise must be .* got nan"),
        ({"bits": True}, "bits must be an int of at least 1; got True"),
        ({"seed": 0.5}, "seed must be an int of at least 0; got 0.5"),
        ({"dataset": " "}, "dataset must be a name; got ' '"),
        ({"epochs": 3}, "expected history to have 3 epochs, got 2"),
        ({"history": [_epoch(2), _epoch(1)]}, "expected history to have epoch 1 in its place"),
        ({"history": [_epoch(1), _epoch(2, t2i=77.0)]}, "expected t2i of epoch 2 .* got 77.0"),
        ({"history": [_epoch(1, i2t=float("nan")), _epoch(2)]}, "expected i2t of epoch 1 .* got nan"),
        ({"history": [_epoch(1, i2t=None), _epoch(2)]}, "expected i2t of epoch 1 .* got None"),
        ({"history": [_epoch(1), {"epoch": 2}]}, "expected i2t of epoch 2 .* got None"),
    ],
)
def test_a_cell_out_of_range_is_refused(read, change, message):
    with pytest.raises(ValueError, match=f"line 1: {message}"):
        read(cell(**change))


def test_a_missing_field_and_a_second_copy_are_refused(read):
    incomplete = cell()
    del incomplete["data_checksum"]
    with pytest.raises(ValueError, match="line 1: the field 'data_checksum' is missing"):
        read(incomplete)
    with pytest.raises(ValueError, match=r"line 3: expected each cell once, got that of line 1 again"):
        read(cell(), cell(seed=1), cell(((0.1, 0.1),)))


def test_no_cells_give_no_tables(read):
    assert read() == []
    with pytest.raises(ValueError, match="rows: expected at least one, got none"):
        to_markdown(summarize([]))


class _Page(HTMLParser):
    """Tags closed in order, their attributes, and the text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.errors, self.attributes, self.text = [], [], [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.errors.append(tag)

    def handle_data(self, data):
        self.text += data


def test_the_page_is_whole_and_self_contained(read, tmp_path):
    reductions = [
        cell(((0.77, 0.75),), variant=variant, seed=seed) for variant in VARIANTS for seed in (0, 1)
    ]
    far = [cell(((0.5, 0.5),), variant="no-contrastive", bits=16), cell(((0.77, 0.75),), bits=16, noise=0.2)]
    own = cell(dataset="icons", title=_HOSTILE, versions={"keras": _HOSTILE})
    cells = read(*reductions, *far, own)
    (tmp_path / "out").mkdir()
    written = write_grid(cells, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "page.html",
        "table.csv",
        "table.md",
    ]
    assert [path.name for path in written] == ["table.csv", "table.md", "page.html"]
    html = written[2].read_text(encoding="utf-8")
    assert html == draw_page(cells)
    page = _Page(html)
    assert (page.errors, page.open) == ([], [])
    assert "<script" not in html
    assert "@import" not in html
    for name, value in page.attributes:
        assert name != "src"
        assert name not in ("href", "xlink:href") or value.startswith("#")
    assert not re.search(r"#0a[0-9a-f]{4}", html), "a colour that the page does not replace"
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert html.count('role="img"') == 3
    for words in (BEST, LAST, NOT_A_BENCHMARK, "78.6", "76.0", "batch_size", "3.15.1", "ab12", _HOSTILE):
        assert words in page.text, words


def test_a_variant_far_below_gets_a_second_plot_without_it(read):
    scores = {"full": (0.77, 0.77), "no-confidence": (0.76, 0.76), "no-contrastive": (0.4, 0.4)}
    html = draw_page(read(*(cell([score], variant=variant) for variant, score in scores.items())))
    assert "64 bits, without SCBCH-2" in html
    assert html.count('role="img"') == 2


def test_every_variant_has_a_look_of_its_own_however_many_there_are():
    looks = [_style_of(number) for number in range(60)]
    assert len(set(looks)) == 60
    assert {look.marker for look in looks} <= set(_MARKS)
    assert set(_SERIES) == {*VARIANTS, "published", "chance"}


def test_a_random_order_has_a_line_where_the_cells_know_it(read):
    metrics = {"i2t": {"precision": [0.9, 0.5]}, "t2i": {"precision": [0.9, 0.6]}}
    known, unknown = (draw_page(read(cell(**more))) for more in ({"metrics": metrics}, {}))
    assert "a random order 55.0" in known
    assert "a random order" not in unknown
    with pytest.raises(ValueError, match="line 1: expected metrics to have precision"):
        read(cell(metrics={"i2t": {"precision": [2]}}))


def test_the_page_writes_out_what_turns_the_direction_of_writing(read):
    html = draw_page(read(cell(dataset="icons", title="a\u202eb", versions={"keras": "\u2066"})))
    assert not set(html) & set("\u202e\u2066")


def test_relevance_in_degrees_has_a_table_where_all_seeds_measured_it(read):
    def graded(seed, value):
        side = {
            "ndcg_at_100": value,
            "acg_at_100": 2 * value,
            "weighted_map": 3 * value,
            "all_labels_at_10": 0.0,
        }
        side["precision"] = [0.5]
        return cell(seed=seed, metrics={"i2t": side, "t2i": side})

    rows = summarize(read(graded(0, 0.5), graded(1, 0.75)))
    table = next(table for table in tables(rows) if "relevance in degrees" in table.title)
    assert table.columns[:3] == ("nDCG@100", "ACG@100", "weighted mAP")
    values = table.lines[0].values
    assert [value.split()[0] for value in values] == ["0.625", "1.250", "1.875", "0.000"]
    assert values[0].endswith("0.177")
    assert "0.625" in to_markdown(rows)
    rows = summarize(read(graded(0, 0.5), cell(seed=1)))
    assert not any("relevance in degrees" in table.title for table in tables(rows))
    broken = graded(0, 0.5)
    broken["metrics"] = {"i2t": broken["metrics"]["i2t"], "t2i": {"precision": [0.5]}}
    with pytest.raises(
        ValueError, match="line 1: ndcg_at_100 of t2i must be a finite number of at least 0; got None"
    ):
        read(broken)
