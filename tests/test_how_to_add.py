"""The pages of docs/contributing hold: a thing added where they say is there for all that uses it."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from scbch_keras.codes import hamming_distance
from scbch_keras.export import HammingIndex
from scbch_keras.export.serving import engines
from scbch_keras.training.data.own import file_formats
from scbch_keras.training.data.own.read import read_own
from scbch_keras.training.runs import evaluate
from scbch_keras.training.runs.describe import describe
from tests.conftest import GOLDEN

pytestmark = pytest.mark.numpy_only
ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "contributing").glob("*.md"))


class Sorting:
    """Sorts all distances at once."""

    package = None

    def nearest(self, queries, codes, k, bits, threads):
        distances = hamming_distance(queries, codes, bits)
        positions = np.argsort(distances, axis=1, kind="stable")[:, :k]
        return positions, np.take_along_axis(distances, positions, axis=1).astype(np.int32)


def test_a_search_engine_is_a_class_and_a_row(monkeypatch):
    codes = np.random.default_rng(0).integers(0, 256, (50, 2), np.uint8)
    expected = HammingIndex(16, engine="numpy")
    expected.add(codes)
    monkeypatch.setitem(engines.ENGINES, "sorting", Sorting())
    index = HammingIndex(16, engine="sorting")
    index.add(codes)
    assert index.engine == "sorting"
    for actual, right in zip(index.search(codes, k=7), expected.search(codes, k=7), strict=True):
        np.testing.assert_array_equal(actual, right)
    with pytest.raises(ValueError, match=r"'sorting'.* or None, got 'other'"):
        HammingIndex(16, engine="other")


def read_folded(path, report):
    """A line a sample: image, text and labels, each numbers, parted by bars."""
    rows = [
        [[float(number) for number in part.split()] for part in line.split("|")]
        for line in path.read_text().splitlines()
    ]
    return {
        name: np.array(part)
        for name, part in zip(("image", "text", "labels"), zip(*rows, strict=True), strict=True)
    }


def test_a_data_format_is_a_reader_and_a_row(tmp_path, monkeypatch):
    path = tmp_path / "pairs.folded"
    path.write_text("1 2|3 4 5|0 1\n6 7|8 9 1|1 0\n2 2|3 3 3|1 1\n")
    with pytest.raises(ValueError, match=r"or one of \.npz"):
        read_own(path)
    monkeypatch.setitem(file_formats.ARRAY_READERS, ".folded", read_folded)
    data = read_own(path)
    np.testing.assert_array_equal(data.image, [[1, 2], [6, 7], [2, 2]])
    np.testing.assert_array_equal(data.labels, [[0, 1], [1, 0], [1, 1]])
    assert not describe(path).problems
    # What is wrong in it is refused as in any other format.
    path.write_text("1 2|3 4 5|0 1\n6 nan|8 9 1|1 0\n2 2|3 3 3|0 2\n")
    with pytest.raises(ValueError, match=r"pairs\.folded"):
        read_own(path)
    (tmp_path / "other").write_text("x")
    with pytest.raises(ValueError, match=r"\.folded"):
        read_own(tmp_path / "other")


def test_a_metric_is_a_function_and_a_row(monkeypatch):
    from scbch_keras.training.cli.shown import show_metrics

    def nearest_is_relevant(query, database, query_labels, database_labels, *, bits):
        nearest = hamming_distance(query, database, bits).argmin(axis=1)
        return float((query_labels * database_labels[nearest]).any(axis=1).mean())

    with np.load(GOLDEN / "before_rooms" / "pairs.npz") as file:
        labels = file["labels"]
    codes = {name: np.packbits(labels, axis=1) for name in ("image", "text")}
    before = evaluate.retrieval_metrics(codes, codes, labels, labels, 3)
    monkeypatch.setitem(evaluate.METRICS, "first", evaluate.Metric("first of all", nearest_is_relevant))
    metrics = evaluate.retrieval_metrics(codes, codes, labels, labels, 3)
    assert {name: values.pop("first") for name, values in metrics.items()} == {"i2t": 1.0, "t2i": 1.0}
    assert metrics == before
    console = Console(file=io.StringIO(), width=100)
    for stored in (before, {name: {**values, "first": 0.25} for name, values in before.items()}):
        show_metrics(console, stored, {"title": "pairs"})  # a run of before lacks the metric
    assert console.file.getvalue().count("first of all") == 1
    assert console.file.getvalue().count("mAP@50") == 2


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_names_two_files_at_most_and_they_are_there(path):
    steps = re.findall(r"^\d\. `([^`]+)`", path.read_text(encoding="utf-8"), re.M)
    assert 1 <= len(steps) <= 2
    for step in steps:
        place = ROOT / step
        assert place.parents[1].is_dir() if "NAME" in step else place.is_file()


def test_the_six_pages_are_linked():
    contents = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\(docs/contributing/(\w+\.md)\)", contents)) == [path.name for path in PAGES]
    assert len(PAGES) == 6
