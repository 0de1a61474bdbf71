"""Files that Keras loads after a plain import, and branches that share what could not be loaded."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import scbch_keras as sk
from scbch_keras.registration import REGISTERED
from tests.methods import BASELINES

# The order of imports is Python's business, on whatever backend.
once = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the same on every backend; runs on torch"
)

LOAD = """
import sys
{imports}
early = sorted(name for name in sys.modules if name in ("scbch_keras.methods.scbch", "scbch_keras.layers"))
for path in sys.argv[1:]:
    model = keras.models.load_model(path)
    print(early, type(model).__module__, type(model).__name__, sum(w.sum() for w in model.get_weights()).round(3))
"""
ORDERS = {
    "keras first": "import keras, scbch_keras",
    "scbch_keras first": "import scbch_keras, keras",
    "saving alone": "import scbch_keras\nfrom keras import saving\nimport keras",
    "serving in between": "import scbch_keras.metrics, scbch_keras.codes\nimport keras",
    "a second import": "import keras, scbch_keras\nimport scbch_keras as sk, keras",
}


def models():
    branches = {f"{side}_branch": sk.HashBranch(8, (4,)) for side in ("image", "text")}
    small = {"rshnl": {"center_units": (4,)}}
    made = {"scbch": sk.SCBCH(8, 3, **branches, neighbors=3)}
    for name, method in BASELINES.items():
        branches = {f"{side}_branch": sk.HashBranch(8, (4,)) for side in ("image", "text")}
        made[name] = method(8, 3, **branches, **small.get(name, {}))
    for model in made.values():
        model.build({"image": (None, 6), "text": (None, 5)})
    body = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5)])
    made["layers"] = keras.Sequential(
        [keras.Input((6,)), sk.HashBranch(8, body=body), sk.ConceptClassifier(3)]
    )
    made["pack"] = keras.Sequential([keras.Input((6,)), sk.HashBranch(8, (4,)), sk.PackBits()])
    return made


@pytest.fixture(scope="module")
def new_process(having_imported):
    """A function that runs code where the backend has been imported, and nothing of keras: what it prints."""

    def run(code, *arguments):
        command = [sys.executable, "-c", code, *map(str, arguments)]
        done = having_imported(keras.backend.backend(), command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    lines = {}
    for name, model in models().items():
        model.save(folder / f"{name}.keras")
        total = sum(weight.sum() for weight in model.get_weights()).round(3)
        lines[folder / f"{name}.keras"] = (type(model).__name__, total)
    return lines


@pytest.mark.slow
@pytest.mark.parametrize(
    "order", [order if order == "keras first" else pytest.param(order, marks=once) for order in ORDERS]
)
def test_every_class_loads_after_a_plain_import(saved, new_process, order):
    """One process a file would show the first load of each alone; the reverse order shows the others."""
    paths = (
        list(saved) if order == "keras first" else list(saved)[:: 3 if order != "scbch_keras first" else -1]
    )
    printed = new_process(LOAD.format(imports=ORDERS[order]), *paths)
    for path, line in zip(paths, printed.splitlines(), strict=True):
        early, _, kind, total = line.rsplit(" ", 3)
        assert early == "[]", "the package imported its models before they were needed"
        assert kind == saved[path][0]
        assert float(total) == pytest.approx(float(saved[path][1]), abs=2e-3)


@pytest.mark.slow
@once
@pytest.mark.parametrize("name", ["layers", "pack"])
def test_a_branch_saved_alone_loads_first(saved, new_process, name):
    (path,) = (path for path in saved if path.stem == name)
    (line,) = new_process(LOAD.format(imports=ORDERS["keras first"]), path).splitlines()
    assert "Sequential" in line


def test_every_registered_class_is_in_the_table():
    registered = {
        name.removeprefix("scbch_keras>"): value
        for name, value in keras.saving.get_custom_objects().items()
        if name.startswith("scbch_keras>")
    }
    assert set(registered) == set(REGISTERED)
    assert BASELINES  # all modules that register are imported
    for name, module in REGISTERED.items():
        assert registered[name].__module__ == f"scbch_keras.{module}"


@once
@pytest.mark.slow
def test_importing_the_package_leaves_the_import_of_keras_as_it_was(new_process):
    code = (
        "import sys, scbch_keras; assert 'keras' not in sys.modules\n"
        "ours = lambda: [finder for finder in sys.meta_path if type(finder).__module__.startswith('scbch_keras')]\n"
        "assert len(ours()) == 1; import keras; assert not ours(); import importlib, inspect\n"
        "assert inspect.getsource(keras); assert 'exec_module' not in vars(keras.__spec__.loader)\n"
        "import importlib.util; assert importlib.util.find_spec('keras').name == 'keras'"
    )
    new_process(code)


@once
def test_the_package_imports_where_keras_cannot_be(tmp_path):
    (tmp_path / "keras.py").write_text("raise ImportError('broken here')")
    code = (
        "import scbch_keras\n"
        "for _ in range(2):\n"
        "    try:\n        import keras\n"
        "    except ImportError as error:\n        assert 'broken here' in str(error)\n"
        "    else:\n        raise SystemExit('keras was imported')\n"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr


# Sharing


def body(*layers):
    return keras.Sequential([keras.Input((6,)), *layers])


class Wrapped(keras.Model):
    """A body that holds layers in a list, a dict and an attribute."""

    def __init__(self, layer):
        super().__init__()
        self.parts = {"all": [layer]}

    def call(self, inputs):
        return self.parts["all"][0](inputs)


def shared_branches():
    dense, model, branch = keras.layers.Dense(8), body(keras.layers.Dense(8)), sk.HashBranch(16, (8,))
    inputs = keras.Input((6,))
    return {
        "a layer": (body(dense), body(dense)),
        "a layer of a functional model": (keras.Model(inputs, dense(inputs)), body(dense)),
        "a body": (model, model),
        "a body and a branch of it": (model, sk.HashBranch(16, body=model)),
        "two branches of a body": (sk.HashBranch(16, body=model), sk.HashBranch(16, body=model)),
        "a branch": (branch, branch),
        "a model in a model": (body(model, keras.layers.Dense(4)), body(keras.layers.Dense(6), model)),
        "deep": (body(body(keras.layers.Dense(6), body(dense))), body(dense)),
        "in a list": (Wrapped(dense), Wrapped(dense)),
    }


# What they share is found where every method has its branches.
SHARING = [("scbch", name) for name in shared_branches()] + [(method, "a layer") for method in BASELINES]


@once
@pytest.mark.parametrize(("method", "name"), SHARING)
def test_branches_that_share_a_layer_are_refused(method, name):
    make = sk.SCBCH if method == "scbch" else BASELINES[method]
    image, text = shared_branches()[name]
    with pytest.raises(ValueError, match=r"image_branch and text_branch share '.*clone_model"):
        make(16, 3, image_branch=image, text_branch=text)


@pytest.mark.parametrize("kind", ["input", "activation"])
def test_a_shared_layer_without_weights_is_saved_and_loaded(kind, tmp_path):
    inputs, relu = keras.Input((6,)), keras.layers.ReLU()
    if kind == "input":
        bodies = [keras.Model(inputs, keras.layers.Dense(8)(inputs)) for _ in range(2)]
    else:
        bodies = [body(keras.layers.Dense(8), relu) for _ in range(2)]
    model = sk.SCBCH(16, 3, *bodies, neighbors=3)
    model.build({"image": (None, 6), "text": (None, 6)})
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    rows = np.random.default_rng(0).random((5, 6)).astype("float32")
    for side in ("image", "text"):
        codes = [getattr(m, f"encode_{side}")(rows, verbose=0) for m in (model, loaded)]
        np.testing.assert_array_equal(*codes)


def test_a_copied_body_is_not_shared(tmp_path):
    model = body(keras.layers.Dense(8))
    hashing = sk.SCBCH(16, 3, model, keras.models.clone_model(model), neighbors=3)
    hashing.build({"image": (None, 6), "text": (None, 6)})
    hashing.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    rows = np.random.default_rng(0).random((5, 6)).astype("float32")
    np.testing.assert_array_equal(loaded.encode_text(rows, verbose=0), hashing.encode_text(rows, verbose=0))
