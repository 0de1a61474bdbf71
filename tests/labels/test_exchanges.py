"""Which label gives way to which, learned with the count model's table."""

from itertools import product
from math import comb

import numpy as np
import pytest

from scbch_keras.labels.counts import table_posterior
from scbch_keras.labels.noise import additive, mixed_symmetric
from scbch_keras.labels.noise_words import exchanges_in_words
from scbch_keras.labels.posterior import LabelPosterior, estimate

pytestmark = pytest.mark.numpy_only


@pytest.fixture(scope="module")
def data():
    """500 pairs of 8 labels that show in both modalities."""
    rng = np.random.default_rng(0)
    labels = (rng.random((500, 8)) < 0.25).astype("uint8")
    image = labels @ rng.standard_normal((8, 40)) + 0.7 * rng.standard_normal((500, 40))
    text = rng.poisson(0.05 + labels @ (rng.random((8, 30)) < 0.2))
    return image.astype("float32"), text.astype("float32"), labels


def next_label(labels, rate, seed=0):
    """In a share of the samples a label gives way to the next one."""
    rng, noisy = np.random.default_rng(seed), labels.copy()
    for row in rng.choice(len(labels), round(rate * len(labels)), replace=False):
        candidates = np.flatnonzero((labels[row] == 1) & (np.roll(labels[row], -1) == 0))
        if len(candidates):
            lost = rng.choice(candidates)
            noisy[row, [lost, (lost + 1) % labels.shape[1]]] = 0, 1
    return noisy


@pytest.mark.parametrize("seed", range(5))
def test_the_posterior_of_exchanges_is_the_enumeration_of_all_true_labels(seed):
    rng = np.random.default_rng(seed)
    table, classes = rng.dirichlet(np.ones(9)).reshape(3, 3), 5
    pairs = rng.random((classes, classes)) * (1 - np.eye(classes))
    eta, given = rng.uniform(0.01, 0.99, classes), rng.integers(0, 2, classes)
    weights, posterior, cells, exchanged = 0.0, np.zeros(classes), np.zeros((3, 3)), np.zeros((classes,) * 2)
    for true in product((0, 1), repeat=classes):
        true = np.array(true)
        lost, gained = np.flatnonzero(true > given), np.flatnonzero(given > true)
        if len(lost) > 2 or len(gained) > 2:
            continue
        ways = comb(true.sum(), len(lost)) * comb(classes - true.sum(), len(gained))
        weight = np.prod(np.where(true, eta, 1 - eta)) * table[len(lost), len(gained)] / ways
        if len(lost) == len(gained) == 1:
            weight *= pairs[lost[0], gained[0]]
            exchanged[lost[0], gained[0]] += weight
        weights += weight
        posterior += weight * true
        cells[len(lost), len(gained)] += weight
    found = table_posterior(eta[None], given[None], table, 10, pairs)
    np.testing.assert_allclose(found.probabilities[0], posterior / weights, atol=1e-9)
    np.testing.assert_allclose(found.cells, cells / weights, atol=1e-9)
    np.testing.assert_allclose(found.exchanged, exchanged / weights, atol=1e-9)
    assert found.log_likelihood == pytest.approx(np.log(weights))


def test_pairs_that_are_all_alike_change_nothing():
    rng = np.random.default_rng(1)
    eta, given = rng.uniform(0.01, 0.99, (20, 6)), rng.integers(0, 2, (20, 6))
    table = rng.dirichlet(np.ones(9)).reshape(3, 3)
    plain, paired = (table_posterior(eta, given, table, 7, pairs) for pairs in (None, 1 - np.eye(6)))
    np.testing.assert_allclose(paired.probabilities, plain.probabilities, atol=1e-12)
    assert paired.log_likelihood == pytest.approx(plain.log_likelihood)
    assert paired.exchanged.sum() == pytest.approx(paired.cells[1, 1])


def test_labels_that_give_way_to_their_neighbour_are_found_and_said(data, tmp_path):
    image, text, labels = data
    noisy = next_label(labels, 0.5)
    even, found = (estimate(image, text, noisy, exchanges=kind) for kind in ("even", "likelier"))
    assert even.exchanges is None
    np.testing.assert_array_equal(found.exchanges.argmax(axis=1), np.roll(np.arange(8), -1))
    np.testing.assert_allclose(found.exchanges.sum(axis=1), 1)
    errors = [np.square(one.probabilities - labels).mean() for one in (found, even)]
    assert errors[0] < errors[1] < (noisy != labels).mean()
    words = found.in_words([f"label {number}" for number in range(8)])
    assert words.startswith(found.noise_in_words)
    assert "'label 4' to 'label 5' (89%)" in words
    found.save(tmp_path / "posterior.npz")
    np.testing.assert_array_equal(LabelPosterior.load(tmp_path / "posterior.npz").exchanges, found.exchanges)


@pytest.mark.parametrize("noise", [mixed_symmetric, additive, lambda labels, rate, seed: (labels,)])
def test_where_all_labels_give_way_alike_the_plain_model_is_kept(data, noise):
    image, text, labels = data
    noisy = noise(labels, 0.5, 1)[0]
    plain, chosen = (estimate(image, text, noisy, exchanges=kind) for kind in ("even", "likelier"))
    assert chosen.exchanges is None
    np.testing.assert_array_equal(chosen.probabilities, plain.probabilities)


def test_one_label_alone_gives_way_to_nothing(data):
    image, text, labels = data
    found = estimate(image, text, labels[:, :1], exchanges="by_class")
    assert np.isfinite(found.probabilities).all()
    np.testing.assert_array_equal(found.exchanges, [[0]])


def test_evenly_shared_exchanges_are_said_to_be_so():
    assert exchanges_in_words((1 - np.eye(4)) / 3, "abcd") == "No label gives way to one above all others."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exchanges": "odd"}, "exchanges must be one of 'even', 'by_class', 'likelier'"),
        ({"exchanges": None}, "exchanges must be one of"),
        (
            {"exchanges": "by_class", "noise_model": "swap"},
            "exchanges='by_class' goes with noise_model='count'; got 'swap'",
        ),
        ({"exchanges": "likelier", "noise_model": "independent"}, "goes with noise_model='count'"),
        (
            {"exchanges": "likelier", "checked": ([0, 1], [[1] * 8, [0] * 8])},
            "exchanges='likelier' is not for checked rows",
        ),
    ],
)
def test_where_exchanges_make_no_sense_it_is_said(data, change, message):
    with pytest.raises(ValueError, match=message):
        estimate(*data, **change)
