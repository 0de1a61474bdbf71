"""Metrics of relevance in degrees, against all orders of the ties."""

from itertools import permutations, product

import numpy as np
import pytest

from scbch_keras import metrics
from scbch_keras.metrics import comparison, graded
from scbch_keras.metrics.graded import (
    acg_at_k,
    ndcg_at_k,
    precision_with_all_labels,
    weighted_mean_average_precision,
)

pytestmark = pytest.mark.numpy_only


def packed(values, bits):
    return np.packbits(values[:, :bits], axis=1)


def case(seed, queries=3, items=6, bits=2, classes=4, rate=0.5):
    rng = np.random.default_rng(seed)
    codes = [packed(rng.integers(0, 2, (rows, bits)).astype("uint8"), bits) for rows in (queries, items)]
    labels = [(rng.random((rows, classes)) < rate).astype("uint8") for rows in (queries, items)]
    labels[0][0, 0] = labels[1][0, 0] = 1
    return (*codes, *labels), bits


def by_definition(arguments, bits, score):
    """Mean over the queries of the mean over all orders of equal distances of score(labels shared, of the query)."""
    query, database, asked, offered = arguments
    results = []
    for code, labels in zip(query, asked, strict=True):
        shared = (offered & labels).sum(axis=1)
        if not shared.any():
            continue
        distance = np.array([bin(int(other[0] ^ code[0])).count("1") for other in database])
        ties = [np.flatnonzero(distance == value) for value in range(bits + 1)]
        orders = [np.concatenate(order) for order in product(*(map(list, permutations(tie)) for tie in ties))]
        orders = [order.astype(int) for order in orders]
        results.append(np.mean([score(shared[order], int(labels.sum())) for order in orders]))
    return np.mean(results)


def dcg(gains, k):
    return sum((2.0**gain - 1) / np.log2(2 + place) for place, gain in enumerate(gains[:k]))


def weighted_ap(shared, k):
    ranks = [rank for rank in range(min(k, len(shared))) if shared[rank]]
    return sum(shared[: rank + 1].sum() / (rank + 1) for rank in ranks) / min((shared > 0).sum(), k)


def test_metrics_of_the_same_arrays_share_what_is_counted(monkeypatch):
    arguments, bits = case(0)
    alone = acg_at_k(*arguments, bits=bits, k=[3]), ndcg_at_k(*arguments, bits=bits, k=[3])
    counted = []
    real = graded._counted
    monkeypatch.setattr(graded, "_counted", lambda *given: counted.append(given) or real(*given))
    with comparison.compared_once():
        shared = acg_at_k(*arguments, bits=bits, k=[3]), ndcg_at_k(*arguments, bits=bits, k=[3])
        weighted_mean_average_precision(*arguments, bits=bits)
        precision_with_all_labels(*arguments, bits=bits, n=[3])
    assert len(counted) == 1
    np.testing.assert_array_equal(shared, alone)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_the_value_is_the_mean_over_all_orders_of_the_ties(seed, k):
    arguments, bits = case(seed)
    ideal = {"ndcg": lambda s, n: dcg(s, k) / dcg(np.sort(s)[::-1], k)}["ndcg"]
    assert ndcg_at_k(*arguments, bits=bits, k=[k])[0] == pytest.approx(by_definition(arguments, bits, ideal))
    expected = by_definition(arguments, bits, lambda s, n: s[:k].mean())
    assert acg_at_k(*arguments, bits=bits, k=[k])[0] == pytest.approx(expected)
    expected = by_definition(arguments, bits, lambda s, n: (s[:k] == n).mean())
    assert precision_with_all_labels(*arguments, bits=bits, n=[k])[0] == pytest.approx(expected)
    expected = by_definition(arguments, bits, lambda s, n: weighted_ap(s, k))
    assert weighted_mean_average_precision(*arguments, bits=bits, k=k) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_of_single_labels_they_are_the_ungraded_metrics(seed):
    arguments, bits = case(seed, 20, 50, 8)
    query, database, *labels = arguments
    single = [np.eye(4, dtype="uint8")[one.argmax(axis=1)] for one in labels]
    found = weighted_mean_average_precision(query, database, *single, bits=bits)
    assert found == pytest.approx(metrics.mean_average_precision(query, database, *single, bits=bits))
    precision = metrics.precision_at_n(query, database, *single, bits=bits, n=[5, 50])
    for metric, name in ((acg_at_k, "k"), (precision_with_all_labels, "n")):
        found = metric(query, database, *single, bits=bits, **{name: [5, 50]})
        np.testing.assert_allclose(found, precision)


def test_a_perfect_order_has_ndcg_1_and_blocks_change_nothing():
    bits, labels = 8, np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]], "uint8")
    codes = np.array([[0], [1], [3], [7]], "uint8")
    arguments = (codes[:1], codes, labels[:1], labels)
    np.testing.assert_allclose(ndcg_at_k(*arguments, bits=bits, k=[1, 2, 3, 4]), 1)
    np.testing.assert_allclose(acg_at_k(*arguments, bits=bits, k=[1, 2, 4]), [3, 2.5, 1.5])
    arguments, bits = case(7, 40, 90, 16, 12, 0.3)
    for metric in (ndcg_at_k, acg_at_k):
        whole, blocks = (metric(*arguments, bits=bits, k=[3, 90], block_size=size) for size in (None, 7))
        np.testing.assert_array_equal(whole, blocks)


def test_queries_that_share_nothing_are_left_out_and_all_of_them_refused():
    (query, database, asked, offered), bits = case(1)
    asked[1] = 0
    keep = [0, 2]
    for metric in (ndcg_at_k, acg_at_k):
        found = metric(query, database, asked, offered, bits=bits, k=[3])
        np.testing.assert_allclose(
            found, metric(query[keep], database, asked[keep], offered, bits=bits, k=[3])
        )
    with pytest.raises(ValueError, match="nothing is relevant to any query"):
        weighted_mean_average_precision(query, database, 0 * asked, offered, bits=bits)


@pytest.mark.parametrize(
    ("k", "message"),
    [([], "sequence of at least one"), ([0], "each of k must be"), ([7], "each of k must be")],
)
def test_ranks_out_of_range_are_refused(k, message):
    arguments, bits = case(0)
    with pytest.raises(ValueError, match=message):
        ndcg_at_k(*arguments, bits=bits, k=k)
