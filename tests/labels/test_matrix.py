import numpy as np
import pytest

from scbch_keras.labels.matrix import check_labels

pytestmark = [pytest.mark.numpy_only, pytest.mark.filterwarnings("error")]


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float32, ">u2", "longdouble"])
def test_zeros_and_ones_of_any_real_type_are_labels(dtype):
    check_labels("labels", np.array([[0, 1, 1], [0, 0, 0]], dtype), num_classes=3)


@pytest.mark.parametrize(
    ("labels", "num_classes", "message"),
    [
        (np.array([[0, 1], [1, 2], [3, 0]]), None, r"labels must hold only 0 and 1; .* is 1 \(column 1: 2\)"),
        (np.array([[0, 1], [0, -1]]), None, r"is 1 \(column 1: -1\)"),
        (np.array([[0.5, 1.0]]), None, r"is 0 \(column 0: 0.5\)"),
        (np.array([[0.0, 1.0], [np.nan, 0.0]]), None, r"is 1 \(column 0: nan\)"),
        (np.array([3, 1, 2]), None, r"labels must have shape \(n, classes\); got shape \(3,\).*one-hot"),
        (np.zeros((2, 3, 1)), None, r"labels must have shape \(n, classes\); got shape \(2, 3, 1\)"),
        (np.zeros((0, 3)), None, r"labels must not be empty; got shape \(0, 3\)"),
        (np.zeros((3, 0)), None, r"labels must not be empty; got shape \(3, 0\)"),
        (np.zeros((3, 5)), 24, r"labels must have 24 classes \(columns\); got 5"),
        (np.array([["a"]]), None, "labels must hold real numbers; got dtype <U1"),
        ([[0, 1], [1]], None, "labels must be an array of real numbers; got list"),
    ],
)
def test_what_is_not_multi_labels_is_refused_by_name(labels, num_classes, message):
    with pytest.raises(ValueError, match=message):
        check_labels("labels", labels, num_classes)
