import json
from fractions import Fraction

import numpy as np
import pytest

from scbch_keras import checks
from scbch_keras.training.runs.recipe import resolve

pytestmark = pytest.mark.numpy_only

REFUSED = [
    (lambda: checks.whole("k", 0, 1), "k must be an int of at least 1; got 0."),
    (lambda: checks.whole("k", True, 1), "k must be an int of at least 1; got True."),
    (lambda: checks.whole("k", 2.0, 1), "k must be an int of at least 1; got 2.0."),
    (lambda: checks.whole("k", "2", 1), "k must be an int of at least 1; got '2'."),
    (lambda: checks.whole("k", np.array([2]), 1), "k must be an int of at least 1; got array([2])."),
    (lambda: checks.whole("k", 9, 1, 8), "k must be an int from 1 to 8; got 9."),
    (lambda: checks.whole("k", 0, 1, optional=True), "k must be an int of at least 1, or None; got 0."),
    (lambda: checks.number("a", np.nan), "a must be a finite number; got nan."),
    (lambda: checks.number("a", float("inf"), 0), "a must be a finite number of at least 0; got inf."),
    (lambda: checks.number("a", 0, 0, above=True), "a must be a finite number above 0; got 0."),
    (lambda: checks.number("a", 5, 0, 4), "a must be a finite number of at least 0 and at most 4; got 5."),
    (lambda: checks.number("a", True), "a must be a finite number; got True."),
    (lambda: checks.number("a", 1j), "a must be a finite number; got 1j."),
    (lambda: checks.share("g", 1.1), "g must be a number in [0, 1]; got 1.1."),
    (lambda: checks.share("g", 0, above=True), "g must be a number in (0, 1]; got 0."),
    (lambda: checks.share("g", 1, below=True), "g must be a number in [0, 1); got 1."),
    (lambda: checks.flag("f", 1), "f must be True or False; got 1."),
    (lambda: checks.one_of("d", "c", ("a", "b")), "d must be one of 'a', 'b'; got 'c'."),
    (lambda: checks.one_of("d", ["a"], {"a": 1}), "d must be one of 'a'; got ['a']."),
    (lambda: checks.some_of("s", "a", ("a",)), "s must be a sequence of 'a', at least one; got 'a'."),
    (lambda: checks.some_of("s", [], ("a",)), "s must be a sequence of 'a', at least one; got []."),
    (lambda: checks.widths("u", 8), "u must be a sequence of ints of at least 1; got 8."),
    (lambda: checks.widths("u", (8, 0)), "u must be a sequence of ints of at least 1; got (8, 0)."),
    (lambda: checks.text("t", ""), "t must be text that is not empty; got ''."),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_does_not_fit_is_refused_in_one_form(call, message):
    with pytest.raises(ValueError, match="must be") as caught:
        call()
    assert str(caught.value) == message


def test_what_fits_comes_back_as_a_plain_value():
    values = [
        checks.whole("k", np.int64(3), 1),
        checks.whole("k", None, 1, optional=True),
        checks.number("a", np.float32(0.5)),
        checks.number("a", Fraction(1, 2)),
        checks.number("a", 2),
        checks.share("g", np.float64(1)),
        checks.flag("f", np.True_),
        checks.one_of("d", "a", ("a", "b")),
        checks.some_of("s", ["b", "a", "a"], ("a", "b", "c")),
        checks.widths("u", [np.int32(8)]),
    ]
    assert json.dumps(values) == '[3, null, 0.5, 0.5, 2, 1.0, true, "a", ["a", "b"], [8]]'


def test_a_long_value_is_shown_in_part_and_on_one_line():
    with pytest.raises(ValueError, match=r"k must be an int; got array") as caught:
        checks.whole("k", np.zeros((50, 50)))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", float("nan")),
        ("epochs", 2.5),
        ("learning_rate", float("inf")),
        ("learning_rate", float("nan")),
        ("learning_rate", 0),
        ("margin", float("nan")),
        ("shift", float("-inf")),
        ("alpha", float("inf")),
        ("beta", -0.1),
        ("gamma", 1.5),
        ("gamma", float("nan")),
        ("l2", float("inf")),
        ("neighbors", True),
        ("warmup_epochs", -1),
        ("noise", float("nan")),
        ("queries", float("inf")),
        ("variant", "fuller"),
        ("backend", "theano"),
        ("image_units", (8, 0)),
        ("separator", ""),
        ("text_features", 3),
    ],
)
def test_a_recipe_refuses_settings_that_make_no_sense(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be .*; got "):
        resolve(data="icons", **{name: value})
