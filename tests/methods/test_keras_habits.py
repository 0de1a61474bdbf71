"""What a Keras user tries: it works, or says what to do instead."""

import csv
from collections import UserDict
from types import MappingProxyType

import keras
import numpy as np
import pytest

import scbch_keras as sk
from tests.methods import BASELINES, EAGERLY

on_one_backend = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the same on every backend; runs on torch"
)


def sets(pairs, cut=60):
    x, labels = pairs
    query = {name: values[:cut] for name, values in x.items()}, labels[:cut]
    return query, ({name: values[cut:] for name, values in x.items()}, labels[cut:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metrics": ["accuracy"]}, r"metrics compares outputs .*RetrievalMetrics.*evaluate_retrieval"),
        ({"metrics": "mae"}, "metrics compares outputs"),
        ({"metrics": [keras.metrics.AUC()]}, "metrics compares outputs"),
        ({"metrics": {"image": ["mse"]}}, "metrics compares outputs"),
        ({"weighted_metrics": ["accuracy"]}, "weighted_metrics compares outputs .*RetrievalMetrics"),
        ({"loss_weights": [1.0, 0.5]}, "brings its own loss; got loss_weights=.*constructor"),
        ({"loss": "mse"}, "brings its own loss"),
    ],
)
def test_what_compile_does_not_take_is_refused_there(small_model, arguments, message):
    model = small_model()
    with pytest.raises(ValueError, match=message):
        model.compile("adam", **arguments)


@pytest.mark.parametrize("empty", [None, [], {}])
def test_no_metrics_are_no_metrics(small_model, pairs, empty):
    model = small_model()
    model.compile("adam", metrics=empty, weighted_metrics=empty, **EAGERLY)
    model.fit(*pairs, epochs=1, verbose=0)


@pytest.mark.parametrize("format", ["tf_saved_model", "onnx", "openvino", "litert"])
def test_keras_export_points_to_the_release(small_model, tmp_path, format):
    with pytest.raises(NotImplementedError, match=r"scbch_keras\.export\.release\(model, folder\)"):
        small_model().export(tmp_path / "model", format=format)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "method", ["scbch", *(pytest.param(name, marks=on_one_backend) for name in BASELINES)]
)
def test_retrieval_is_evaluated_by_the_model(pairs, method):
    branches = {f"{name}_branch": sk.HashBranch(20, (16,)) for name in ("image", "text")}
    settings = {"center_units": (8,)} if method == "rshnl" else {}
    model = (sk.SCBCH if method == "scbch" else BASELINES[method])(20, 8, **branches, **settings)
    model.build({"image": (None, 20), "text": (None, 30)})
    query, database = sets(pairs)
    codes = [
        {
            "image": model.encode_image(x["image"], verbose=0),
            "text": model.encode_text(x["text"], verbose=0),
        }
        for x, _ in (query, database)
    ]
    for k in (None, 10):
        expected = sk.cross_modal_map(*codes, query[1], database[1], bits=20, k=k)
        result = model.evaluate_retrieval(query, database, k=k)
        assert result == {"i2t_map": expected.i2t, "t2i_map": expected.t2i}
    assert model.evaluate_retrieval(query, database, batch_size=7) == model.evaluate_retrieval(
        query, database
    )


def test_the_callback_logs_what_the_model_evaluates(ready_model, pairs):
    query, database = sets(pairs)
    model = ready_model()
    metrics = sk.RetrievalMetrics(query, database, k=20)
    history = model.fit(*pairs, epochs=2, verbose=0, callbacks=[metrics]).history
    last = {name: values[-1] for name, values in history.items() if name.endswith("_map")}
    assert last == model.evaluate_retrieval(query, database, k=20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q, d: (q[0], d), r"query must be \("),
        (lambda q, d: (q, ({"image": d[0]["image"]}, d[1])), r"database must be \("),
        (lambda q, d: ((q[0], q[1][:-1]), d), "query: image, text and labels"),
        (
            lambda q, d: (q, ({**d[0], "text": d[0]["text"][:, :9]}, d[1])),
            r"database: text must have shape \(n, 30\)",
        ),
        (lambda q, d: ((q[0], 0 * q[1]), d), "share no label"),
    ],
)
def test_sets_that_do_not_fit_are_named(ready_model, pairs, change, message):
    model = ready_model()
    model.build({"image": (None, 20), "text": (None, 30)})
    with pytest.raises(ValueError, match=message):
        model.evaluate_retrieval(*change(*sets(pairs)))


def test_retrieval_of_a_model_without_weights_is_refused(small_model, pairs):
    with pytest.raises(ValueError, match="query: The image branch has no weights yet"):
        small_model().evaluate_retrieval(*sets(pairs))


@pytest.mark.parametrize(
    "make",
    [
        lambda x: (x["image"], x["text"]),
        lambda x: [x["image"], x["text"]],
        lambda x: keras.ops.convert_to_tensor(x["image"]),
        lambda x: x["image"],
        lambda x: (x["image"],),
    ],
    ids=["tuple", "list", "tensor", "array", "one"],
)
def test_arrays_without_names_are_refused_with_the_names(ready_model, pairs, make):
    x, labels = pairs
    with pytest.raises(ValueError, match=r'Name them: fit\(\{"image": image, "text": text\}, labels\)'):
        ready_model().fit(make(x), labels, epochs=1, verbose=0)


@pytest.mark.parametrize("kind", [UserDict, MappingProxyType])
def test_any_mapping_is_a_dict(ready_model, pairs, kind):
    """Such as what np.load gives of an .npz file, and h5py of its own."""
    x, labels = pairs
    history = (
        ready_model().fit(kind(x), labels, epochs=1, verbose=0, validation_data=(kind(x), labels)).history
    )
    assert history["val_loss"]
    loader = [(kind({**x, "index": np.arange(240)}), labels)]
    assert ready_model().fit(loader, epochs=1, verbose=0).history["loss"]
    assert ready_model().evaluate_retrieval((kind(x), labels), (x, labels))


@pytest.mark.parametrize("make", [tuple, lambda pairs: pairs[0], lambda pairs: [(*pairs,)]])
def test_an_audit_of_anything_but_a_pair_dataset_is_refused(ready_model, pairs, make):
    with pytest.raises(ValueError, match=r"pairs must be a PairDataset\(image, text, labels\); got"):
        ready_model().audit(make(pairs))


@pytest.mark.parametrize("x", [None, "data.npz", 3])
def test_no_data_at_all_is_refused(ready_model, x):
    with pytest.raises(ValueError, match="a PairDataset or a loader; got"):
        ready_model().fit(x, epochs=1, verbose=0)


NUMBERS = r"got lists of label numbers\. Make it so: .*y\[row, number\] = 1"
NAMES = r"got names of labels\. Make it so: .*y\[row, label_names\.index\(name\)\] = 1"
LABELS = {
    "ragged": (lambda n: [[0, 2], [1]] * (n // 2), NUMBERS),
    "an empty list": (lambda n: [[], [1]] * (n // 2), NUMBERS),
    "tuples": (lambda n: [(0, 2), (1,)] * (n // 2), NUMBERS),
    "sets": (lambda n: [{0, 2}, {1, 3}] * (n // 2), NUMBERS),
    "an object array": (lambda n: np.array([[0, 2], [1]] * (n // 2), object), NUMBERS),
    "names": (lambda n: ["dog", "cat"] * (n // 2), NAMES),
    "lists of names": (lambda n: [["dog"], ["cat", "dog"]] * (n // 2), NAMES),
    "an array of names": (lambda n: np.array(["dog", "cat"] * (n // 2)), NAMES),
    "a table of names": (lambda n: np.array([["dog", "red"]] * n), NAMES),
    "bytes": (lambda n: np.array([b"dog"] * n), NAMES),
}


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("where", ["y", "validation_data"])
def test_labels_in_other_forms_are_refused_with_the_way_there(ready_model, pairs, name, where):
    x, labels = pairs
    make, message = LABELS[name]
    y = make(len(labels))
    arguments = {"y": y} if where == "y" else {"y": labels, "validation_data": (x, y)}
    with pytest.raises(ValueError, match=message):
        ready_model().fit(x, **arguments, epochs=1, verbose=0)


def test_rows_of_zeros_and_ones_may_be_a_list(ready_model, pairs):
    x, labels = pairs
    ready_model().fit(x, labels.tolist(), epochs=0, verbose=0)


BRANCHES = {
    "HashBranch": lambda: sk.HashBranch(20, (8,)),
    "a named HashBranch": lambda: sk.HashBranch(20, (8,), name="mine"),
    "a model": lambda: keras.Sequential([keras.Input((20,)), keras.layers.Dense(8)]),
    "a model in a HashBranch": lambda: sk.HashBranch(
        20, body=keras.Sequential([keras.Input((20,)), keras.layers.Dense(8)], name="backbone")
    ),
}


@pytest.mark.parametrize("name", BRANCHES)
def test_the_summary_names_the_branches(name, tmp_path):
    model = sk.SCBCH(20, 8, BRANCHES[name](), BRANCHES[name](), neighbors=10)
    model.build({"image": (None, 20), "text": (None, 20)})
    lines = []
    model.summary(print_fn=lines.append, line_length=120)
    summary = "\n".join(lines)
    assert "image_branch" in summary
    assert "text_branch" in summary
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert [layer.name for layer in loaded.layers][:2] == ["image_branch", "text_branch"]


@pytest.mark.parametrize("monitor", ["i2t_map", "t2i_map"])
def test_keras_callbacks_find_the_direction_of_retrieval(ready_model, pairs, tmp_path, monitor):
    query, database = sets(pairs)
    model = ready_model()
    callbacks = [
        keras.callbacks.EarlyStopping(monitor, patience=1, min_delta=1.0, restore_best_weights=True),
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor, save_best_only=True),
        keras.callbacks.ReduceLROnPlateau(monitor, factor=0.5, patience=1, min_delta=1.0, cooldown=0),
        sk.RetrievalMetrics(query, database),
    ]
    history = model.fit(*pairs, epochs=5, verbose=0, callbacks=callbacks).history
    assert len(history["loss"]) == 2, "no rise by 1 in the second epoch: stopped"
    best = keras.models.load_model(tmp_path / "best.keras").evaluate_retrieval(query, database)
    assert best[monitor] == pytest.approx(max(history[monitor]), abs=1e-6)


def test_the_checkpoint_keeps_the_highest_retrieval(ready_model, pairs, tmp_path):
    """Scripted values, since a real training rises nearly always."""

    class Scripted(sk.RetrievalMetrics):
        def on_epoch_end(self, epoch, logs=None):
            logs["i2t_map"] = [0.3, 0.6, 0.2, 0.5][epoch]

    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras", "i2t_map", save_best_only=True)
    callbacks = [checkpoint, Scripted(*sets(pairs))]
    ready_model().fit(*pairs, epochs=4, verbose=0, callbacks=callbacks)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.keras", "2.keras"]


@pytest.mark.parametrize("monitor", ["loss", "val_loss", "classification", "val_quantization"])
def test_keras_callbacks_find_the_direction_of_a_loss(ready_model, pairs, monitor):
    stopping = keras.callbacks.EarlyStopping(monitor, patience=1, min_delta=100.0)  # no fall is enough
    history = (
        ready_model().fit(*pairs, epochs=4, verbose=0, callbacks=[stopping], validation_data=pairs).history
    )
    assert len(history["loss"]) == 2


@pytest.mark.parametrize("validation", [{}, {"validation_freq": 2}], ids=["none", "every second"])
def test_a_table_of_epochs_has_retrieval_that_is_not_measured_in_the_first(
    ready_model, pairs, tmp_path, validation
):
    if validation:
        validation["validation_data"] = pairs
    logger = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    callbacks = [logger, sk.RetrievalMetrics(*sets(pairs), every=2)]
    history = ready_model().fit(*pairs, epochs=3, verbose=0, callbacks=callbacks, **validation).history
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("i2t_map", "t2i_map", *(["val_loss"] if validation else [])):
        kept = [float(row[name]) for row in rows if row[name] != "NA"]
        assert rows[0][name] == "NA"
        assert kept == pytest.approx(history[name])


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_mode_of_ones_own_is_kept(ready_model, pairs, mode):
    stopping = keras.callbacks.EarlyStopping("i2t_map", mode=mode)
    ready_model().fit(*pairs, epochs=0, verbose=0, callbacks=[stopping])
    assert stopping.mode == mode
