import itertools
import logging

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from scbch_keras import neighbors
from scbch_keras.neighbors import nearest

pytestmark = pytest.mark.numpy_only


def by_definition(vectors, k):
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, 0)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return np.sort(order, axis=1), similarity


def found(vectors, k, block_size, **settings):
    blocks = list(nearest([vectors], k, block_size, **settings))
    assert [row for block in blocks for row in range(block.rows.start, block.rows.stop)] == list(
        range(len(vectors))
    )
    return np.concatenate([block.columns for block in blocks]), np.concatenate([b.similarity for b in blocks])


@pytest.mark.parametrize(("size", "k"), [(2, 1), (30, 29), (300, 20), (700, 5)])
@pytest.mark.parametrize("block_size", [1, 64, 1000])
@pytest.mark.parametrize("first", [1, 50, 10_000])
def test_neighbours_are_those_of_one_sort_of_all_similarities(size, k, block_size, first, monkeypatch):
    monkeypatch.setattr(neighbors, "_FIRST", first)
    monkeypatch.setattr(neighbors, "_BLOCK", 60 * block_size)
    # Small integers: products are exact, and many of them equal.
    vectors = np.random.default_rng(size).integers(-2, 3, (size, 6)).astype(np.float32)
    index, similarity = found(vectors, k, block_size)
    expected, products = by_definition(vectors, k)
    np.testing.assert_array_equal(index, expected)
    np.testing.assert_array_equal(similarity, np.take_along_axis(products, index, 1))


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.mark.parametrize("read", [0, 1, 9])
def test_products_have_their_threads_back_however_many_blocks_were_read(read):
    before = blas_threads()
    blocks = nearest([np.eye(90, dtype=np.float32)], 3, 10)
    assert [block.rows.start for block in itertools.islice(blocks, read)] == list(range(0, 10 * read, 10))
    blocks.close()
    assert blas_threads() == before


def test_an_error_in_a_thread_comes_out_and_leaves_nothing_behind(monkeypatch):
    def failing(parts, rows, k):
        raise MemoryError(f"row {rows[0]}")

    monkeypatch.setattr(neighbors, "_exact", failing)
    before = blas_threads()
    with pytest.raises(MemoryError, match="row 0"):
        found(np.eye(90, dtype=np.float32), 3, 10)
    assert blas_threads() == before


@pytest.fixture
def clustered():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((30, 16))[rng.integers(0, 30, 3000)] + 0.5 * rng.standard_normal((3000, 16))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_more_rows_than_may_be_exact_are_searched_by_clusters_and_the_log_says_how_well(clustered, caplog):
    pytest.importorskip("faiss")
    with caplog.at_level(logging.WARNING):
        index, similarity = found(clustered, 10, 700, exact_up_to=2999)
    [record] = caplog.records
    assert "3000 samples: their neighbours are searched by clusters" in record.getMessage()
    assert "exact_up_to=3000" in record.getMessage()
    expected, products = by_definition(clustered, 10)
    recall = np.mean([len(np.intersect1d(*pair)) for pair in zip(index, expected, strict=True)]) / 10
    assert recall >= neighbors.MIN_RECALL - 0.05
    np.testing.assert_allclose(similarity, np.take_along_axis(products, index, 1), atol=1e-6)
    assert not (index == np.arange(3000)[:, None]).any()


def test_as_many_rows_as_may_be_exact_are(clustered, caplog):
    index, _ = found(clustered, 10, 700, exact_up_to=3000)
    np.testing.assert_array_equal(index, by_definition(clustered, 10)[0])
    assert not caplog.records


def test_without_faiss_all_are_found_and_the_log_says_that_it_takes_long(clustered, caplog, monkeypatch):
    monkeypatch.setattr(neighbors, "find_spec", lambda name: None)
    index, _ = found(clustered, 10, 700, exact_up_to=5)
    np.testing.assert_array_equal(index, by_definition(clustered, 10)[0])
    assert "searched exactly, in quadratic time" in caplog.text
