from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scbch_keras.labels.noise import additive, mixed_symmetric, subtractive

pytestmark = [pytest.mark.numpy_only, pytest.mark.filterwarnings("error")]

KINDS = [mixed_symmetric, additive, subtractive]
PUBLISHED = Path(__file__).parents[3] / "shared" / "reference" / "mirflickr"


def random_labels(rows=200, classes=10, density=0.3, seed=0):
    return (np.random.default_rng(seed).random((rows, classes)) < density).astype(np.uint8)


def dropped_and_added(clean, noisy):
    return ((clean == 1) & (noisy == 0)).sum(axis=1), ((clean == 0) & (noisy == 1)).sum(axis=1)


@pytest.mark.parametrize("rate", [0, 0.2, 0.5, 0.8, 1])
def test_mixed_noise_swaps_one_label_in_a_share_of_the_samples(rate):
    clean = random_labels()
    clean[:, :2] = [0, 1]  # nothing is empty or full
    labels, corrupted, _ = mixed_symmetric(clean, rate, seed=3)
    dropped, added = dropped_and_added(clean, labels)
    assert corrupted.sum() == round(rate * len(clean))
    np.testing.assert_array_equal(dropped, corrupted)
    np.testing.assert_array_equal(added, corrupted)


@given(st.sampled_from(KINDS), st.integers(1, 30), st.integers(1, 6), st.floats(0, 1), st.integers(0, 999))
@settings(deadline=None)
def test_what_changed_is_what_is_said_to_have_changed(kind, rows, classes, rate, seed):
    clean = random_labels(rows, classes, seed=seed)
    before = clean.copy()
    labels, corrupted, changed = kind(clean, rate, seed)
    np.testing.assert_array_equal(clean, before)
    np.testing.assert_array_equal(changed, labels != clean, strict=True)
    np.testing.assert_array_equal(corrupted, changed.any(axis=1), strict=True)
    assert labels.dtype == np.uint8
    dropped, added = dropped_and_added(clean, labels)
    assert max(dropped.max(), added.max()) <= 1
    assert kind is not additive or not dropped.any()
    assert kind is not subtractive or not added.any()
    assert corrupted.sum() <= round(rate * rows)


def test_a_sample_with_nothing_to_drop_only_gains_and_a_full_one_only_loses():
    clean = np.array([[0, 0, 0], [1, 1, 1]])
    for kind, sizes, corrupted in [
        (mixed_symmetric, [1, 2], [True, True]),
        (additive, [1, 3], [True, False]),
        (subtractive, [0, 2], [False, True]),
    ]:
        noisy = kind(clean, 1.0, 0)
        np.testing.assert_array_equal(noisy.labels.sum(axis=1), sizes)
        np.testing.assert_array_equal(noisy.corrupted, corrupted)


def test_a_label_is_drawn_evenly_from_those_that_can_change():
    clean = np.tile(np.array([1, 1, 0, 0, 0, 1], np.uint8), (60_000, 1))
    labels, _, changed = mixed_symmetric(clean, 1.0, 0)
    assert (labels.sum(axis=1) == 3).all()
    np.testing.assert_allclose(changed.sum(axis=0), 20_000, atol=600)
    # the two draws know nothing of each other
    np.testing.assert_allclose((changed[:, 0] & changed[:, 2]).sum(), 60_000 / 9, atol=400)


def test_samples_are_drawn_evenly():
    hits = sum(mixed_symmetric(random_labels(20), 0.25, seed).corrupted for seed in range(2000))
    np.testing.assert_allclose(hits, 500, atol=100)


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_the_noise(kind):
    clean = random_labels()
    first, again, other = kind(clean, 0.5, 1), kind(clean, 0.5, 1), kind(clean, 0.5, 2)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (first.labels != other.labels).any()
    np.testing.assert_array_equal(kind(clean, 0.5, np.random.default_rng(1)).labels, first.labels)
    for other_type in (bool, np.float32):
        np.testing.assert_array_equal(kind(clean.astype(other_type), 0.5, 1).labels, first.labels)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("labels", "rate", "seed", "message"),
    [
        (random_labels(), 1.1, 0, r"rate must be a number in \[0, 1\]; got 1.1"),
        (random_labels(), -0.1, 0, "rate must be"),
        (random_labels(), float("nan"), 0, "rate must be .* got nan"),
        (random_labels(), "0.5", 0, "rate must be .* got '0.5'"),
        (random_labels(), True, 0, "rate must be .* got True"),
        (
            random_labels(),
            0.5,
            None,
            "seed must be an int of at least 0 or a numpy.random.Generator; got None",
        ),
        (random_labels(), 0.5, -1, "seed must be .* got -1"),
        (random_labels() * 2, 0.5, 0, "labels must hold only 0 and 1"),
        (random_labels()[0], 0.5, 0, r"labels must have shape \(n, classes\)"),
        (random_labels()[:0], 0.5, 0, "labels must not be empty"),
    ],
)
def test_bad_input_is_refused(kind, labels, rate, seed, message):
    with pytest.raises(ValueError, match=message):
        kind(labels, rate, seed)


@pytest.mark.shared_data
@pytest.mark.parametrize("rate", [0.2, 0.5, 0.8])
def test_mixed_noise_is_distributed_as_the_published_noisy_labels(mirflickr, rate):
    h5py = pytest.importorskip("h5py")  # keras brings it
    with h5py.File(mirflickr / f"mirflickr25k-lall-noise_{rate}.h5") as file:
        clean, published = file["True"][()], file["result"][()]
    ours = mixed_symmetric(clean, rate, 0)
    dropped, added = dropped_and_added(clean, published)
    np.testing.assert_array_equal(dropped, added)
    assert dropped.max() == 1
    assert dropped.sum() == ours.corrupted.sum() == round(rate * len(clean))
    assert published.sum() == ours.labels.sum() == clean.sum()
    # class by class, a corrupted sample of either drops and adds what an even draw would
    for noisy in (published, ours.labels):
        corrupted = (noisy != clean).any(axis=1)
        for candidates in (clean[corrupted] == 1, clean[corrupted] == 0):
            chance = candidates / candidates.sum(axis=1, keepdims=True)
            flipped = ((noisy != clean)[corrupted] & candidates).sum(axis=0)
            deviation = (flipped - chance.sum(axis=0)) / np.sqrt((chance * (1 - chance)).sum(axis=0))
            assert np.abs(deviation).max() < 4.5
