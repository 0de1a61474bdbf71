"""Rows whose labels were looked up by hand: rates, table and curves rest on them."""

import numpy as np
import pytest

from scbch_keras.labels.noise import mixed_symmetric
from scbch_keras.labels.posterior import estimate

pytestmark = pytest.mark.numpy_only
MODELS = pytest.mark.parametrize("noise_model", ["count", "independent"])


@pytest.fixture(scope="module")
def tagged():
    """500 pairs of 8 labels of which people gave a few: each true one is dropped with .7, differently by label."""
    rng = np.random.default_rng(0)
    true = (rng.random((500, 8)) < 0.3).astype("uint8")
    image = true @ rng.standard_normal((8, 40)) + 0.7 * rng.standard_normal((500, 40))
    text = rng.poisson(0.05 + true @ (rng.random((8, 30)) < 0.2))
    kept = rng.random((500, 8)) < np.linspace(0.1, 0.5, 8)
    tags = true & kept | (rng.random((500, 8)) < 0.01)
    rows = rng.choice(500, 50, replace=False)
    return image.astype("float32"), text.astype("float32"), tags.astype("uint8"), true, rows


@MODELS
def test_a_few_checked_rows_find_the_noise_that_the_data_cannot_tell(tagged, noise_model):
    image, text, tags, true, rows = tagged
    others = np.setdiff1d(np.arange(500), rows)
    found = estimate(image, text, tags, noise_model, checked=(rows, true[rows]))
    without = estimate(image, text, tags, noise_model)
    errors = [np.square(one.probabilities - true)[others].mean() for one in (found, without)]
    assert errors[0] < 0.85 * errors[1]
    assert found.drop_rate == pytest.approx(((true == 1) & (tags == 0)).sum() / true.sum(), abs=0.12)
    changed = (tags != true).any(axis=1).mean()
    assert found.noise_rate == pytest.approx(changed, abs=0.12)


@MODELS
def test_checked_labels_are_the_truth_and_rest_on_the_order_of_nothing(tagged, noise_model):
    image, text, tags, true, rows = tagged
    found = estimate(image, text, tags, noise_model, checked=(rows, true[rows]))
    np.testing.assert_array_equal(found.probabilities[rows], true[rows])
    again = estimate(image, text, tags, noise_model, checked=(rows[::-1], true[rows[::-1]]))
    np.testing.assert_array_equal(again.probabilities, found.probabilities)


@MODELS
def test_a_checked_row_speaks_for_its_group(tagged, noise_model):
    image, text, tags, true, _ = tagged
    groups = np.arange(500) // 2
    tags, true = tags[::2][groups], true[::2][groups]
    rows = np.arange(0, 100, 2)
    found = estimate(image, text, tags, noise_model, groups=groups, checked=(rows, true[rows]))
    np.testing.assert_array_equal(found.probabilities[:100], true[:100])
    both = estimate(image, text, tags, noise_model, groups=groups, checked=(np.arange(100), true[:100]))
    np.testing.assert_array_equal(both.probabilities, found.probabilities)


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("noise", "rate"), [(mixed_symmetric, 0.5), (mixed_symmetric, 0.8)], ids=["half", "most"]
)
@MODELS
@pytest.mark.slow
def test_checked_rows_do_no_harm_where_the_data_can_tell(mirflickr, noise, rate, noise_model):
    from scbch_keras.training.data.benchmarks.sets import load_benchmark

    train = load_benchmark("mirflickr-subset", mirflickr, 0.0, 0).train
    noisy, rows = noise(train.labels, rate, 0).labels, np.random.default_rng(5).choice(600, 50, replace=False)
    others = np.setdiff1d(np.arange(600), rows)
    errors = [
        np.square(
            estimate(train.image, train.text, noisy, noise_model, checked=checked).probabilities
            - train.labels
        )[others].mean()
        for checked in ((rows, train.labels[rows]), None)
    ]
    assert errors[0] < errors[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows, true: rows, r"checked must be a pair \(rows, labels\)"),
        (lambda rows, true: (rows / 1.0, true), "checked rows must be an array of integers"),
        (lambda rows, true: (rows[:, None], true), "checked rows must be an array of integers"),
        (lambda rows, true: (rows[:0], true[:0]), r"checked rows must be .* m >= 1"),
        (lambda rows, true: (rows + 500, true), "checked rows must be from 0 to 499; got 5"),
        (lambda rows, true: (rows - 500, true), "checked rows must be from 0 to 499; got -"),
        (lambda rows, true: (rows * 0 + 7, true), "checked rows must name each row once; got 7 twice"),
        (lambda rows, true: (rows, true[:-1]), "checked labels must have 50 rows"),
        (lambda rows, true: (rows, true[:, 1:]), "checked labels must have 8 classes"),
        (lambda rows, true: (rows, true * 2), "checked labels must hold only 0 and 1"),
        (
            lambda rows, true: (rows, true * 0),
            "checked must hold labels that are there and labels that are not",
        ),
        (lambda rows, true: (rows, true * 0 + 1), "checked must hold labels that are there and"),
    ],
)
@MODELS
def test_what_is_no_checked_rows_is_named(tagged, change, message, noise_model):
    image, text, tags, true, rows = tagged
    with pytest.raises(ValueError, match=message):
        estimate(image, text, tags, noise_model, checked=change(rows, true[rows]))


def test_labels_that_say_nothing_of_the_checked_ones_and_swaps_are_refused(tagged):
    image, text, tags, true, rows = tagged
    with pytest.raises(ValueError, match=r"say nothing of the true ones: \d+% of these were dropped"):
        estimate(image, text, tags, checked=(rows, 1 - tags[rows]))
    with pytest.raises(
        ValueError, match="checked goes with noise_model='count' or 'independent'; got 'swap'"
    ):
        estimate(image, text, tags, "swap", checked=(rows, true[rows]))
    groups = np.arange(500) // 2
    with pytest.raises(ValueError, match=r"checked labels: the rows of a group must have .* row \d+"):
        estimate(
            image, text, tags[::2][groups], groups=groups, checked=(np.arange(2), np.eye(8, dtype=int)[:2])
        )
