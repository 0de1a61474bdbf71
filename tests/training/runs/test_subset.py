import keras
import numpy as np
import pytest

from benchmarks.subset_724 import reference, train_and_evaluate

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.slow,
    pytest.mark.skipif(
        keras.backend.backend() != "torch", reason="tests/test_trajectory.py has every backend; runs on torch"
    ),
]


def test_a_training_on_real_pairs_is_as_good_as_the_authors(mirflickr):
    """One of the twenty trainings of `benchmarks.subset_724`, which has the whole table."""
    result = train_and_evaluate(mirflickr, rate=0.5, seed=0)
    for direction in ("i2t", "t2i"):
        authors = reference(mirflickr)[0.5, direction]
        assert abs(result[direction] - authors.mean()) < 4 * np.std(authors, ddof=1) + 0.01
