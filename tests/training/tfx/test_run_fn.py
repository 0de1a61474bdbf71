"""run_fn by the contract of TFX's Trainer, called as its executor does."""

import gzip
import importlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from copy import copy
from dataclasses import replace
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from scbch_keras.export import HashEncoder
from scbch_keras.training.data.pairs import Pairs, RetrievalData
from scbch_keras.training.runs.folder import RunError, RunFolder
from scbch_keras.training.runs.train import load_model, train
from scbch_keras.training.tfx.examples import read_examples
from scbch_keras.training.tfx.fn_args import SETTINGS as KNOWN_SETTINGS
from scbch_keras.training.tfx.fn_args import Arguments
from scbch_keras.training.tfx.warm_start import warm_start

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="files and folders, the same on every backend; runs on torch"
)
ROOT = Path(__file__).parents[3]
MODULE_FILE = ROOT / "training" / "run.py"
DOCS = ROOT / "docs" / "tfx.md"
SETTINGS = {
    "bits": 16,
    "image_units": [16],
    "text_units": [16],
    "neighbors": 10,
    "warmup_epochs": 1,
    "batch_size": 32,
    "learning_rate": 1e-3,
}
EPOCHS = 3  # of seven batches
TUNED = {"bits": 24, "tuner/epochs": 3}
CONFIG = {"features": {"image": "pixels"}, "label_names": list("abcdefgh"), "settings": SETTINGS}
CHILD = """
import json, sys
from scbch_keras.training.runs import train
train.CHECKPOINT_SECONDS = 0  # so that there is one to go on from
sys.path.insert(0, sys.argv[1])
import test_run_fn
test_run_fn.execute_trainer(**json.loads(sys.argv[2]))
"""


class FnArgs:
    """The attributes that TFX's class has, None where the executor does not set them."""

    def __init__(self, **given):
        names = "working_dir train_files eval_files train_steps eval_steps schema_path schema_file"
        names += " transform_graph_path transform_output data_accessor serving_model_dir eval_model_dir"
        names += " model_run_dir base_model hyperparameters custom_config"
        for name in names.split():
            setattr(self, name, given.pop(name, None))
        assert not given


def changed(fn_args, **values):
    other = copy(fn_args)
    vars(other).update(values)
    return other


def load_run_fn(module_file=MODULE_FILE):
    """`run_fn` as TFX finds it in a module file."""
    loader = SourceFileLoader("user_module_0", str(module_file))
    spec = importlib.util.spec_from_loader(loader.name, loader, origin=str(module_file))
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return getattr(module, "run_fn")  # noqa: B009 - by name, as there


def execute_trainer(examples, outputs, num_steps=0, tuned=None, config=CONFIG, base_model=None):
    """One execution: artifacts' folders -> FnArgs -> run_fn, and the check that follows it."""
    model, model_run = Path(outputs, "model", "7"), Path(outputs, "model_run", "7")
    for folder in (model, model_run):
        folder.mkdir(parents=True, exist_ok=True)
    fn_args = FnArgs(
        train_files=[os.path.join(examples, "Split-train", "*")],
        eval_files=[os.path.join(examples, "Split-eval", "*")],
        train_steps=num_steps or None,
        eval_steps=1,
        schema_path=os.path.join(examples, "schema.pbtxt"),
        serving_model_dir=os.path.join(model, "Format-Serving"),
        eval_model_dir=os.path.join(model, "Format-TFMA"),
        model_run_dir=str(model_run),
        base_model=base_model,
        hyperparameters=None if tuned is None else {"space": [], "values": tuned},
        custom_config=json.loads(json.dumps({"labels": {"team": "search"}, "scbch_keras": config})),
    )
    load_run_fn()(fn_args)
    if not os.path.exists(fn_args.serving_model_dir):
        raise RuntimeError("run_fn failed to generate model.")
    return fn_args


def write_examples(path, image, text, labels, third=None):
    import tensorflow as tf

    path.parent.mkdir(parents=True, exist_ok=True)
    options = tf.io.TFRecordOptions(compression_type="GZIP" if path.suffix == ".gz" else "")
    floats = lambda values: tf.train.Feature(float_list=tf.train.FloatList(value=values))  # noqa: E731
    whole = lambda values: tf.train.Feature(int64_list=tf.train.Int64List(value=values))  # noqa: E731
    with tf.io.TFRecordWriter(str(path), options) as file:
        for row in range(len(labels)):
            features = {"pixels": floats(image[row]), "text": floats(text[row]), "labels": whole(labels[row])}
            features = {**features, "id": whole([row]), **(third or {} if row == 2 else {})}
            kept = {name: feature for name, feature in features.items() if feature is not None}
            example = tf.train.Example(features=tf.train.Features(feature=kept))
            file.write(example.SerializeToString())
    return path


@pytest.fixture(scope="module")
def examples(pairs, tmp_path_factory):
    """200 records to train on, in two files, one of each compression; 40 to evaluate on."""
    folder = tmp_path_factory.mktemp("examples")
    x, labels = pairs
    parts = {
        "Split-train/data-00000-of-00002.gz": slice(0, 120),
        "Split-train/data-00001-of-00002": slice(120, 200),
    }
    parts["Split-eval/data-00000-of-00001.gz"] = slice(200, 240)
    for name, rows in parts.items():
        write_examples(folder / name, x["image"][rows], x["text"][rows], labels[rows])
    return folder


@pytest.fixture(scope="module")
def execution(examples, tmp_path_factory):
    """An execution that was killed in its training, and then repeated to its end."""
    outputs = tmp_path_factory.mktemp("outputs")
    # the last epoch is not asked for as a whole
    given = {
        "examples": str(examples),
        "outputs": str(outputs),
        "num_steps": 7 * EPOCHS - 1,
        "tuned": {"bits": 12},
    }
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(Path(__file__).parent), json.dumps(given)])
    run = outputs / "model_run" / "7" / "run"
    deadline = time.monotonic() + 600
    while not list(run.glob("checkpoint-*.keras")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    assert os.listdir(outputs / "model" / "7") == []
    (outputs / "model" / "7" / ".Format-Serving.partial" / "variables").mkdir(parents=True)
    return execute_trainer(**given), RunFolder.open(run)


PLAIN_TENSORFLOW = """
import sys
import numpy as np
import tensorflow as tf

with np.load(sys.argv[2]) as file:
    inputs = dict(file)
signatures = tf.saved_model.load(sys.argv[1]).signatures
codes = {
    name: signatures[f"encode_{name}"](**{name: tf.constant(values)})["packed_codes"].numpy()
    for name, values in inputs.items()
}
assert "serving_default" in signatures
assert "scbch_keras" not in sys.modules
np.savez(sys.argv[3], **codes)
"""


@pytest.mark.release
def test_the_serving_model_stands_where_pusher_and_evaluator_look_and_gives_the_models_codes(
    execution, pairs, tmp_path, having_imported
):
    fn_args, run = execution
    model_folder = Path(fn_args.serving_model_dir).parent
    assert sorted(path.name for path in model_folder.iterdir()) == ["Format-Serving", "Format-TFMA"]
    for folder in model_folder.iterdir():
        assert (folder / "saved_model.pb").is_file()
    inputs = {name: values[200:232].astype("float32") for name, values in pairs[0].items()}
    np.savez(tmp_path / "inputs.npz", **inputs)
    arguments = [fn_args.serving_model_dir, tmp_path / "inputs.npz", tmp_path / "codes.npz"]
    done = having_imported("tensorflow", [sys.executable, "-c", PLAIN_TENSORFLOW, *map(str, arguments)])
    assert done.returncode == 0, done.stderr
    encoder = HashEncoder(Path(fn_args.model_run_dir, "release", "latest"))
    with np.load(tmp_path / "codes.npz") as codes:
        for name in ("image", "text"):
            np.testing.assert_array_equal(codes[name], run.array(f"query_{name}_codes"))
            np.testing.assert_array_equal(
                encoder.image(inputs[name]) if name == "image" else encoder.text(inputs[name]), codes[name]
            )


@pytest.mark.release
def test_a_run_killed_and_gone_on_with_is_the_run_that_was_asked_for(execution, examples, tmp_path):
    fn_args, run = execution
    names = {"image": "pixels", "text": "text", "labels": "labels"}
    train_set, sources = read_examples("train_files", fn_args.train_files, names)
    evaluated, _ = read_examples("eval_files", fn_args.eval_files, names, like=train_set)
    queries = Pairs(
        *(values[:32] for values in (evaluated.image, evaluated.text, evaluated.labels, evaluated.ids))
    )
    assert run.recipe.epochs == EPOCHS
    assert [epoch["epoch"] for epoch in run.state["history"]] == list(range(1, EPOCHS + 1))
    assert run.recipe.bits == 12  # the Tuner's, over the setting's 16
    assert run.state["data"]["label_names"] == list("abcdefgh")
    assert run.state["data"]["rows"] == {"train": 200, "query": 32, "database": 200}
    straight = RunFolder.create(tmp_path / "run", run.recipe, {})
    data = RetrievalData("examples", "", train_set, queries, train_set, tuple("abcdefgh"), sources)
    train(straight, data, verbose=0)
    assert straight.state["history"] == run.state["history"]
    assert straight.state["metrics"] == run.state["metrics"]
    assert list(Path(fn_args.model_run_dir, "logs").rglob("events.*"))


@pytest.mark.release
def test_a_finished_execution_repeated_changes_nothing_and_other_settings_or_contents_are_refused(
    execution, examples
):
    fn_args, run = execution
    run_fn = load_run_fn()
    before = {path: path.stat().st_mtime_ns for path in run.path.parents[2].rglob("*")}
    run_fn(fn_args)
    with pytest.raises(RunError, match="other settings"):
        run_fn(changed(fn_args, train_steps=1))
    other = run.path.parents[2] / "other"
    (other / "file").mkdir(parents=True)
    with pytest.raises(FileExistsError, match="holds something else"):
        run_fn(changed(fn_args, serving_model_dir=str(other)))
    shutil.rmtree(other)
    assert {path: path.stat().st_mtime_ns for path in run.path.parents[2].rglob("*")} == before


@pytest.mark.release
def test_a_run_starts_from_the_weights_of_a_base_model(execution, pairs, tmp_path):
    fn_args, run = execution
    release = Path(fn_args.model_run_dir, "release", "latest")
    x, labels = pairs
    ids = np.arange(200).astype(str)
    trained = [keras.ops.convert_to_numpy(weight) for weight in load_model(run).trainable_variables]
    part = Pairs(x["image"][:200], x["text"][:200].astype("float32"), labels[:200], ids)
    data = RetrievalData("examples", "", part, part, part, tuple("abcdefgh"), ())
    for number, base in enumerate([Path(fn_args.serving_model_dir), release, release / "model.keras"]):
        recipe = replace(run.recipe, learning_rate=1e-5, epochs=1)
        started = RunFolder.create(tmp_path / str(number), recipe, {})
        warm_start(started, data, base)
        model = load_model(started)
        codes = model.encode_image(x["image"][200:232], verbose=0)
        np.testing.assert_array_equal(codes, run.array("query_image_codes"))
        assert (started.epochs_done, int(model.optimizer.iterations)) == (0, 0)
        assert float(model.optimizer.learning_rate) == pytest.approx(1e-5)
        for weight, given in zip(model.trainable_variables, trained, strict=True):
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), given)
    train(started, data, verbose=0)
    assert started.state["history"][0]["loss"] < run.state["history"][0]["loss"]


@pytest.mark.release
def test_a_base_model_that_was_changed_or_does_not_fit_is_refused(execution, examples, tmp_path):
    fn_args, _ = execution
    with pytest.raises(ValueError, match="base_model: expected SCBCH with weights"):
        execute_trainer(examples, tmp_path / "a", tuned={"bits": 8}, base_model=fn_args.serving_model_dir)
    base = tmp_path / "base"
    shutil.copytree(fn_args.serving_model_dir, base)
    content = bytearray((base / "assets.extra" / "model.keras").read_bytes())
    content[len(content) // 2] ^= 1
    (base / "assets.extra" / "model.keras").write_bytes(content)
    with pytest.raises(ValueError, match="is not the file that was released"):
        execute_trainer(examples, tmp_path / "b", tuned={"bits": 12}, base_model=str(base))
    with pytest.raises(FileNotFoundError, match=r"manifest\.json"):
        execute_trainer(examples, tmp_path / "c", base_model=str(tmp_path))
    assert not list(tmp_path.glob("*/model/7/*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"custom_config": {"scbch_keras": {"setings": {}}}}, "scbch_keras: unknown name 'setings'"),
        ({"custom_config": ["a"]}, "custom_config: expected a dict"),
        (
            {"custom_config": {"scbch_keras": {"settings": {"data": "icons"}}}},
            "settings: unknown name 'data'",
        ),
        ({"custom_config": {"scbch_keras": {"features": {"image": 3}}}}, "name of a feature for 'image'"),
        ({"custom_config": {"scbch_keras": {"formats": ["onnx"]}}}, "saved_model among them"),
        ({"custom_config": {"scbch_keras": {"label_names": ["a"]}}}, "label_names: expected 8 names"),
        ({"hyperparameters": {"learning": 1}}, "hyperparameters: unknown name 'learning'"),
        ({"hyperparameters": {"bits": "many"}}, "bits must be an int of at least 1; got 'many'"),
        ({"hyperparameters": 3}, "hyperparameters: expected a dict"),
        ({"hyperparameters": {"epochs": 3}, "train_steps": 8}, "epochs or train_steps, got both"),
        ({"train_steps": -1}, "train_steps: expected a number of batches"),
        ({"eval_steps": 0.5}, "eval_steps: expected a number of batches"),
        ({"train_files": "/data/*"}, "train_files: expected a list"),
        ({"eval_files": ["/no/such/*"]}, r"eval_files: there is no file /no/such/\*"),
        ({"train_files": ["gs://bucket/*"]}, "train_files: expected local paths, got 'gs://bucket/"),
        ({"serving_model_dir": "gs://bucket/model"}, "serving_model_dir: expected a local path"),
        ({"model_run_dir": None}, "model_run_dir: expected a local path, got None"),
    ],
)
def test_a_wrong_argument_is_refused_by_name_before_anything_is_written(examples, tmp_path, change, message):
    config = {"scbch_keras": {"features": {"image": "pixels"}}}
    files = {"train_files": [f"{examples}/Split-train/*"], "eval_files": [f"{examples}/Split-eval/*"]}
    folders = {"serving_model_dir": str(tmp_path / "s"), "model_run_dir": str(tmp_path / "r")}
    given = {"custom_config": config, **files, **folders, **change}
    if "scbch_keras" in given["custom_config"]:
        given["custom_config"]["scbch_keras"].setdefault("features", {"image": "pixels"})
    with pytest.raises(ValueError, match=message):
        load_run_fn()(FnArgs(**given))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "tuned",
    [
        TUNED,
        {"space": [], "values": TUNED},
        SimpleNamespace(values=TUNED),
    ],
    ids=["dict", "config of HyperParameters", "HyperParameters"],
)
def test_hyperparameters_go_over_settings_and_tuners_own_names_are_passed_over(tuned):
    config = {"scbch_keras": {"settings": {"bits": 16, "image_units": [8]}}}
    folders = {"serving_model_dir": "s", "model_run_dir": "r"}
    given = Arguments.of(FnArgs(hyperparameters=tuned, custom_config=config, **folders))
    assert (given.recipe.bits, given.recipe.image_units, given.recipe.epochs) == (24, (8,), 50)


def feature(kind, values):
    import tensorflow as tf

    lists = {"float": tf.train.FloatList, "int64": tf.train.Int64List, "bytes": tf.train.BytesList}
    return tf.train.Feature(**{f"{kind}_list": lists[kind](value=values)})


@pytest.mark.parametrize(
    ("name", "kind", "values", "message"),
    [
        ("pixels", None, None, "the feature 'pixels' is missing; found: id, labels, text"),
        ("pixels", "bytes", [b"jpeg"], "pixels: expected a float_list, got a bytes_list"),
        (
            "pixels",
            "float",
            [0.5] * 19,
            "pixels: expected 20 values, as in the first record that was read, got 19",
        ),
        ("text", "float", [0.5] * 29 + [float("nan")], "text: expected finite numbers, got nan at 29"),
        ("text", "float", [], "text: expected at least one value, got none"),
        ("labels", "int64", [0, 1, 0, 2, 0, 0, 0, 0], "labels: expected 0 and 1, got 2 at 3"),
        ("labels", "float", [0.5] * 8, "labels: expected 0 and 1, got 0.5 at 0"),
        ("labels", "int64", [0, 1], "labels: expected 8 values"),
    ],
)
def test_a_bad_record_is_told_with_its_file_number_and_feature(pairs, tmp_path, name, kind, values, message):
    x, labels = pairs
    bad = {name: None if kind is None else feature(kind, values)}
    good = write_examples(tmp_path / "a", x["image"][:4], x["text"][:4], labels[:4])
    file = write_examples(tmp_path / "b.gz", x["image"][:4], x["text"][:4], labels[:4], bad)
    names = {"image": "pixels", "text": "text", "labels": "labels"}
    with pytest.raises(ValueError, match=re.escape(f"{file}, record 2: {message}")):
        read_examples("train_files", [str(good), str(file)], names)


def test_records_come_as_they_were_written_with_labels_of_either_type(pairs, tmp_path):
    x, labels = pairs
    as_floats = {"labels": feature("float", labels[2])}
    write_examples(tmp_path / "part-1.gz", x["image"][:5], x["text"][:5], labels[:5], as_floats)
    write_examples(tmp_path / "part-2", x["image"][5:9], x["text"][5:9], labels[5:9])
    names = {"image": "pixels", "text": "text", "labels": "labels"}
    read, sources = read_examples("train_files", [f"{tmp_path}/part-*"], names)
    np.testing.assert_array_equal(read.image, x["image"][:9])
    np.testing.assert_array_equal(read.text, x["text"][:9])
    np.testing.assert_array_equal(read.labels, labels[:9])
    assert [source.arrays["labels"] for source in sources] == ["(5, 8) uint8", "(4, 8) uint8"]


def test_files_that_are_no_whole_tfrecords_are_refused(pairs, tmp_path):
    x, labels = pairs
    names = {"image": "pixels", "text": "text", "labels": "labels"}
    whole = write_examples(tmp_path / "whole", x["image"][:4], x["text"][:4], labels[:4]).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    contents = {
        "cut": whole[:-7],
        "flipped": bytes(flipped),
        "packed": gzip.compress(whole),
        "plain.gz": whole,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}, record \d: cut short, damaged, or no TFRecord"):
            read_examples("train_files", [str(tmp_path / name)], names)
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ValueError, match="train_files: expected at least one record"):
        read_examples("train_files", [str(tmp_path / "empty")], names)
    with pytest.raises(ValueError, match="expected each file once"):
        read_examples("train_files", [str(tmp_path / "whole"), f"{tmp_path}/w*"], names)


def test_run_fn_is_found_by_its_python_path_too():
    module, _, name = "scbch_keras.training.tfx.run_fn.run_fn".rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.release
def test_the_examples_of_the_docs_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    assert all(f"`{name}`" in DOCS.read_text(encoding="utf-8") for name in KNOWN_SETTINGS)
    blocks = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    for code in blocks:
        exec(compile(code, str(DOCS), "exec"), names)
    assert (tmp_path / "model" / "Format-Serving" / "saved_model.pb").is_file()
