"""Rows that train and stand in the database are encoded once for both; nothing else changes."""

import keras
import numpy as np
import pytest

import scbch_keras as sk
from scbch_keras import backend
from scbch_keras.data import FeatureBatches, PairDataset
from scbch_keras.features import take
from scbch_keras.shared_codes import shared_rows, weights_mark
from tests.again import Again


class Alone(sk.RetrievalMetrics):
    """An evaluation that does not know the training set."""

    def attach(self, pairs):
        pass


class Nudge(keras.callbacks.Callback):
    """Moves a weight after the evaluation, as averaging callbacks do."""

    def on_epoch_end(self, epoch, logs=None):
        weight = self.model.image_branch.trainable_variables[0]
        weight.assign(keras.ops.convert_to_numpy(weight.value) * 1.01)


@pytest.fixture
def encoded(monkeypatch):
    """Rows encoded so far: [for evaluations, of the training set]."""
    rows = [0, 0]
    batch, in_order = FeatureBatches.__getitem__, PairDataset.in_order

    def counted_batch(self, number):
        result = batch(self, number)
        # TensorFlow reads a first batch to see its shape.
        seen = vars(self).setdefault("seen", set())
        rows[0] += 0 if number in seen else len(result[0].get("image", ()))
        seen.add(number)
        return result

    def counted_in_order(self):
        for block in in_order(self):
            rows[1] += len(block[0])
            yield block

    monkeypatch.setattr(FeatureBatches, "__getitem__", counted_batch)
    monkeypatch.setattr(PairDataset, "in_order", counted_in_order)
    return rows


@pytest.fixture(scope="module")
def again(small_model):
    return Again(small_model(), {"image": (None, 20), "text": (None, 30)})


@pytest.mark.parametrize("on_device", [False, True], ids=["processor", "device"])
def test_the_mark_of_weights_changes_with_any_bit_and_any_place(small_model, monkeypatch, on_device):
    monkeypatch.setattr(backend, "has_accelerator", lambda: on_device)
    model = small_model()
    model.build({"image": (None, 20), "text": (None, 30)})
    weight = model.text_branch.trainable_variables[0]
    values = keras.ops.convert_to_numpy(weight.value).copy()
    marks = {weights_mark(model)}
    for change in ("a bit", "order", "sign of zero"):
        changed = values.copy()
        if change == "a bit":
            changed.reshape(-1)[-1:].view("int32")[:] ^= 1
        elif change == "order":
            changed[:2] = changed[1::-1]
        else:
            changed[0, 0] = -0.0
            zeroed = changed.copy()
            zeroed[0, 0] = 0.0
            weight.assign(zeroed)
            marks.add(weights_mark(model))
        weight.assign(changed)
        marks.add(weights_mark(model))
    assert len(marks) == 5
    weight.assign(values)
    assert weights_mark(model) in marks


def trained(make, pairs, kind, database=slice(40, 240), train=slice(60, 200), extra=(), **settings):
    """History, weights, model, evaluation and data of a training."""
    x, labels = pairs
    keras.utils.set_random_seed(0)
    model = make(**settings)
    sets = [
        ({name: values[part] for name, values in x.items()}, labels[part]) for part in (slice(40), database)
    ]
    metrics = kind(*sets)
    own = {name: values[train] for name, values in x.items()}
    data = PairDataset(**own, labels=labels[train], batch_size=60, seed=0)
    history = model.fit(data, epochs=3, verbose=0, callbacks=[metrics, *extra]).history
    return history, model.get_weights(), model, metrics, data


def same(one, two):
    assert one[0] == two[0]
    for mine, other in zip(one[1], two[1], strict=True):
        np.testing.assert_array_equal(mine, other)


def test_each_row_is_encoded_once_an_epoch_and_nothing_else_changes(again, pairs, encoded):
    shared = trained(again, pairs, sk.RetrievalMetrics)
    # Three times 40 queries and the 60 other rows; the training set as the first and second epoch end, and the third,
    # whose codes are the last ones.
    assert encoded == [3 * (40 + 60), 3 * 140]
    _, _, model, metrics, data = shared
    final, of_training = metrics.codes(), model.codes_of(data)
    assert encoded == [3 * (40 + 60), 3 * 140], "the last codes are still there"
    for part, (x, _) in {"query": metrics.query, "database": metrics.database}.items():
        np.testing.assert_array_equal(final[part]["image"], model.encode_image(x["image"], verbose=0))
        np.testing.assert_array_equal(final[part]["text"], model.encode_text(x["text"], verbose=0))
    np.testing.assert_array_equal(of_training[0], model.encode_image(data.image, packed=False, verbose=0))
    same(shared, trained(again, pairs, Alone))


def test_weights_that_moved_after_the_evaluation_have_codes_of_their_own(again, pairs):
    shared = trained(again, pairs, sk.RetrievalMetrics, extra=[Nudge()])
    _, _, model, metrics, _ = shared
    expected = model.encode_image(metrics.query[0]["image"], verbose=0)
    np.testing.assert_array_equal(metrics.codes()["query"]["image"], expected)
    same(shared, trained(again, pairs, Alone, extra=[Nudge()]))


@pytest.mark.skipif(
    keras.backend.backend() != "torch",
    reason="who asks for codes is the same on every backend; runs on torch",
)
@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        # The first epoch's end: nobody reads codes of the training set, of which the database has a part.
        ({"warmup_epochs": 2, "database": slice(60, 130)}, [40 + 70 + 40 + 0 + 40 + 70, 140]),
        ({"warmup_epochs": 3, "database": slice(60, 130)}, [3 * (40 + 70), 0]),
        ({"confidence_weighting": False, "database": slice(60, 130)}, [3 * (40 + 70), 0]),
        ({"confidence_weighting": False}, [3 * (40 + 60), 3 * 140]),
        ({"database": slice(200, 240)}, [3 * (40 + 40), 2 * 140]),
    ],
)
def test_what_nobody_reads_is_not_encoded(small_model, pairs, encoded, settings, rows):
    trained(small_model, pairs, sk.RetrievalMetrics, **settings)
    assert encoded == rows


def test_rows_are_the_same_bit_for_bit_or_are_not_shared():
    rng = np.random.default_rng(0)
    x = {"image": rng.standard_normal((9, 3)).astype("float32"), "text": {"ids": np.arange(18).reshape(9, 2)}}
    assert shared_rows(x, x).tolist() == list(range(9))
    order = np.array([8, 1, 1, 0])
    others = {name: take(values, order) for name, values in x.items()}
    others["text"]["ids"][3, 1] += 1
    assert shared_rows(x, others).tolist() == [8, 1, 1, -1]
    assert shared_rows(others, x).tolist() == [-1, 1, -1, -1, -1, -1, -1, -1, 0]
    assert (shared_rows(x, {**x, "image": x["image"].astype("float64")}) == -1).all()
    assert (shared_rows(x, {**x, "image": x["image"].view("int32")}) == -1).all()
    assert (shared_rows(x, {**x, "text": {"mask": x["text"]["ids"]}}) == -1).all()
    assert shared_rows(x, {name: take(values, slice(0)) for name, values in x.items()}).shape == (0,)
