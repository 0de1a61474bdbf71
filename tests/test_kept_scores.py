"""Scores that benchmarks keep: one training for one seed, data and settings, another for any other."""

import numpy as np
import pytest

from benchmarks import kept


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A function that scores a key, and the keys that were trained for."""
    monkeypatch.setattr(kept, "folder", tmp_path)
    keys = []

    def score(*key):
        return kept.score(lambda: keys.append(key) or {"i2t": 1 / 3, "t2i": len(keys) / 7}, *key)

    return score, keys


def test_a_score_is_trained_for_once_and_kept_as_it_was(trained, tmp_path, monkeypatch):
    score, keys = trained
    key = 0, [np.eye(3, dtype="float32")], {"labels": "posterior", "width": 256}
    first = score(*key)
    assert score(*key) == first == {"i2t": 1 / 3, "t2i": 1 / 7}
    assert score(0, [np.eye(3, dtype="float32")], {"width": 256, "labels": "posterior"}) == first
    assert len(keys) == 1
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(kept, "folder", None)
    score(*key)
    assert len(keys) == 2


def test_whatever_differs_is_another_training(trained):
    class One:
        pass

    class Other:
        pass

    score, keys = trained
    data = np.arange(6, dtype="float32")
    transposed = np.asfortranarray(data.reshape(2, 3))
    for key in (
        *((seed, data, {}) for seed in (0, 1)),
        (0, data.astype("float64"), {}),
        (0, data.reshape(2, 3), {}),
        (0, transposed.T, {}),
        (0, data, {"bits": 16}),
        (0, data, {"bits": "16"}),
        *((0, data, {"method": method}) for method in (One, Other, None)),
    ):
        score(*key)
    assert len(keys) == 10
    score(0, transposed, {})  # the same values in another order of memory
    assert len(keys) == 10


def test_a_key_that_cannot_be_told_from_another_is_refused(trained):
    with pytest.raises(TypeError, match="cannot keep a training by a value of type object"):
        trained[0](object())
