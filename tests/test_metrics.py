import tracemalloc
from fractions import Fraction
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scbch_keras.codes import pack_codes
from scbch_keras.metrics import (
    comparison,
    cross_modal_map,
    mean_average_precision,
    precision_at_n,
    precision_recall_curve,
    precision_within_radius,
)

pytestmark = [pytest.mark.numpy_only, pytest.mark.filterwarnings("error")]

GOLDEN = Path(__file__).parent / "golden" / "retrieval.npz"
METRICS = {
    "map": mean_average_precision,
    "map@5": lambda *sets, **kw: mean_average_precision(*sets, k=5, **kw),
    "reference": lambda *sets, **kw: mean_average_precision(*sets, ties="reference", **kw),
    "reference@5": lambda *sets, **kw: mean_average_precision(*sets, k=5, ties="reference", **kw),
    "curve": precision_recall_curve,
    "curve by rank": lambda *sets, **kw: precision_recall_curve(*sets, ranks=(1, 4, 9), **kw),
    "precision@n": lambda *sets, **kw: precision_at_n(*sets, n=(1, 5, 10), **kw),
    "radius": precision_within_radius,
}


def retrieval(queries, items, bits, classes=4, seed=0, density=0.3):
    """Random packed codes and labels, every label set possible, the first query answerable."""
    rng = np.random.default_rng(seed)
    labels = rng.random((queries + items, classes)) < density
    labels[[0, queries], 0] = True
    codes = pack_codes(rng.random((queries + items, bits)) < 0.5)
    return codes[:queries], codes[queries:], labels[:queries], labels[queries:]


def one_query(distances, relevant, bits):
    """A query and a database at exactly these distances from it, with this relevance."""
    codes = np.arange(bits) < np.asarray(distances)[:, None]
    query = np.zeros((1, bits), bool)
    return pack_codes(query), pack_codes(codes), np.ones((1, 1)), np.asarray(relevant, float)[:, None]


def average_precision(ranked, k):
    """By definition: precisions at the ranks of the relevant items up to k, over min(R, k)."""
    hits, total = 0, Fraction(0)
    for rank, relevant in enumerate(ranked[:k], start=1):
        hits += relevant
        total += Fraction(hits, rank) if relevant else 0
    return total / min(sum(ranked), k)


def orders(distances, relevant):
    """Relevance along the ranking, for every order of the items at equal distance."""
    ties = [
        [r for d, r in zip(distances, relevant, strict=True) if d == distance]
        for distance in sorted(set(distances))
    ]
    for order in product(*(list(permutations(tie)) for tie in ties)):
        yield [int(r) for tie in order for r in tie]


def mean_over_orders(score, distances, relevant):
    scores = [score(ranked) for ranked in orders(distances, relevant)]
    return float(sum(scores, Fraction(0)) / len(scores))


small_rankings = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6).filter(
    lambda pairs: any(relevant for _, relevant in pairs)
)


@given(small_rankings, st.integers(1, 7))
@settings(deadline=None)
def test_expected_map_is_the_mean_over_every_order_of_the_ties(pairs, k):
    distances, relevant = zip(*pairs, strict=True)
    sets = one_query(distances, relevant, 3)
    for cut in (None, k):
        expected = mean_over_orders(
            lambda ranked: average_precision(ranked, cut or len(ranked)),  # noqa: B023
            distances,
            relevant,
        )
        assert abs(mean_average_precision(*sets, bits=3, k=cut) - expected) < 1e-12


@pytest.mark.parametrize(
    ("distances", "relevant"),
    [
        ([0] * 7, [1, 0, 0, 1, 0, 1, 0]),  # one tie, 5,040 orders
        ([2, 1, 1, 2, 1, 2, 1, 2], [0, 1, 0, 1, 0, 0, 0, 1]),
        ([0, 3, 3, 3, 3, 3, 1], [0, 1, 0, 1, 1, 0, 0]),
    ],
)
def test_expected_map_on_long_ties_at_every_cut(distances, relevant):
    rankings = list(orders(distances, relevant))
    for k in range(1, len(distances) + 2):
        expected = float(sum(average_precision(ranked, k) for ranked in rankings) / len(rankings))
        assert abs(mean_average_precision(*one_query(distances, relevant, 3), bits=3, k=k) - expected) < 1e-12


@given(small_rankings)
@settings(deadline=None)
def test_expected_precision_and_recall_by_rank_are_means_over_every_order(pairs):
    distances, relevant = zip(*pairs, strict=True)
    sets, ranks = one_query(distances, relevant, 3), range(1, len(pairs) + 1)
    expected = [mean_over_orders(lambda r, n=n: Fraction(sum(r[:n])), distances, relevant) for n in ranks]
    hits = np.array(expected)
    precision, recall = precision_recall_curve(*sets, bits=3, ranks=ranks)
    np.testing.assert_allclose(precision, hits / np.array(ranks), atol=1e-12)
    np.testing.assert_allclose(recall, hits / sum(relevant), atol=1e-12)
    np.testing.assert_array_equal(precision_at_n(*sets, bits=3, n=ranks), precision)


@given(st.integers(1, 40), st.integers(1, 20), st.integers(0, 999))
@settings(deadline=None)
def test_reference_mode_is_one_stable_sort(items, k, seed):
    sets = retrieval(5, items, 6, seed=seed)
    queries, database = (np.unpackbits(codes, axis=1) for codes in sets[:2])
    scores = {None: [], k: []}
    for query, labels in zip(queries, sets[2], strict=True):
        ranked = sorted(range(items), key=lambda item: (query != database[item]).sum())
        relevant = [int((labels & sets[3][item]).any()) for item in ranked]
        for cut in scores:
            if any(relevant):
                scores[cut].append(average_precision(relevant, cut or items))
    for cut, values in scores.items():
        value = mean_average_precision(*sets, bits=6, k=cut, ties="reference")
        assert abs(value - float(sum(values) / len(values))) < 1e-12


def test_map_agrees_with_the_authors_code():
    with np.load(GOLDEN) as golden:
        sets = (
            pack_codes(golden["query_codes"]),
            pack_codes(golden["database_codes"]),
            golden["query_labels"],
            golden["database_labels"],
        )
        random_ties, error = golden["map_random_ties_mean"], golden["map_random_ties_stderr"]
        stable, authors = golden["map_stable"], golden["reference_map"]
    assert abs(mean_average_precision(*sets, bits=16) - random_ties) < 4 * error
    reference = mean_average_precision(*sets, bits=16, ties="reference")
    assert abs(reference - stable) < 1e-12
    assert abs(reference - authors) < 0.002


def test_radius_metrics_by_definition():
    # the second query has nothing within radius 2, and to the third nothing is relevant
    bits = 8
    database = np.arange(bits) < np.array([0, 1, 1, 3, 8])[:, None]
    queries = np.array([[0] * 8, [1, 0, 0, 1, 1, 0, 1, 0], [0] * 8], bool)
    labels = np.array([[1, 0], [1, 0], [0, 1], [1, 0], [1, 0]])
    sets = pack_codes(queries), pack_codes(database), np.array([[1, 0], [1, 0], [0, 0]]), labels
    distances = (queries[:2, None] != database[None]).sum(axis=2)
    np.testing.assert_array_equal(distances, [[0, 1, 1, 3, 8], [4, 3, 3, 5, 4]])
    precision, recall = precision_recall_curve(*sets, bits=bits)
    np.testing.assert_allclose(precision[:5], [1, 2 / 3, 2 / 3, (3 / 4 + 1 / 2) / 2, (3 / 4 + 3 / 4) / 2])
    np.testing.assert_allclose(recall[:5], [1 / 8, 2 / 8, 2 / 8, (3 / 4 + 1 / 4) / 2, (3 / 4 + 3 / 4) / 2])
    np.testing.assert_allclose([precision[-1], recall[-1]], [4 / 5, 1])
    assert len(precision) == len(recall) == bits + 1
    # here the query that retrieves nothing counts as 0
    assert precision_within_radius(*sets, bits=bits) == pytest.approx(2 / 3 / 2)
    assert precision_within_radius(*sets, bits=bits, radius=3) == pytest.approx((3 / 4 + 1 / 2) / 2)
    np.testing.assert_allclose(precision_at_n(*sets, bits=bits, n=[1]), [(1 + 1 / 2) / 2])


def test_a_radius_within_which_no_query_retrieves_anything_has_no_precision():
    precision, recall = precision_recall_curve(*one_query([2, 3], [1, 0], 3), bits=3)
    np.testing.assert_array_equal(precision, [np.nan, np.nan, 1, 0.5])
    np.testing.assert_array_equal(recall, [0, 0, 1, 1])


@pytest.mark.parametrize("classes", [1, 8, 64, 65, 255])
def test_relevance_is_at_least_one_shared_label_for_any_number_of_classes(classes):
    sets = retrieval(20, 50, 9, classes=classes, density=2 / classes if classes > 1 else 0.5)
    shared = (sets[2].astype(int) @ sets[3].T.astype(int)) > 0
    shared = shared[shared.any(axis=1)]
    value = precision_at_n(*sets, bits=9, n=[50])[0]
    assert value == pytest.approx(shared.mean())
    assert precision_within_radius(*sets, bits=9, radius=9) == pytest.approx(shared.mean())


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_queries_to_which_nothing_is_relevant_are_left_out(metric):
    codes, database, labels, database_labels = retrieval(30, 40, 10)
    unanswerable = np.arange(30) % 3 == 1
    labels[unanswerable] = False
    whole = metric(codes, database, labels, database_labels, bits=10)
    answerable = metric(codes[~unanswerable], database, labels[~unanswerable], database_labels, bits=10)
    np.testing.assert_allclose(whole, answerable, rtol=1e-12)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_block_size_does_not_change_the_result(metric, block_size, database_block, seed):
    sets = retrieval(23, 50, 12, seed=seed)
    whole = metric(*sets, bits=12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "_DATABASE_BLOCK", database_block)
        np.testing.assert_array_equal(metric(*sets, bits=12, block_size=block_size), whole)


@pytest.mark.parametrize("metric", [m for name, m in METRICS.items() if "reference" not in name])
@given(st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_the_order_of_queries_and_database_does_not_matter(metric, random):
    codes, database, labels, database_labels = retrieval(15, 40, 5)
    queries, items = random.sample(range(15), 15), random.sample(range(40), 40)
    shuffled = codes[queries], database[items], labels[queries], database_labels[items]
    expected = metric(codes, database, labels, database_labels, bits=5)
    np.testing.assert_allclose(metric(*shuffled, bits=5), expected, rtol=1e-12)


def test_the_reference_mode_does_depend_on_the_order_of_ties():
    first, last = one_query([1, 1], [1, 0], 2), one_query([1, 1], [0, 1], 2)
    assert mean_average_precision(*first, bits=2, ties="reference") == 1
    assert mean_average_precision(*last, bits=2, ties="reference") == 0.5
    assert mean_average_precision(*first, bits=2) == mean_average_precision(*last, bits=2) == 0.75


def test_both_directions_rank_the_other_modality():
    image, image_database, labels, database_labels = retrieval(20, 60, 16)
    text, text_database, _, _ = retrieval(20, 60, 16, seed=1)
    value = cross_modal_map(
        {"image": image, "text": text},
        {"image": image_database, "text": text_database},
        labels,
        database_labels,
        bits=16,
        k=10,
    )
    i2t = mean_average_precision(image, text_database, labels, database_labels, bits=16, k=10)
    t2i = mean_average_precision(text, image_database, labels, database_labels, bits=16, k=10)
    assert (value.i2t, value.t2i) == (i2t, t2i)
    assert value.mean == (i2t + t2i) / 2
    assert i2t != t2i


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_queries_times_database_is_never_in_memory(metric):
    sets = retrieval(400, 20_000, 64)
    metric(*sets, bits=64)
    tracemalloc.start()
    metric(*sets, bits=64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * comparison.BLOCK_BYTES  # the distances alone would be 32 MB


def test_k_beyond_the_database_is_the_whole_ranking():
    sets = retrieval(10, 30, 8)
    for ties in ("expected", "reference"):
        assert mean_average_precision(*sets, bits=8, ties=ties) == mean_average_precision(
            *sets, bits=8, k=1000, ties=ties
        )


GOOD = retrieval(6, 30, 16)


def without(place, value):
    return *GOOD[:place], value, *GOOD[place + 1 :]


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
@pytest.mark.parametrize(
    ("sets", "bits", "message"),
    [
        (without(0, GOOD[0][:, :1]), 16, r"query_codes must have shape \(n, 2\), 2 bytes for 16 bits"),
        (without(1, GOOD[1][:, :1]), 16, r"database_codes must have shape \(n, 2\), 2 bytes for 16 bits"),
        (without(0, GOOD[0].astype(float)), 16, "query_codes must be a numpy array of packed codes"),
        (GOOD, 17, r"query_codes must have shape \(n, 3\), 3 bytes for 17 bits"),
        (GOOD, 0, "bits must be an int of at least 1"),
        (without(2, GOOD[2][:-1]), 16, "query_codes and query_labels .* got 6 and 5 rows"),
        (without(3, GOOD[3][:-1]), 16, "database_codes and database_labels .* got 30 and 29 rows"),
        (without(3, GOOD[3][:, :3]), 16, "must have the same classes, got 4 and 3 columns"),
        (without(2, GOOD[2] * 2), 16, "query_labels must hold only 0 and 1"),
        (without(3, GOOD[3][:, 0]), 16, r"database_labels must have shape \(n, classes\)"),
        (without(3, GOOD[3][:0]), 16, "database_labels must not be empty"),
        (without(2, GOOD[2] & False), 16, "share no label: nothing is relevant to any query"),
    ],
)
def test_sets_that_do_not_fit_are_refused_by_name(metric, sets, bits, message):
    with pytest.raises(ValueError, match=message):
        metric(*sets, bits=bits)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: mean_average_precision(*GOOD, bits=16, k=0),
            "k must be an int of at least 1, or None; got 0",
        ),
        (
            lambda: mean_average_precision(*GOOD, bits=16, k=5.0),
            "k must be an int of at least 1, or None; got 5.0",
        ),
        (
            lambda: mean_average_precision(*GOOD, bits=16, ties="best"),
            "ties must be one of 'expected', 'reference'",
        ),
        (
            lambda: mean_average_precision(*GOOD, bits=16, block_size=0),
            "block_size must be an int of at least 1",
        ),
        (
            lambda: precision_at_n(*GOOD, bits=16, n=[1, 31]),
            "each of n must be an int from 1 to 30; got 31",
        ),
        (lambda: precision_at_n(*GOOD, bits=16, n=10), "n must be a sequence .* got 10"),
        (lambda: precision_at_n(*GOOD, bits=16, n=[]), r"n must be a sequence .* got \[\]"),
        (lambda: precision_recall_curve(*GOOD, bits=16, ranks=[0]), "each of ranks must be .* got 0"),
        (
            lambda: precision_within_radius(*GOOD, bits=16, radius=17),
            "radius must be an int from 0 to 16; got 17",
        ),
        (lambda: precision_within_radius(*GOOD, bits=16, radius=-1), "radius must be .* got -1"),
        (lambda: cross_modal_map(*GOOD, bits=16), 'query_codes must be a dict .* "text", got ndarray'),
        (
            lambda: cross_modal_map({"image": 1, "text": 1}, {"img": 1}, *GOOD[2:], bits=16),
            r"database_codes must be a dict .* got keys \['img'\]",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
