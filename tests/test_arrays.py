"""What is taken for an array, wherever arrays come in."""

import functools
import subprocess
import sys

import numpy as np
import pytest

from scbch_keras.arrays import as_array, as_network, check_features
from scbch_keras.codes import check_packed, pack_codes
from scbch_keras.export import HammingIndex
from scbch_keras.export.validation.evaluation import Evaluation
from scbch_keras.labels.audit import LabelAudit, PosteriorAudit
from scbch_keras.labels.matrix import check_labels
from scbch_keras.labels.noise import additive, mixed_symmetric, subtractive
from scbch_keras.labels.posterior import estimate
from scbch_keras.metrics import mean_average_precision

pytestmark = [
    pytest.mark.numpy_only,
    pytest.mark.filterwarnings("error", "ignore:the matrix subclass"),
]

LABELS = (np.random.default_rng(0).random((40, 5)) < 0.4).astype("uint8")
VALUES = np.random.default_rng(1).integers(0, 2, (40, 6)).astype("float32")
PLAIN = ["bool", "int8", "uint8", "int16", "int32", "float32"]
CONVERTED = [
    "float16",
    "float64",
    "longdouble",
    "uint16",
    "uint32",
    "int64",
    "uint64",
    ">f2",
    ">f4",
    ">f8",
    ">i4",
    ">u2",
]


def frame(values):
    return pytest.importorskip("pandas").DataFrame(values)


def arrow(values):
    pyarrow = pytest.importorskip("pyarrow")
    return pyarrow.table({str(number): column for number, column in enumerate(values.T)})


def reduced(name):
    return lambda values: values.astype(getattr(pytest.importorskip("ml_dtypes"), name))


TAKEN = {
    **{name: lambda values, name=name: values.astype(name) for name in (*PLAIN, *CONVERTED)},
    **{name: reduced(name) for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2", "int4")},
    "list": lambda values: values.tolist(),
    "tuple of arrays": tuple,
    "list of arrays, nothing masked": lambda values: list(np.ma.masked_array(values)),
    "np.matrix": lambda values: np.matrix(values),
    "columns first": np.asfortranarray,
    "strided": lambda values: np.repeat(values, 2, axis=0)[::2],
    "read only": lambda values: np.broadcast_to(values, values.shape),
    "nothing masked": lambda values: np.ma.masked_array(values, mask=np.zeros(values.shape, bool)),
    "DataFrame": frame,
    "DataFrame of uint64": lambda values: frame(values.astype("uint64")),
    "DataFrame of nullable numbers": lambda values: frame(values.astype("int64")).astype("Int64"),
    "DataFrame of Arrow's numbers beside others": lambda values: frame(values).astype({0: "float[pyarrow]"}),
    "Arrow table": arrow,
}


def sparse(kind):
    return lambda values: getattr(pytest.importorskip("scipy.sparse"), kind)(values)


def cells(values):
    made = np.empty(len(values), object)
    made[:] = list(values)
    return made


def column(values):
    return pytest.importorskip("pandas").Series(values.tolist())


def with_text(values):
    return np.where(np.arange(values.shape[1]) == 1, "a", values.astype(object))


REFUSED = {
    **{
        f"{form}_{kind}": (sparse(f"{form}_{kind}"), r"sparse .*\.toarray\(\)")
        for form in ("csr", "csc", "coo", "lil", "dok", "bsr", "dia")
        for kind in ("matrix", "array")
    },
    "masked": (
        lambda values: np.ma.masked_array(values, mask=np.arange(40)[:, None] == 7 + 0 * values),
        "masked; row 7",
    ),
    "complex": (lambda values: values.astype("complex64"), "real numbers; got dtype complex64"),
    "dates": (lambda values: values.astype("datetime64[D]"), "real numbers; got dtype datetime64"),
    "durations": (lambda values: values.astype("timedelta64[D]"), "real numbers; got dtype timedelta64"),
    "strings": (lambda values: values.astype(str), "real numbers; got dtype <U"),
    "bytes": (lambda values: values.astype(bytes), r"real numbers; got dtype \|S"),
    "objects": (
        lambda values: values.astype(object),
        r"real numbers; got dtype object.*\.astype\('float32'\)",
    ),
    "rows in cells": (cells, r"real numbers; got dtype object\. A cell holds a row.*numpy\.stack"),
    "a column of lists": (column, r"real numbers; got dtype object\. A cell holds a row.*numpy\.stack"),
    "rows, one masked": (
        lambda values: list(np.ma.masked_array(values, mask=np.arange(40)[:, None] == 7 + 0 * values)),
        "masked; row 7",
    ),
    "sparse rows": (
        lambda values: [sparse("csr_array")(row[None]) for row in values],
        r"sparse .*\.toarray\(\)",
    ),
    "mixed cells": (with_text, "real numbers; got dtype object"),
    "records": (lambda values: np.zeros(40, "f4,i4"), "real numbers; got dtype"),
    "ragged": (lambda values: [[0, 1], [1]], "array of real numbers; got list"),
    "dict": (
        lambda values: {"token_ids": values, "padding_mask": values},
        "one array .*token_ids, padding_mask",
    ),
    "None": (lambda values: None, "array of real numbers; got NoneType"),
    "generator": (lambda values: iter(values), "array of real numbers; got"),
    "text": (lambda values: "a dog", "real numbers; got dtype <U5"),
}

# Each takes one array in the place that is named; the others are sound.
FEATURES = {
    "the gate": ("image", lambda values: as_array("image", values)),
    "posterior image": ("image", lambda values: estimate(values, VALUES, LABELS)),
    "posterior text": ("text", lambda values: estimate(VALUES, values, LABELS)),
    "evaluation": ("image", lambda values: Evaluation.of(({"image": values, "text": VALUES}, LABELS), SET)),
}
SET = ({"image": VALUES, "text": VALUES}, LABELS)
CODES = pack_codes(VALUES - 0.5)
LABEL_PLACES = {
    "the gate": ("labels", lambda labels: check_labels("labels", labels)),
    "noise": ("labels", lambda labels: mixed_symmetric(labels, 0.5, 0).labels.tolist()),
    "additive": ("labels", lambda labels: additive(labels, 0.5, 0).labels.tolist()),
    "subtractive": ("labels", lambda labels: subtractive(labels, 0.5, 0).labels.tolist()),
    "posterior": ("labels", lambda labels: estimate(VALUES, VALUES, labels).probabilities.tolist()),
    "metrics": ("query_labels", lambda labels: mean_average_precision(CODES, CODES, labels, LABELS, bits=6)),
    "audit": ("labels", lambda labels: audit(labels).suspicion.tolist()),
    "audit score": ("clean_labels", lambda labels: audit(LABELS).score(labels).corrupted.tolist()),
    "evaluation": (
        "labels",
        lambda labels: Evaluation.of((SET[0], labels), SET).query.labels.tolist(),
    ),
}


def audit(labels):
    return LabelAudit(np.arange(40).astype(str), VALUES[:, 0], labels, VALUES[:, :5], tuple("abcde"))


@pytest.mark.parametrize("form", TAKEN)
def test_real_numbers_of_any_form_are_taken_with_their_values(form):
    array = as_array("image", TAKEN[form](VALUES))
    assert isinstance(array, np.ndarray)
    assert not isinstance(array, np.ma.MaskedArray | np.matrix)
    check_features("image", array)
    network = as_network(array)
    assert network.dtype in [np.dtype(name) for name in PLAIN]
    assert network.dtype.isnative
    np.testing.assert_array_equal(network.astype("float64"), VALUES)


@functools.cache
def plain_posterior():
    return estimate(VALUES, VALUES, LABELS).probabilities


@functools.cache
def of_plain_labels(place):
    return LABEL_PLACES[place][1](LABELS)


@pytest.mark.slow
@pytest.mark.parametrize("form", TAKEN)
@pytest.mark.parametrize("place", [name for name in FEATURES if name.startswith("posterior")])
def test_the_posterior_is_the_same_of_every_form(form, place):
    actual = FEATURES[place][1](TAKEN[form](VALUES)).probabilities
    np.testing.assert_array_equal(actual, plain_posterior())


@pytest.mark.parametrize("form", TAKEN)
@pytest.mark.parametrize("place", [name for name in LABEL_PLACES if name != "the gate"])
@pytest.mark.slow
def test_labels_of_every_form_mean_the_same(form, place):
    assert LABEL_PLACES[place][1](TAKEN[form](LABELS)) == of_plain_labels(place)


@pytest.mark.parametrize("form", REFUSED)
@pytest.mark.parametrize("place", [*FEATURES, *LABEL_PLACES])
def test_other_features_and_labels_are_refused_by_name(form, place):
    make, message = REFUSED[form]
    name, call = {**FEATURES, **LABEL_PLACES}[place]
    with pytest.raises(ValueError, match=f"{name} must .*{message}"):
        call(make(VALUES if place in FEATURES else LABELS))


@pytest.mark.parametrize(
    ("dtype", "value", "message"),
    [
        ("float32", np.nan, "image must be finite; row 1007 holds NaN or inf"),
        ("float32", -np.inf, "image must be finite; row 1007 holds NaN or inf"),
        ("float16", np.inf, "image must be finite; row 1007 holds NaN or inf"),
        ("float64", 1e39, r"image must be finite as float32; row 1007 holds 1e\+39"),
        (">f8", -1e300, r"image must be finite as float32; row 1007 holds -1e\+300"),
        ("longdouble", np.longdouble("1e400"), r"finite as float32; row 1007 holds 1e\+400"),
        ("int64", 2**31, "integers that int32 can hold; row 1007 holds 2147483648.*float32"),
        ("int64", -(2**31) - 1, "integers that int32 can hold; row 1007 holds -2147483649"),
        ("uint64", 2**64 - 1, "integers that int32 can hold; row 1007 holds 18446744073709551615"),
        (">u4", 2**32 - 1, "integers that int32 can hold; row 1007 holds 4294967295"),
    ],
)
def test_values_that_a_network_cannot_hold_are_refused_by_row(dtype, value, message):
    values = np.zeros((30, 300_000), dtype)  # several blocks
    values[7, -1] = value
    with pytest.raises(ValueError, match=message):
        check_features("image", values, first_row=1000)


def test_the_widest_values_that_are_held_come_through():
    for values in (np.array([[-(2**31), 2**31 - 1]]), np.array([[np.finfo("float32").max, 1e-46]])):
        check_features("image", values)
        np.testing.assert_array_equal(
            as_network(values), values.astype("float32" if values.dtype == "f8" else "int32")
        )


@pytest.mark.parametrize("shape", [(), (5,), (5, 0), (5, 3, 0)])
def test_features_without_columns_are_refused(shape):
    with pytest.raises(ValueError, match="image must have at least"):
        check_features("image", np.zeros(shape))


def test_arrays_on_disk_stay_there(tmp_path):
    np.save(tmp_path / "x.npy", VALUES.astype(">f4"))
    stored = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert as_array("image", stored) is stored
    check_features("image", stored)
    assert as_network(stored[:3]).dtype.isnative
    plain = np.zeros((4, 3), "float32")
    assert as_array("image", plain) is plain
    assert np.shares_memory(as_network(plain), plain)


@pytest.mark.parametrize("place", ["confidence", "soft_labels", "probabilities"])
@pytest.mark.parametrize("form", ["masked", "csr_matrix", "complex", "objects", "dates"])
def test_an_audit_refuses_numbers_by_name(place, form):
    arguments = {"confidence": VALUES[:, 0], "soft_labels": VALUES[:, :5], "probabilities": VALUES[:, :5]}
    make, message = REFUSED[form]
    arguments[place] = make(arguments[place] if arguments[place].ndim == 2 else arguments[place][:, None])
    with pytest.raises(ValueError, match=f"{place} must .*{message}"):
        PosteriorAudit(np.arange(40).astype(str), labels=LABELS, label_names=tuple("abcde"), **arguments)


def test_packed_codes_are_not_masked_ones():
    masked = np.ma.masked_array(CODES, mask=np.arange(40)[:, None] == 3)
    for call in (lambda: check_packed("codes", masked, 6), lambda: HammingIndex(6).add(masked)):
        with pytest.raises(ValueError, match="codes must not be masked; row 3"):
            call()
    with pytest.raises(ValueError, match="ids must not be masked; row 1"):
        HammingIndex(6).add(CODES[:2], ids=np.ma.masked_array([0, 1], mask=[False, True]))


def test_no_framework_is_imported_to_tell_an_array():
    code = (
        "import sys, numpy as np; from scbch_keras.arrays import as_array; as_array('x', np.ones(3));"
        "as_array('x', [1]);"
        "print([name for name in ('torch', 'jax', 'tensorflow', 'keras', 'scipy', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
