"""The count model: how many labels of a sample were dropped and added, learned from the data."""

from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scbch_keras.labels.counts import START, counted_table, table_posterior
from scbch_keras.labels.noise import additive, mixed_symmetric, subtractive
from scbch_keras.labels.posterior import LabelPosterior, estimate

pytestmark = pytest.mark.numpy_only


@pytest.fixture(scope="module")
def data(draw_pairs):
    return draw_pairs(0.25)


def enumerated(eta, given, table):
    """Posterior and share of each cell by going through every set of dropped and added labels of a sample."""
    classes, cells, posterior = len(eta), np.zeros(table.shape), np.zeros(len(eta))
    for true in product((0, 1), repeat=classes):
        true = np.array(true)
        dropped, added = int((true > given).sum()), int((given > true).sum())
        if dropped >= table.shape[0] or added >= table.shape[1]:
            continue
        ways = comb(true.sum(), dropped) * comb(classes - true.sum(), added)
        weight = np.prod(np.where(true, eta, 1 - eta)) * table[dropped, added] / ways
        cells[dropped, added] += weight
        posterior += weight * true
    return posterior / cells.sum(), cells / cells.sum()


@settings(max_examples=60, deadline=None)
@given(
    classes=st.integers(1, 6),
    dropped=st.integers(0, 4),
    added=st.integers(0, 4),
    seed=st.integers(0, 10**6),
)
def test_the_posterior_is_the_enumeration_of_all_true_labels(classes, dropped, added, seed):
    rng = np.random.default_rng(seed)
    table = rng.dirichlet(np.ones((dropped + 1) * (added + 1))).reshape(dropped + 1, added + 1)
    eta, labels = rng.uniform(0.001, 0.999, (4, classes)), rng.integers(0, 2, (4, classes))
    posterior, cells = table_posterior(eta, labels, table, 3)[:2]
    expected = [enumerated(*row, table) for row in zip(eta, labels, strict=True)]
    np.testing.assert_allclose(posterior, [p for p, _ in expected], atol=1e-9)
    np.testing.assert_allclose(cells, sum(cell for _, cell in expected), atol=1e-9)


def test_wide_ranges_of_odds_do_not_cancel():
    """Dividing a label out of the product of all leaves nothing right here."""
    rng = np.random.default_rng(3)
    table = np.full((9, 5), 1 / 45)
    eta = 1 / (1 + np.exp(-rng.uniform(-14, 14, (20, 10))))
    labels = rng.integers(0, 2, (20, 10))
    posterior, cells = table_posterior(eta, labels, table, 4096)[:2]
    clipped = np.clip(eta, 1e-6, 1 - 1e-6)
    expected = [enumerated(*row, table)[0] for row in zip(clipped, labels, strict=True)]
    np.testing.assert_allclose(posterior, expected, atol=1e-7)
    assert cells.sum() == pytest.approx(20)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(1, 30), block_size=st.integers(1, 20))
def test_probabilities_are_probabilities_and_know_no_order(seed, classes, block_size):
    rng = np.random.default_rng(seed)
    eta = np.clip(rng.normal(0.5, 0.6, (15, classes)), 0, 1)  # exact 0 and 1 among them
    labels = rng.integers(0, 2, (15, classes))
    posterior, cells = table_posterior(eta, labels, START, block_size)[:2]
    assert ((posterior >= 0) & (posterior <= 1)).all()
    assert cells.sum() == pytest.approx(15)
    whole = table_posterior(eta, labels, START, 15).probabilities
    np.testing.assert_allclose(posterior, whole, rtol=1e-12)
    rows, columns = rng.permutation(15), rng.permutation(classes)
    moved = table_posterior(eta[rows][:, columns], labels[rows][:, columns], START, block_size).probabilities
    np.testing.assert_allclose(moved, posterior[rows][:, columns], atol=1e-9)


def test_estimates_know_no_order_of_rows_and_classes_and_no_blocks(data):
    image, text, labels = data
    noisy = mixed_symmetric(labels, 0.5, 1).labels
    found = estimate(image, text, noisy)
    assert found.noise.shape == (3, 3)
    assert found.noise.sum() == pytest.approx(1)
    assert found.noise_rate == pytest.approx(1 - found.noise[0, 0])
    rng = np.random.default_rng(2)
    rows, columns = rng.permutation(400), rng.permutation(10)
    moved = estimate(image[rows], text[rows], noisy[rows][:, columns])
    np.testing.assert_allclose(moved.probabilities, found.probabilities[rows][:, columns], atol=5e-3)
    np.testing.assert_allclose(moved.noise, found.noise, atol=2e-3)
    blocks = estimate(image, text, noisy, block_size=37)
    np.testing.assert_allclose(blocks.probabilities, found.probabilities, atol=5e-3)
    np.testing.assert_allclose(blocks.noise, found.noise, atol=2e-3)


def test_clean_labels_stay_untouched(data):
    image, text, labels = data
    found = estimate(image, text, labels)
    assert found.noise[0, 0] == 1
    assert (found.noise_rate, found.add_rate, found.drop_rate) == (0, 0, 0)
    np.testing.assert_array_equal(found.probabilities, labels)
    assert found.noise_in_words == "All samples are untouched."


@pytest.mark.parametrize(
    ("noise", "cell", "rates"),
    [
        (mixed_symmetric, (1, 1), lambda add, drop: min(add, drop) > 0.02),
        (subtractive, (1, 0), lambda add, drop: drop > 0.1 and add == 0),
        (additive, (0, 1), lambda add, drop: add > 0.02 and drop == 0),
    ],
)
def test_the_data_say_how_their_labels_went_wrong(data, noise, cell, rates):
    image, text, labels = data
    noisy = noise(labels, 0.5, 1).labels
    found, before = estimate(image, text, noisy), estimate(image, text, noisy, "independent")
    damaged = (noisy != labels).any(axis=1).mean()
    assert found.noise[cell] == pytest.approx(damaged, abs=0.1)
    assert found.noise[0, 0] + found.noise[cell] > 0.97
    assert rates(found.add_rate, found.drop_rate)
    errors = [np.square(one.probabilities - labels).mean() for one in (found, before)]
    assert errors[0] < errors[1] < np.mean(noisy != labels)


@pytest.mark.slow
@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("noise", "rate", "seed", "error", "cells"),
    [
        (mixed_symmetric, 0.5, 0, 184, {(0, 0): 0.57, (1, 1): 0.43}),
        (mixed_symmetric, 0.8, 0, 278, {(0, 0): 0.27, (1, 1): 0.73}),
        (subtractive, 0.5, 0, 121, {(1, 0): 0.45}),
        (additive, 0.5, 0, 97, {(0, 1): 0.33}),
        (additive, 0.5, 2, 86, {(0, 1): 0.41}),
        (mixed_symmetric, 0.0, 0, 0, {(0, 0): 1.0}),
    ],
)
def test_the_subset_of_real_pairs_is_cleaned_as_published(mirflickr, noise, rate, seed, error, cells):
    from scbch_keras.training.data.benchmarks.sets import load_benchmark

    train = load_benchmark("mirflickr-subset", mirflickr, 0.0, seed).train
    found = estimate(train.image, train.text, noise(train.labels, rate, seed).labels)
    assert 1e4 * np.square(found.probabilities - train.labels).mean() == pytest.approx(error, rel=0.05)
    for cell, share in cells.items():
        assert found.noise[cell] == pytest.approx(share, abs=0.03)


def test_groups_have_one_posterior_and_one_vote(data):
    image, text, labels = data
    groups = np.arange(400) // 2
    rng = np.random.default_rng(4)
    image, text = (values[::2][groups] + 0.1 * rng.random((400, values.shape[1])) for values in (image, text))
    noisy = mixed_symmetric(labels[::2], 0.5, 3).labels[groups]
    found = estimate(image, text, noisy, groups=groups)
    np.testing.assert_array_equal(found.probabilities, found.probabilities[::2][groups])
    assert found.noise_rate == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize("noise_model", ["count", "independent"])
def test_the_table_and_the_sentence_are_saved_and_loaded(data, noise_model, tmp_path):
    found = estimate(data[0], data[1], mixed_symmetric(data[2], 0.5, 1).labels, noise_model)
    found.save(tmp_path / "posterior.npz")
    loaded = LabelPosterior.load(tmp_path / "posterior.npz")
    assert loaded.noise_in_words == found.noise_in_words
    if noise_model == "count":
        np.testing.assert_array_equal(loaded.noise, found.noise)
    else:
        assert loaded.noise is None


def test_a_file_from_before_there_were_tables_still_loads(tmp_path):
    settings = (
        b'{"format": "scbch posterior 1", "add_rate": 0.02, "drop_rate": 0.1, "noise_rate": 0.4, '
        b'"ridge": 3.0, "noise_model": "independent", "text_kind": "words"}'
    )
    arrays = {"probabilities": np.full((2, 3), 0.5, "float32"), "scores": np.zeros((2, 3), "float32")}
    np.savez(tmp_path / "old.npz", settings=np.frombuffer(settings, np.uint8), **arrays)
    loaded = LabelPosterior.load(tmp_path / "old.npz")
    assert (loaded.noise, loaded.noise_rate) == (None, 0.4)
    assert loaded.noise_in_words.startswith("Of 100 samples 40 have wrong labels")


def test_a_counted_table_counts_dropped_and_added():
    true = np.array([[1, 1, 1, 1, 0], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 1, 0, 0, 1]])
    labels = np.array([[0, 0, 0, 0, 1], [1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 1, 0, 0, 1]])
    table = counted_table(labels, true)
    assert table.shape == (5, 3)
    assert table.sum() == pytest.approx(1)
    assert (table > 0).all()
    first = np.argsort(-table.ravel(), kind="stable")[:3]
    assert {divmod(int(cell), 3) for cell in first} == {(0, 0), (0, 1), (4, 1)}
