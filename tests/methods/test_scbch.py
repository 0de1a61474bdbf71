import csv
import json
import os
import sys

import keras
import numpy as np
import pytest
from keras import ops

import scbch_keras as sk
from tests.methods import EAGERLY

BACKEND = keras.backend.backend()


def fit(model, pairs, epochs=2, **settings):
    x, labels = pairs
    return model.fit(x, labels, **{"batch_size": 80, "epochs": epochs, "verbose": 0, **settings})


def codes(model, pairs):
    x, _ = pairs
    return model.encode_image(x["image"], verbose=0), model.encode_text(x["text"], verbose=0)


def assert_same_codes(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def trained(small_model, pairs):
    """Not to be trained further: many tests share it."""
    model = small_model()
    fit(model, pairs)
    return model


def test_fit_logs_every_term_and_learns(ready_model, pairs):
    x, labels = pairs
    keras.utils.set_random_seed(1)
    metrics = sk.RetrievalMetrics((x, labels), (x, labels))
    model = ready_model()
    history = fit(model, pairs, epochs=6, callbacks=[metrics], validation_data=(x, labels)).history
    terms = {"loss", "classification", "attraction", "repulsion", "quantization"}
    expected = terms | {"confidence", "skipped", "i2t_map", "t2i_map"} | {f"val_{term}" for term in terms}
    assert set(history) == expected
    assert history["confidence"][0] == 1
    assert 0.5 <= history["confidence"][-1] < 1
    assert history["skipped"] == [0] * 6
    assert history["loss"][-1] < history["loss"][0]
    assert history["i2t_map"][-1] > history["i2t_map"][0] + 0.01
    total = history["classification"][-1] + 0.7 * (history["attraction"][-1] + history["repulsion"][-1])
    assert history["loss"][-1] == pytest.approx(total + 0.3 * history["quantization"][-1], rel=1e-4)


def test_the_same_seed_gives_the_same_codes_bit_for_bit(small_model, pairs):
    runs = []
    for _ in range(2):
        keras.utils.set_random_seed(7)
        model = small_model(compile_with={})
        fit(model, pairs)
        runs.append(codes(model, pairs))
    assert_same_codes(*runs)


def test_the_epoch_switch_turns_after_warmup_and_after_a_resume(ready_model, pairs):
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            weights = ops.convert_to_numpy(self.model.confidence)
            seen.append((epoch, bool((weights == 1).all())))

    model = ready_model()
    fit(model, pairs, epochs=2, callbacks=[Watch()])
    fit(model, pairs, epochs=3, initial_epoch=2, callbacks=[Watch()])
    fit(model, pairs, epochs=1, callbacks=[Watch()])
    assert seen == [(0, True), (1, False), (2, False), (0, True)]


def test_validation_does_not_read_the_confidence(trained, pairs):
    x, labels = pairs
    before, weights = (
        trained.evaluate(x, labels, verbose=0, return_dict=True),
        ops.convert_to_numpy(trained.confidence).copy(),
    )
    trained.confidence.assign(np.full(len(labels), 0.5))
    try:
        assert trained.evaluate(x, labels, verbose=0, return_dict=True) == before
    finally:
        trained.confidence.assign(weights)


def test_confidence_weighs_the_classification_of_a_training_step(ready_model, pairs):
    x, labels = pairs
    model = ready_model(warmup_epochs=9)
    data = sk.PairDataset(**x, labels=labels, batch_size=240, shuffle=False)
    model.fit(data, epochs=1, verbose=0)
    inputs, y = data[0]
    y_pred = model(inputs)

    def loss(**arguments):
        return float(ops.convert_to_numpy(model.compute_loss(x=inputs, y=y, y_pred=y_pred, **arguments)))

    full = loss()
    model.confidence.assign(np.full(240, 0.5))
    half = loss()
    assert full == pytest.approx(loss(training=False), rel=1e-6)
    classification = sk.losses.classification(y, y_pred["image_logits"], y_pred["text_logits"])
    assert full - half == pytest.approx(float(ops.convert_to_numpy(classification)) / 2, rel=1e-3)


ABLATIONS = {
    "SCBCH-1": ({"classification": False}, {"attraction", "repulsion", "quantization"}),
    "SCBCH-2": ({"contrastive": False}, {"classification", "quantization", "confidence"}),
    "SCBCH-3": (
        {"confidence_weighting": False},
        {"classification", "attraction", "repulsion", "quantization"},
    ),
    "SCBCH-4": ({"attraction": False}, {"classification", "repulsion", "quantization", "confidence"}),
    "posterior": (
        {"labels": "posterior"},
        {"classification", "attraction", "repulsion", "quantization", "intra_modal"},
    ),
    "paper": (
        {"dialect": "paper"},
        {"classification", "attraction", "repulsion", "quantization", "confidence"},
    ),
}


def test_probabilities_train_and_are_refused_where_labels_are_noisy(ready_model, pairs):
    x, labels = pairs
    probabilities = (0.1 + 0.8 * labels).astype("float32")
    with pytest.raises(ValueError, match="labels must hold only 0 and 1"):
        fit(ready_model(), (x, probabilities))
    model = ready_model(labels="posterior")
    history = fit(model, (x, probabilities), validation_data=(x, labels)).history
    assert history["loss"][-1] < history["loss"][0]
    assert model.confidence is None
    restored = sk.SCBCH.from_config(model.get_config())
    assert (restored.labels, restored.intra_modal) == ("posterior", True)
    probabilities[3, 2] = 1.5
    with pytest.raises(ValueError, match="probabilities from 0 to 1; the first row that does not is 3"):
        fit(model, (x, probabilities))


@pytest.mark.parametrize("labels", ["noisy", "posterior"])
def test_attraction_may_go_by_the_degree_of_similarity(small_model, pairs, labels):
    x, y = pairs[0], pairs[1] if labels == "noisy" else (0.1 + 0.8 * pairs[1]).astype("float32")
    model = small_model(labels=labels, attraction_by="similarity")
    inputs = {name: ops.convert_to_tensor(values[:32], "float32") for name, values in x.items()}
    outputs = model(inputs)
    terms = model.objective(inputs, ops.convert_to_tensor(y[:32], "float32"), outputs, None, False)
    similarity = (sk.losses.label_similarity if labels == "noisy" else sk.losses.soft_label_similarity)(
        y[:32]
    )
    by_degree = sk.losses.attraction(
        outputs["image"], outputs["text"], similarity, model.shift, sharing=similarity
    )
    assert float(terms["attraction"][1]) == pytest.approx(float(by_degree), rel=1e-5)
    if labels == "posterior":
        inside = sum(
            float(sk.losses.intra_modal(outputs[name], similarity, similarity, model.shift))
            for name in ("image", "text")
        )
        assert float(terms["intra_modal"][1]) == pytest.approx(inside, rel=1e-5)
    assert sk.SCBCH.from_config(model.get_config()).attraction_by == "similarity"
    assert small_model().attraction_by == "sharing"
    with pytest.raises(ValueError, match="attraction_by must be one of 'sharing', 'similarity'"):
        small_model(attraction_by="R")


@pytest.mark.parametrize(("settings", "terms"), ABLATIONS.values(), ids=ABLATIONS)
def test_ablations_train_with_their_own_terms(small_model, pairs, settings, terms):
    model = small_model(**settings)
    model.compile(keras.optimizers.Adam(1e-3), **EAGERLY)
    history = fit(model, pairs).history
    assert set(history) - {"loss", "skipped"} == terms
    assert np.isfinite(history["loss"]).all()


def test_a_non_finite_update_is_skipped_and_counted(ready_model, pairs):
    x, labels = pairs
    data = sk.PairDataset(**x, labels=labels, batch_size=64, shuffle=False)
    data.image = x["image"].copy()
    data.image[10] = np.inf  # past the checks, in the first batch
    model = ready_model()
    history = model.fit(data, epochs=1, verbose=0).history
    assert history["skipped"] == [1]
    assert np.isfinite(history["loss"]).all()
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert int(ops.convert_to_numpy(model.optimizer.iterations)) == 3


def test_an_epoch_that_changes_nothing_is_an_error(ready_model, pairs):
    x, labels = pairs
    data = sk.PairDataset(**x, labels=labels, batch_size=64)
    data.image = np.full_like(x["image"], np.inf)
    model = ready_model()
    with pytest.raises(FloatingPointError, match="Every update of epoch 1 had a non-finite loss"):
        model.fit(data, epochs=2, verbose=0)


def test_coupled_l2_is_added_to_the_gradient(small_model, pairs):
    """With SGD one step from equal weights differs by learning rate * l2 * weight."""
    x, labels = pairs
    weights, steps = None, []
    for l2 in (0.0, 0.1):
        model = small_model(l2=l2)
        model.build({"image": (None, 20), "text": (None, 30)})
        weights = weights or [ops.convert_to_numpy(w) for w in model.trainable_weights]
        for variable, value in zip(model.trainable_weights, weights, strict=True):
            variable.assign(value)
        model.compile(keras.optimizers.SGD(0.5), **EAGERLY)
        model.fit(sk.PairDataset(**x, labels=labels, batch_size=240, shuffle=False), epochs=1, verbose=0)
        steps.append([ops.convert_to_numpy(w) for w in model.trainable_weights])
    for before, without, with_l2 in zip(weights, *steps, strict=True):
        np.testing.assert_allclose(without - with_l2, 0.5 * 0.1 * before, atol=2e-6)


def test_sample_weight_zero_leaves_a_sample_out(ready_model, pairs):
    x, labels = pairs
    results = []
    for spoil in (False, True):
        weight, image = np.ones(240), x["image"].copy()
        weight[:40] = 0
        if spoil:
            image[:40] = 5.0
        model = ready_model(confidence_weighting=False)
        keras.utils.set_random_seed(2)
        fit(model, ({"image": image, "text": x["text"]}, labels), epochs=1, sample_weight=weight)
        results.append(codes(model, pairs))
    assert_same_codes(*results)


# Data of other kinds


def batches(pairs, order, size=64):
    x, labels = pairs
    found = []
    for start in range(0, len(order), size):
        rows = np.array(order[start : start + size])
        inputs = {name: array[rows].astype("float32") for name, array in x.items()}
        found.append(({**inputs, "index": rows}, labels[rows].astype("float32")))
    return found


def test_a_torch_loader_trains_in_its_own_order(ready_model, pairs):
    torch = pytest.importorskip("torch")
    x, labels = pairs

    class Pairs(torch.utils.data.Dataset):
        def __len__(self):
            return len(labels)

        def __getitem__(self, i):
            return {"image": x["image"][i], "text": x["text"][i], "index": i}, labels[i].astype("float32")

    loader = torch.utils.data.DataLoader(Pairs(), batch_size=64, shuffle=True)
    model = ready_model()
    history = model.fit(loader, epochs=3, verbose=0).history
    assert history["confidence"][0] == 1
    assert history["confidence"][-1] < 1
    assert_confidence_is_of_its_sample(model, pairs)


def test_a_tf_dataset_trains_in_its_own_order(ready_model, pairs):
    tf = pytest.importorskip("tensorflow")
    x, labels = pairs
    tensors = ({**x, "index": np.arange(240)}, labels.astype("float32"))
    loader = tf.data.Dataset.from_tensor_slices(tensors).shuffle(240, seed=1).batch(64)
    model = ready_model()
    history = model.fit(loader, epochs=3, verbose=0).history
    assert history["confidence"][-1] < 1
    assert_confidence_is_of_its_sample(model, pairs)
    with pytest.raises(ValueError, match=r"never ends: drop its \.repeat\(\)"):
        model.fit(loader.repeat(), epochs=1, steps_per_epoch=2, verbose=0)


def assert_confidence_is_of_its_sample(model, pairs):
    """The last weights came from codes one epoch old; they are near those of the codes now, row by row."""
    x, labels = pairs
    image, text = (
        model.encode_image(x["image"], packed=False, verbose=0),
        model.encode_text(x["text"], packed=False, verbose=0),
    )
    now = sk.confidence_weights(image, text, labels, neighbors=10).weights
    then = ops.convert_to_numpy(model.confidence)
    assert np.corrcoef(now, then)[0, 1] > 0.9


def test_training_sets_of_other_sizes_and_a_validation_split_of_the_last_share(small_model, pairs):
    x, labels = pairs
    model = small_model()
    history = fit(model, pairs, validation_split=0.25).history
    assert "val_loss" in history
    assert model.confidence.shape == (180,)
    for n in (100, 100):
        fit(model, ({k: v[:n] for k, v in x.items()}, labels[:n]))
        assert model.confidence.shape == (n,)
    assert sum(v.shape == (100,) for v in model.non_trainable_variables) == 1


# Keras' callbacks


def test_standard_callbacks(ready_model, pairs, tmp_path):
    x, labels = pairs
    model = ready_model()
    history = fit(
        model,
        pairs,
        epochs=4,
        validation_data=(x, labels),
        callbacks=[
            keras.callbacks.CSVLogger(tmp_path / "log.csv"),
            keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="i2t_map", mode="max"),
            keras.callbacks.LearningRateScheduler(lambda epoch: 1e-3 / (epoch + 1)),
            keras.callbacks.EarlyStopping("t2i_map", mode="max", min_delta=1.0, patience=1),
            sk.RetrievalMetrics((x, labels), (x, labels)),
        ],
    ).history
    assert len(history["loss"]) == 2, "EarlyStopping read RetrievalMetrics' value and stopped"
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["i2t_map"]) for row in rows] == pytest.approx(history["i2t_map"])
    assert float(ops.convert_to_numpy(model.optimizer.learning_rate)) == pytest.approx(5e-4)
    assert keras.models.load_model(tmp_path / "best.keras").bits == 20


def test_backup_and_restore_goes_on_where_it_stopped(small_model, ready_model, pairs, tmp_path):
    """A run broken off in its third epoch and started again ends with the codes of one that ran through."""

    class Break(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    through = ready_model()
    data = [sk.PairDataset(**pairs[0], labels=pairs[1], batch_size=64, seed=3) for _ in range(3)]
    through.fit(data[0], epochs=4, verbose=0)
    expected = codes(through, pairs)
    broken = ready_model()
    with pytest.raises(KeyboardInterrupt):
        broken.fit(
            data[1], epochs=4, verbose=0, callbacks=[keras.callbacks.BackupAndRestore(tmp_path), Break()]
        )
    resumed = small_model()  # Keras leaves the restored epoch with it
    history = resumed.fit(
        data[2], epochs=4, verbose=0, callbacks=[keras.callbacks.BackupAndRestore(tmp_path)]
    ).history
    assert len(history["loss"]) == 2
    assert_same_codes(codes(resumed, pairs), expected)


def test_tensorboard(ready_model, pairs, tmp_path):
    pytest.importorskip("tensorboard")
    pytest.importorskip("tensorflow")
    fit(ready_model(), pairs, epochs=1, callbacks=[keras.callbacks.TensorBoard(tmp_path)])
    assert list(tmp_path.rglob("events*"))


# Encoding and saving


def test_one_modality_alone(small_model, pairs):
    x, _ = pairs
    model = small_model()
    model.build({"text": (None, 30)})
    assert model.encode_text(x["text"][:3], verbose=0).shape == (3, 3)
    with pytest.raises(ValueError, match="The image branch has no weights yet"):
        model.encode_image(x["image"])


def test_packed_codes_are_the_signs_of_the_continuous(trained, pairs):
    x, _ = pairs
    continuous = trained.encode_image(x["image"], packed=False, batch_size=100, verbose=0)
    assert continuous.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(continuous, axis=1), 1, rtol=1e-5)
    packed = trained.encode_image(x["image"], batch_size=100, verbose=0)
    np.testing.assert_array_equal(packed, np.packbits(continuous > 0, axis=1), strict=True)
    assert trained.encode_image(x["image"][:0], verbose=0).shape == (0, 3)


OTHER = """
import sys, numpy as np, keras, scbch_keras.methods.scbch
folder = sys.argv[1]
model = keras.models.load_model(folder + "/model.keras")
data = np.load(folder + "/pairs.npz")
codes = model.encode_image(data["image"], packed=False, verbose=0)
x = {"image": data["image"], "text": data["text"]}
steps = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
loss = model.fit(x, data["labels"], batch_size=80, epochs=3, initial_epoch=2, verbose=0).history["loss"]
trained = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
np.savez(folder + "/other.npz", codes=codes, steps=[steps, trained], loss=loss)
"""


@pytest.mark.slow
def test_a_saved_model_goes_on_training_under_another_backend(trained, pairs, tmp_path, having_imported):
    # The file knows of no backend: each writes one and each reads one.
    other = {"tensorflow": "jax", "jax": "torch", "torch": "tensorflow"}[BACKEND]
    pytest.importorskip(other)
    x, labels = pairs
    trained.save(tmp_path / "model.keras")
    np.savez(tmp_path / "pairs.npz", **x, labels=labels)
    env = {**os.environ, "KERAS_BACKEND": other}
    done = having_imported(other, [sys.executable, "-c", OTHER, str(tmp_path)], env=env)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "other.npz") as result:
        here = trained.encode_image(x["image"], packed=False, verbose=0)
        np.testing.assert_allclose(result["codes"], here, atol=1e-5)
        sure = np.abs(here) > 1e-5
        np.testing.assert_array_equal((result["codes"] > 0)[sure], (here > 0)[sure])
        assert result["steps"].tolist() == [6, 9]
        assert np.isfinite(result["loss"]).all()


def test_saving_keeps_everything_but_the_confidence(trained, pairs, tmp_path):
    trained.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert json.dumps(loaded.get_config()) == json.dumps(trained.get_config())
    assert loaded.confidence is None
    assert_same_codes(codes(loaded, pairs), codes(trained, pairs))
    fit(loaded, pairs, epochs=1)


def test_any_keras_model_can_be_a_branch(small_model, pairs, tmp_path):
    x, labels = pairs
    pictures = x["image"][:, :16].reshape(-1, 4, 4, 1)
    body = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.1),
            keras.layers.Flatten(),
        ]
    )
    model = small_model(image_branch=body)
    model.fit({"image": pictures, "text": x["text"]}, labels, batch_size=64, epochs=2, verbose=0)
    before = model.encode_image(pictures, verbose=0)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        keras.models.load_model(tmp_path / "model.keras").encode_image(pictures, verbose=0), before
    )


class Temperature(keras.layers.Layer):
    """Scales its input by one learned number, a weight without axes."""

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(), initializer="ones")

    def call(self, inputs):
        return inputs * self.scale


def test_a_branch_may_have_a_scalar_weight(small_model, pairs):
    body = keras.Sequential([keras.Input((20,)), Temperature(), keras.layers.Dense(16)])
    model = small_model(image_branch=body)
    fit(model, pairs, epochs=1)
    assert float(body.layers[0].scale) != 1


def test_mixed_precision_keeps_codes_and_losses_in_float32(pairs):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = sk.SCBCH(20, 8, sk.HashBranch(20, (16,)), sk.HashBranch(20, (16,)), neighbors=10)
        model.compile(keras.optimizers.Adam(1e-3), **EAGERLY)
        history = fit(model, pairs, epochs=1).history
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.image_branch.hidden[0].compute_dtype == "bfloat16"
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    assert {slot.dtype for slot in model.optimizer.variables if "float" in slot.dtype} == {"float32"}
    assert model.confidence.dtype == "float32"
    assert model.encode_image(pairs[0]["image"], packed=False, verbose=0).dtype == np.float32
    assert np.isfinite(history["loss"]).all()


def test_benchmark_settings():
    model = sk.SCBCH.for_benchmark("iapr-tc12", bits=16, warmup_epochs=3)
    assert (model.bits, model.num_classes, model.margin, model.shift, model.neighbors) == (
        16,
        255,
        0.3,
        1.2,
        20,
    )
    assert model.warmup_epochs == 3
    assert (model.image_branch.units, model.text_branch.units) == ((8192, 8192), (8192,))
    with pytest.raises(ValueError, match="name must be one of"):
        sk.SCBCH.for_benchmark("flickr")


# What is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 0}, "bits must be an int of at least 1"),
        ({"num_classes": 2.0}, "num_classes must be an int"),
        ({"neighbors": 0}, "neighbors must be an int"),
        ({"gamma": -0.1}, "gamma must be a number in"),
        ({"alpha": -1}, "alpha must be a finite number of at least 0"),
        ({"warmup_epochs": -1}, "warmup_epochs must be an int of at least 0"),
        ({"dialect": "ours"}, "dialect must be one of"),
        ({"classification": False, "contrastive": False}, "nothing would be learned"),
        ({"image_branch": "vgg"}, "image_branch must be a HashBranch, a keras.Model or None"),
        ({"text_branch": sk.HashBranch(32, (8,))}, "text_branch makes codes of 32 bits; the model's are 20"),
    ],
)
def test_bad_settings_are_named(small_model, settings, message):
    with pytest.raises(ValueError, match=message):
        small_model(**{"bits": 20, **settings})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x, y[:, :5]), "labels must have 8 classes .* got 5"),
        (
            lambda x, y: ({k: v[:10] for k, v in x.items()}, y[:10]),
            "neighbors=10 needs at least 11 .* got 10",
        ),
        (lambda x, y: ({"image": x["image"]}, y), "x must be .* got \\['image'\\]"),
        (lambda x, y: (x, None), "y is missing"),
        (lambda x, y: (x, y.argmax(axis=1)), "labels must have shape"),
        (lambda x, y: (batches((x, y), range(240))[0][0], y), "x must be"),
    ],
    ids=["classes", "neighbours", "one modality", "no labels", "1-D labels", "index in arrays"],
)
def test_bad_training_data_is_refused_before_training(small_model, pairs, change, message):
    x, y = change(*pairs)
    model = small_model()
    with pytest.raises(ValueError, match=message):
        model.fit(x, y, verbose=0)
    assert model.confidence is None
    assert not model.image_branch.built


def test_bad_arguments_of_fit_are_named(small_model, pairs):
    x, y = pairs
    model = small_model()
    data = sk.PairDataset(**x, labels=y)
    for arguments, message in (
        ({"x": x, "y": y, "class_weight": {0: 1.0}}, "class_weight has no meaning"),
        ({"x": data, "y": y}, "y goes with arrays"),
        ({"x": x, "y": y, "initial_epoch": -1}, "initial_epoch must be an int of at least 0; got -1"),
        (
            {"x": x, "y": y, "validation_data": (x, y), "validation_freq": 0},
            "validation_freq must be an int of at least 1; got 0",
        ),
        ({"x": x, "y": y, "validation_split": 0.999}, "validation_split must leave rows to train on"),
        (
            {"x": x, "y": y, "callbacks": [keras.callbacks.TerminateOnNaN]},
            r"callbacks must be instances .*call it, TerminateOnNaN\(\.\.\.\)",
        ),
        ({"x": x, "y": y, "callbacks": [print]}, "callbacks must be instances .*built-in function print"),
        ({"x": data, "batch_size": 4}, "batch_size goes with arrays"),
        ({"x": data, "validation_split": 0.1}, "validation_split goes with arrays"),
        ({"x": x, "y": y, "validation_split": 1.5}, "validation_split must be a number in"),
        ({"x": x, "y": y, "validation_data": (x, y[:-1])}, "validation_data: image, text and labels"),
        ({"x": batches(pairs, range(239))[1:]}, "index out of range"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(**arguments, verbose=0)
    with pytest.raises(ValueError, match="SCBCH brings its own loss"):
        model.compile("adam", loss="mse")


def test_bad_features_are_refused_by_the_encoder(trained, pairs):
    image = pairs[0]["image"]
    with pytest.raises(ValueError, match=r"image must have shape \(n, 20\); got \(240, 19\)"):
        trained.encode_image(image[:, :19])
    broken = image.copy()
    broken[5, 0] = np.nan
    with pytest.raises(ValueError, match="image must be finite; row 5"):
        trained.encode_image(broken)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda x, y: ((x, y[:-1]), (x, y)), "query: image, text and labels"),
        (lambda x, y: ((x, y), x), "database must be"),
    ],
)
def test_retrieval_metrics_check_their_sets(pairs, arguments, message):
    with pytest.raises(ValueError, match=message):
        sk.RetrievalMetrics(*arguments(*pairs))


@pytest.mark.parametrize("given", [{}, {"bits": 16}, {"num_classes": 8}])
def test_bits_and_number_of_labels_have_no_default(given):
    missing = {"bits", "num_classes"} - set(given)
    with pytest.raises(TypeError, match=min(missing)):
        sk.SCBCH(**given)
