"""Evaluation: queries and a database with true labels, checked, scored and kept."""

import numpy as np
import pytest

from scbch_keras.codes import pack_codes
from scbch_keras.export.validation.evaluation import Evaluation
from scbch_keras.metrics import cross_modal_map

pytestmark = pytest.mark.numpy_only


def a_set(rows, seed, classes=3):
    rng = np.random.default_rng(seed)
    features = {"image": rng.standard_normal((rows, 5)), "text": rng.standard_normal((rows, 4))}
    return {name: values.astype("float32") for name, values in features.items()}, rng.integers(
        2, size=(rows, classes), dtype="uint8"
    )


def encode(modality, features):
    projection = np.random.default_rng(len(modality)).standard_normal((features.shape[1], 12))
    return pack_codes(features @ projection)


def test_the_score_is_that_of_the_codes_before_and_after_saving(tmp_path):
    query, database = a_set(20, 0), a_set(70, 1)
    evaluation = Evaluation.of(query, database)
    codes = [{name: encode(name, values) for name, values in given[0].items()} for given in (query, database)]
    expected = cross_modal_map(*codes, query[1], database[1], bits=12)
    assert evaluation.score(encode, 12) == expected
    evaluation.save(tmp_path / "queries.npz")
    assert Evaluation.load(tmp_path / "queries.npz").score(encode, 12) == expected


def test_sets_that_do_not_fit_are_refused():
    query, database = a_set(20, 0), a_set(70, 1)
    with pytest.raises(
        ValueError, match=r'query must be \(\{"image": \.\.\., "text": \.\.\.\}, labels\), got dict'
    ):
        Evaluation.of(query[0], database)
    with pytest.raises(ValueError, match="database: image must have 69 rows"):
        Evaluation.of(query, (database[0], database[1][:69]))
    with pytest.raises(ValueError, match="query: labels must hold only 0 and 1"):
        Evaluation.of((query[0], query[1] * 2), database)
    with pytest.raises(ValueError, match="query has 3 labels and database 4"):
        Evaluation.of(query, a_set(70, 1, classes=4))


def test_another_file_is_refused_by_name(tmp_path):
    np.savez(tmp_path / "other.npz", query_image=np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"other\.npz: expected query_image, query_text"):
        Evaluation.load(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError):
        Evaluation.load(tmp_path / "none.npz")
