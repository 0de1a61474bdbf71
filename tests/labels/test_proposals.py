"""Which rows are proposed to be checked by hand, and what is expected of it."""

import numpy as np
import pytest

from scbch_keras.labels.posterior import propose

pytestmark = pytest.mark.numpy_only
KINDS = pytest.mark.parametrize("by", ["random", "doubtful", "balanced"])


@pytest.fixture(scope="module")
def posterior():
    """Probabilities of 300 rows, the truth drawn from them, and given labels; the last label is rare."""
    rng = np.random.default_rng(0)
    p = rng.beta(0.3, [1.0, 1.0, 1.0, 10.0], (300, 4))
    return p, (rng.random(p.shape) < p).astype("uint8"), (rng.random(p.shape) < 0.3).astype("uint8")


@KINDS
def test_rows_are_different_ones_and_the_same_for_a_seed(posterior, by):
    p, _, labels = posterior
    found = propose(p, labels, 40, by)
    assert len(set(found.rows.tolist())) == 40
    assert found.by == by
    np.testing.assert_array_equal(found.rows, propose(p, labels, 40, by).rows)
    np.testing.assert_array_equal(found.rows[:10], propose(p, labels, 10, by).rows)
    np.testing.assert_allclose(found.wrong_labels, np.abs(p - labels)[found.rows].sum(axis=1))


def test_random_rows_are_drawn_evenly(posterior):
    p, _, labels = posterior
    times = np.zeros(300)
    for seed in range(400):
        times[propose(p, labels, 30, seed=seed).rows] += 1
    assert times.sum() == 400 * 30
    assert (np.abs(times - 40) < 5 * np.sqrt(40)).all()


def test_the_gain_is_what_knowing_the_rows_removes_of_the_error(posterior):
    p, truth, labels = posterior
    gains = {by: propose(p, labels, 60, by) for by in ("random", "doubtful", "balanced")}
    assert gains["doubtful"].error_removed == max(gain.error_removed for gain in gains.values())
    for gain in gains.values():
        errors = np.square(p - truth).sum(axis=1)
        assert errors[gain.rows].sum() / errors.sum() == pytest.approx(gain.error_removed, abs=0.05)
    assert propose(p, labels, 300).error_removed == pytest.approx(1)
    assert propose(labels, labels, 5, "doubtful").error_removed == 0


def test_balanced_rows_show_rare_labels(posterior):
    p, _, labels = posterior
    balanced, random = (p[propose(p, labels, 30, by).rows].sum(axis=0) for by in ("balanced", "random"))
    assert balanced[3] > 2 * random[3]
    assert balanced.min() / balanced.max() > 1.5 * random.min() / random.max()
    absent = np.concatenate([p[:, :3], np.zeros((300, 1))], axis=1)
    assert len(set(propose(absent, labels, 300, "balanced").rows.tolist())) == 300


@KINDS
def test_of_an_item_one_row_is_proposed_and_of_a_known_one_none(posterior, by):
    p, _, labels = posterior
    groups = np.arange(300) // 3
    p, labels = p[::3][groups], labels[::3][groups]
    found = propose(p, labels, 60, by, groups=groups, skip=np.arange(1, 90, 3))
    assert len(set(groups[found.rows])) == 60
    assert groups[found.rows].min() >= 30
    everything = propose(p, labels, 100, by, groups=groups)
    assert everything.error_removed == pytest.approx(1)
    with pytest.raises(
        ValueError, match="count must be at most 100, the number of items not known yet; got 101"
    ):
        propose(p, labels, 101, by, groups=groups)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probabilities": np.full((3, 2), 1.5)}, "probabilities must hold only probabilities from 0 to 1"),
        ({"labels": np.zeros((2, 2))}, "labels must have 3 rows"),
        ({"labels": np.zeros((3, 3))}, "labels must have 2 classes"),
        ({"count": 0}, "count must be an int of at least 1"),
        ({"count": 4}, "count must be at most 3"),
        ({"count": 2.0}, "count must be an int"),
        ({"by": "guess"}, "by must be one of 'random', 'doubtful', 'balanced'"),
        ({"seed": -1}, "seed must be an int of at least 0"),
        ({"skip": [0.5]}, "skip must be an array of row numbers"),
        ({"skip": [3]}, "skip must be from 0 to 2; got 3"),
        ({"skip": [0], "count": 3}, "count must be at most 2"),
    ],
)
def test_what_makes_no_sense_is_named(change, message):
    usual = {"probabilities": np.full((3, 2), 0.5), "labels": np.eye(3, 2), "count": 1}
    with pytest.raises(ValueError, match=message):
        propose(**{**usual, **change})
