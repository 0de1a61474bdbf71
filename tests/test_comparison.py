import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from scbch_keras.codes import pack_codes
from scbch_keras.metrics import (
    comparison,
    mean_average_precision,
    precision_at_n,
    precision_recall_curve,
    precision_within_radius,
)
from scbch_keras.training.runs import evaluate

pytestmark = pytest.mark.numpy_only

WIDTHS = [(1, 1), (64, 24), (126, 33), (127, 64), (200, 130)]
"""Bits and classes: codes and label sets of one word and of several, distances of one byte and of two."""


def sets(queries, items, bits, classes, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.random((queries + items, classes)) < 2 / (classes + 1)
    labels[[0, queries], 0] = True
    codes = pack_codes(rng.random((queries + items, bits)) < rng.random(bits))
    return comparison.Arrays(codes[:queries], codes[queries:], labels[:queries], labels[queries:])


def by_definition(query_codes, database_codes, query_labels, database_labels, bits, cut):
    queries, database = (np.unpackbits(codes, axis=1, count=bits) for codes in (query_codes, database_codes))
    items, relevant, sums = [], [], []
    for query, labels in zip(queries, query_labels, strict=True):
        distances = (query != database).sum(axis=1)
        marks = (labels & database_labels).any(axis=1)
        items.append(np.bincount(distances, minlength=bits + 1))
        relevant.append(np.bincount(distances[marks], minlength=bits + 1))
        ranked = marks[np.argsort(distances, kind="stable")]
        precisions = ranked.cumsum() / np.arange(1, len(ranked) + 1)
        sums.append(precisions[:cut][ranked[:cut]].sum())
    return items, relevant, sums


@pytest.fixture(params=["numpy", "numba"])
def engine(request, monkeypatch):
    if request.param == "numba":
        pytest.importorskip("numba")
    monkeypatch.setattr(comparison, "_COMPILED_PAIRS", 0 if request.param == "numba" else np.inf)
    return request.param


@pytest.mark.parametrize(("bits", "classes"), WIDTHS)
@pytest.mark.parametrize("cut", [None, 1, 7, 40])
def test_counts_and_precisions_are_those_of_the_definition(engine, bits, classes, cut):
    arrays = sets(9, 40, bits, classes)
    items, relevant, sums = by_definition(*arrays, bits, cut)
    result = comparison.compare(arrays, bits, None, cut)
    np.testing.assert_array_equal(result.items, items)
    np.testing.assert_array_equal(result.relevant, relevant)
    np.testing.assert_allclose(result.precision_sums, [] if cut is None else sums, rtol=1e-13)


def test_a_large_comparison_is_compiled_where_numba_is_there_and_the_same_without(monkeypatch):
    numba = pytest.importorskip("numba")
    arrays = sets(300, 20_000, 64, 24)
    large = comparison.compare(arrays, 64, None, 20_000)
    assert "scbch_keras.metrics.compiled" in sys.modules
    monkeypatch.setattr(comparison.importlib.util, "find_spec", lambda name: None)
    without = comparison.compare(arrays, 64, None, 20_000)
    np.testing.assert_array_equal(large.items, without.items)
    np.testing.assert_array_equal(large.relevant, without.relevant)
    np.testing.assert_allclose(large.precision_sums, without.precision_sums, rtol=1e-13)
    assert numba.__version__


def test_all_metrics_of_a_direction_share_one_comparison_and_are_those_asked_for_one_by_one(monkeypatch):
    query, database, query_labels, database_labels = sets(30, 200, 16, 5)
    both = {"image": query, "text": query[::-1]}, {"image": database, "text": database[::-1]}
    counted = []
    real = comparison._compare
    monkeypatch.setattr(comparison, "_compare", lambda *args: counted.append(args) or real(*args))
    results = evaluate.retrieval_metrics(*both, query_labels, database_labels, 16)
    assert len(counted) == 2
    ranks = np.unique(np.linspace(1, 200, evaluate.CURVE_POINTS).astype(int))
    for name, (asked, searched) in evaluate.DIRECTIONS.items():
        arrays = both[0][asked], both[1][searched], query_labels, database_labels
        precision, recall = precision_recall_curve(*arrays, bits=16, ranks=ranks)
        alone = {
            "map": mean_average_precision(*arrays, bits=16),
            "map_at_50": mean_average_precision(*arrays, bits=16, k=50),
            "map_reference": mean_average_precision(*arrays, bits=16, ties="reference"),
            "precision_radius_2": precision_within_radius(*arrays, bits=16),
            "precision": precision.tolist(),
            "recall": recall.tolist(),
            "precision_at": {str(n): precision_at_n(*arrays, bits=16, n=[n])[0] for n in (10, 100)},
        }
        assert results[name] == alone


def test_arrays_that_follow_one_another_at_the_same_address_are_not_taken_for_the_same():
    with comparison.compared_once():
        values = []
        for seed in range(20):
            arrays = sets(5, 30, 8, 3, seed)
            values.append(mean_average_precision(*arrays, bits=8))
            del arrays
    assert values == [mean_average_precision(*sets(5, 30, 8, 3, seed), bits=8) for seed in range(20)]


def test_outside_arrays_may_be_changed_between_two_metrics():
    arrays = sets(5, 30, 8, 3)
    before = mean_average_precision(*arrays, bits=8)
    with comparison.compared_once():
        mean_average_precision(*arrays, bits=8)
    arrays[1][:] = arrays[1][::-1].copy()
    assert mean_average_precision(*arrays, bits=8) != before


@pytest.mark.parametrize("cut", [None, 20_000])
def test_queries_times_database_is_never_in_memory(engine, cut):
    arrays = sets(400, 20_000, 64, 24)
    comparison.compare(arrays, 64, None, cut)
    tracemalloc.start()
    comparison.compare(arrays, 64, None, cut)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * comparison.BLOCK_BYTES  # the distances alone would be 8 MB a byte


def test_compiled_code_is_kept_or_made_anew_where_no_folder_can_be_written(tmp_path):
    pytest.importorskip("numba")
    package = Path(comparison.__file__).parents[1]
    copy = tmp_path / "package" / "scbch_keras"
    copy.mkdir(parents=True)
    (copy / "metrics").mkdir()
    for name in ("__init__", "metrics/__init__"):
        (copy / f"{name}.py").touch()
    for name in ("arrays", "checks", "codes", "metrics/comparison", "metrics/compiled"):
        (copy / f"{name}.py").write_bytes((package / f"{name}.py").read_bytes())
    (copy / "metrics" / "__pycache__").write_bytes(b"a file where the folder of compiled code would be")
    (tmp_path / "home").write_bytes(b"")
    program = (
        "import numpy as np; from scbch_keras.metrics import comparison; comparison._COMPILED_PAIRS = 0; "
        "arrays = comparison.Arrays(*[np.ones((1, 1), np.uint8)] * 4); "
        "print(comparison.compare(arrays, 8, None).relevant.tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "PYTHONPATH": str(tmp_path / "package"),
            "HOME": str(tmp_path / "home"),
            "XDG_CACHE_HOME": str(tmp_path / "home"),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[[1, 0, 0, 0, 0, 0, 0, 0, 0]]"
