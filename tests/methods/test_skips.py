"""Updates whose loss or gradient is not finite, and samples that turn bad while training."""

import keras
import numpy as np
import pytest
from keras import ops

import scbch_keras as sk
from scbch_keras import backend
from scbch_keras.hashing import CrossModalHashing
from tests.methods import BASELINES, EAGERLY

BACKEND = keras.backend.backend()
LARGE = 2e38  # two of them add up to more than float32 holds


class Steered(CrossModalHashing):
    """A model whose gradient by the image branch's hash kernel is `slope`, or that of a root, whatever the data."""

    def __init__(self, root):
        branches = [sk.HashBranch(4, (), name=f"{name}_branch") for name in ("image", "text")]
        super().__init__(4, 3, *branches, 0.0, terms=("linear",))
        self.root = root
        self.slope = self.add_weight(shape=(6, 4), initializer="zeros", trainable=False, name="slope")

    def objective(self, x, labels, outputs, sample_weight, training):
        kernel = ops.convert_to_tensor(self.image_branch.hash_layer.kernel)
        # A root at 0 is finite, and its slope is not.
        linear = ops.sum(ops.sqrt(kernel[:1, :1]) if self.root else kernel * self.slope)
        return {"linear": (1.0, linear + 0.0 * ops.sum(outputs["image"]) + 0.0 * ops.sum(outputs["text"]))}


def slope(**places):
    values = np.zeros((6, 4), "float32")
    for place, value in places.items():
        row, column = int(place[1]), int(place[2])
        values[row, column] = value
    return values


SLOPES = {
    "two in a row": (slope(p00=LARGE, p01=LARGE), True),
    "two in a column": (slope(p00=LARGE, p10=LARGE), True),
    "negative": (slope(p20=-LARGE, p23=-LARGE), True),
    "both signs": (slope(p00=LARGE, p01=LARGE, p10=-LARGE, p11=-LARGE), True),
    "everywhere": (np.full((6, 4), LARGE, "float32"), True),
    "a root of 0": (None, False),
    "nan": (slope(p31=np.nan), False),
    "inf": (slope(p31=np.inf), False),
    "both infinities": (slope(p31=np.inf, p30=-np.inf), False),
}


@pytest.fixture(scope="module")
def steered():
    """A function of slopes, and of whether the step is compiled, that gives a model with a kernel of zeros."""
    models = {}

    def model(slope, compiled):
        key = slope is None, compiled
        if key not in models:
            models[key] = Steered(root=slope is None)
            models[key].build({"image": (None, 6), "text": (None, 5)})
            models[key].compile(keras.optimizers.SGD(2e-38), run_eagerly=not compiled)
        if slope is not None:
            models[key].slope.assign(slope)
        models[key].image_branch.hash_layer.kernel.assign(np.zeros((6, 4)))  # a loss of 0, or not finite
        return models[key]

    return model


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", SLOPES)
def test_an_update_is_kept_if_and_only_if_every_gradient_is_finite(steered, name, compiled):
    if compiled and BACKEND == "torch":
        pytest.skip("the step is not compiled on PyTorch")
    values, kept = SLOPES[name]
    model = steered(values, compiled)
    x = {"image": np.ones((8, 6), "float32"), "text": np.ones((8, 5), "float32")}
    labels = np.eye(3, dtype="uint8")[[0, 1, 2, 0, 1, 2, 0, 1]]
    if kept:
        history = model.fit(x, labels, batch_size=8, epochs=1, verbose=0).history
        assert history["skipped"] == [0]
        moved = ops.convert_to_numpy(model.image_branch.hash_layer.kernel)
        np.testing.assert_allclose(moved, -2e-38 * values, rtol=1e-5)
        assert np.abs(moved).max() == pytest.approx(4, rel=1e-5)
    else:
        with pytest.raises(FloatingPointError, match="Every update of epoch 1"):
            model.fit(x, labels, batch_size=8, epochs=1, verbose=0)
        assert not ops.convert_to_numpy(model.image_branch.hash_layer.kernel).any()


class Turning:
    """Batches in order, of which `spoil(pass, x, y)` may spoil any; fit's check is pass 0."""

    def __init__(self, pairs, spoil, size=40):
        (self.x, self.labels), self.spoil, self.size = pairs, spoil, size
        self.passes = 0

    def __iter__(self):
        x = {name: values.astype("float32") for name, values in self.x.items()}
        y = self.labels.astype("float32")
        self.spoil(self.passes, x, y)
        self.passes += 1
        index = np.arange(len(y), dtype="int32")
        for start in range(0, len(y), self.size):
            rows = slice(start, start + self.size)
            yield {**{name: values[rows] for name, values in x.items()}, "index": index[rows]}, y[rows]


def spoil(name, rows, value=np.nan, after=1):
    def change(number, x, y):
        if number >= after:
            (y if name == "labels" else x[name])[rows, 0] = value

    return change


SETTINGS = {"rshnl": {"center_units": (16,), "warmup_epochs": 1}, "nrch": {"warmup_epochs": 1}}
METHODS = {"scbch": {}, "posterior": {"labels": "posterior"}, "paper": {"dialect": "paper"}, **SETTINGS}


def make(method, small_model):
    if method not in BASELINES:
        return small_model(compile_with=EAGERLY, **METHODS[method])
    branches = {f"{side}_branch": sk.HashBranch(20, (32,)) for side in ("image", "text")}
    model = BASELINES[method](20, 8, **branches, **SETTINGS[method])
    model.compile(keras.optimizers.Adam(1e-3), **EAGERLY)
    return model


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["image", "text"])
def test_a_sample_that_turns_bad_is_named_and_costs_its_batch_alone(ready_model, pairs, side, value):
    model = ready_model()
    with pytest.warns(UserWarning, match=r"Epoch \d: 2 samples \(index 7, 90\) held NaN or inf") as caught:
        history = model.fit(Turning(pairs, spoil(side, [7, 90], value)), epochs=3, verbose=0).history
    assert history["skipped"] == [2, 2, 2]
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < history["loss"][0]
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    messages = [str(warning.message) for warning in caught]
    assert sum("held NaN or inf" in message for message in messages) == 3
    assert any("2 samples (index 7, 90) left out of the confidence" in message for message in messages)


@pytest.mark.skipif(BACKEND != "jax", reason="JAX' own; PyTorch's needs a CUDA card")
def test_a_step_without_branches_skips_what_one_with_branches_skips(small_model, pairs, monkeypatch):
    models = []
    for without_branches in (False, True):
        monkeypatch.setattr(backend._module, "has_accelerator", lambda answer=without_branches: answer)
        keras.utils.set_random_seed(1)
        models.append(small_model(confidence_weighting=False))
        with pytest.warns(UserWarning, match=r"Epoch 2: 1 sample \(index 7\) held NaN or inf"):
            history = models[-1].fit(Turning(pairs, spoil("image", [7])), epochs=2, verbose=0).history
        assert history["skipped"] == [1, 1]
    assert int(models[0].optimizer.iterations) == int(models[1].optimizer.iterations) == 10
    for with_branches, without in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(with_branches, without, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_bad_sample_is_left_out_of_the_confidence_of_every_other(small_model, pairs, method):
    model = make(method, small_model)
    x, labels = pairs
    data = sk.PairDataset(**x, labels=labels, batch_size=40, shuffle=False)
    model.fit(data, epochs=1, verbose=0)
    if not model.confidence_weighting:
        return
    bad, good = np.array([7, 90, 239]), np.setdiff1d(np.arange(240), [7, 90, 239])
    loader = sk.data.LoaderPairs(Turning(pairs, spoil("image", bad)))
    with pytest.warns(UserWarning, match=r"3 samples \(index 7, 90, 239\) left out"):
        weights = model.estimate_confidence(loader)
    np.testing.assert_array_equal(weights[bad], model.gamma if method in ("scbch", "paper") else 0)
    alone = sk.PairDataset(**{name: values[good] for name, values in x.items()}, labels=labels[good])
    np.testing.assert_allclose(weights[good], model.estimate_confidence(alone), atol=1e-5)


def test_too_few_good_samples_for_an_estimate_have_the_lowest_weight(ready_model, pairs):
    model = ready_model()
    model.fit(*pairs, epochs=0, verbose=0)
    loader = sk.data.LoaderPairs(Turning(pairs, spoil("text", np.arange(230))))
    with pytest.warns(UserWarning, match=r"230 samples \(index 0, 1, .*, \.\.\.\) left out"):
        weights = model.estimate_confidence(loader)
    np.testing.assert_array_equal(weights, np.full(240, 0.5, "float32"))


def test_bad_labels_of_a_loader_are_named_too(ready_model, pairs):
    model = ready_model()
    with pytest.warns(UserWarning, match=r"1 sample \(index 3\) held NaN or inf"):
        history = model.fit(Turning(pairs, spoil("labels", [3])), epochs=1, verbose=0).history
    assert history["skipped"] == [1]


def test_more_bad_samples_than_are_named_are_counted(ready_model, pairs):
    model = ready_model(confidence_weighting=False)
    with pytest.warns(UserWarning, match=r"20 samples \(index 30, 31, 32, 33, 34, 35, 36, 37, \.\.\.\)"):
        model.fit(Turning(pairs, spoil("image", np.arange(30, 50))), epochs=1, verbose=0)


def test_without_an_index_bad_samples_are_counted(ready_model, pairs):
    class Unnamed(Turning):
        def __iter__(self):
            for x, y in super().__iter__():
                del x["index"]
                yield x, y

    model = ready_model(confidence_weighting=False)
    with pytest.warns(UserWarning, match="1 sample .*no integer 'index' to name"):
        model.fit(Unnamed(pairs, spoil("image", [5])), epochs=1, verbose=0)


@pytest.mark.parametrize("max_skipped", [1, 4, 7])
def test_training_stops_after_so_many_skipped_updates_in_a_row(ready_model, pairs, max_skipped):
    """Six batches an epoch, the first one sound: 5 skipped in a row at most, and again after it."""
    steps = []

    class Count(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            steps.append(batch)

    loader = Turning(pairs, spoil("image", np.arange(40, 240)))
    model = ready_model(confidence_weighting=False)
    arguments = {"epochs": 2, "verbose": 0, "callbacks": [Count()], "max_skipped": max_skipped}
    if max_skipped == 7:
        with pytest.warns(UserWarning, match="200 samples"):
            history = model.fit(loader, **arguments).history
        assert history["skipped"] == [5, 5]
        return
    with pytest.raises(
        FloatingPointError, match=rf"last {max_skipped} updates .*index 40, .*mend what reads them"
    ):
        model.fit(loader, **arguments)
    assert len(steps) == max_skipped  # the sound one, and all but the last of the others


def test_skipped_updates_in_a_row_count_over_epochs(ready_model, pairs):
    """The third of six batches is sound: two, then three and two in a row."""
    loader = Turning(pairs, spoil("image", np.r_[:80, 120:240]))
    model = ready_model(confidence_weighting=False)
    with (
        pytest.warns(UserWarning, match="200 samples"),
        pytest.raises(FloatingPointError, match="last 5 updates up to batch 2 of epoch 2"),
    ):
        model.fit(loader, epochs=3, verbose=0, max_skipped=5)


@pytest.mark.parametrize("max_skipped", [0, -1, 2.5, None, True])
def test_a_bad_max_skipped_is_named(ready_model, pairs, max_skipped):
    with pytest.raises(ValueError, match="max_skipped must be an int of at least 1"):
        ready_model().fit(*pairs, epochs=1, verbose=0, max_skipped=max_skipped)


def test_a_skipped_batch_leaves_the_statistics_of_normalization_alone(small_model, pairs):
    body = keras.Sequential(
        [keras.Input((20,)), keras.layers.Dense(8), keras.layers.BatchNormalization(momentum=0.5)]
    )
    model = small_model(image_branch=body, confidence_weighting=False)
    with pytest.warns(UserWarning, match="1 sample"):
        model.fit(Turning(pairs, spoil("image", [100])), epochs=2, verbose=0)
    statistics = [ops.convert_to_numpy(v) for v in body.non_trainable_variables]
    assert all(np.isfinite(values).all() for values in statistics)
    assert any(np.abs(values).max() > 0.1 for values in statistics)
    assert np.isfinite(model.encode_image(pairs[0]["image"], packed=False, verbose=0)).all()
