"""ResumableBackup: killed at any batch and begun again, a training ends with the same bits as one that ran through."""

import signal
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import scbch_keras as sk
from scbch_keras.resumable_backup import FILE
from scbch_keras.training_state import load_state, save_state
from tests.methods import BASELINES, QUICKLY

on_one_backend = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the same on every backend; runs on torch"
)
rng = np.random.default_rng(0)
IMAGE, TEXT = rng.random((40, 6)).astype("float32"), rng.random((40, 5)).astype("float32")
LABELS = (rng.random((40, 3)) < 0.5).astype("uint8")
ARRAYS = {"image": IMAGE, "text": TEXT}


class KilledError(Exception):
    pass


class Kill(keras.callbacks.Callback):
    """Ends the training in the middle of a batch's callbacks, before the backup."""

    def __init__(self, batches):
        super().__init__()
        self.left = [batches]

    def get_state(self):
        return {}

    def set_state(self, state):
        pass

    def on_train_batch_end(self, batch, logs=None):
        self.left[0] -= 1
        if self.left[0] == 0:
            raise KilledError


def body(width):
    layers = [keras.layers.Dense(8), keras.layers.BatchNormalization(), keras.layers.Dropout(0.3)]
    return keras.Sequential([keras.Input((width,)), *layers])


def train(
    folder, killed_after=0, *, save_freq=3, data=None, method=None, fixed_order=False, callbacks=(), seed=1
):
    keras.utils.set_random_seed(seed)
    if "torch" in sys.modules:  # which Keras seeds on PyTorch alone
        sys.modules["torch"].manual_seed(seed)
    if method is None:
        model = sk.SCBCH(16, 3, body(6), body(5), neighbors=3, warmup_epochs=1)
    else:
        branches = {f"{name}_branch": sk.HashBranch(16, (8,)) for name in ("image", "text")}
        model = BASELINES[method](16, 3, **branches)
    model.compile(keras.optimizers.Adam(1e-2), **QUICKLY)
    backup = sk.ResumableBackup(folder, save_freq, fixed_order=fixed_order)
    arguments = (ARRAYS, LABELS) if data is None else (data(),)
    history = model.fit(
        *arguments,
        **({"batch_size": 10} if data is None else {}),
        epochs=3,
        verbose=0,
        callbacks=[*callbacks, Kill(killed_after), backup],
    )
    return model, history


def end_of(result):
    model, history = result
    variables = [*model.variables, *model.optimizer.variables]
    return [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in variables], history.history


def assert_equal_ends(actual, expected):
    for one, other in zip(actual[0], expected[0], strict=True):
        np.testing.assert_array_equal(one, other)
    assert actual[1] == expected[1]


def killed_and_resumed(folder, *points, **settings):
    for point in points:
        with pytest.raises(KilledError):
            train(folder, point, **settings)
    return train(folder, **settings)


def plateau():
    return (
        keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=0.5),
        keras.callbacks.EarlyStopping("loss", patience=5, min_delta=0.5, restore_best_weights=True),
    )


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return end_of(train(tmp_path_factory.mktemp("through"), callbacks=plateau()))


@pytest.mark.parametrize(
    "points",
    [*(pytest.param(points, marks=on_one_backend) for points in ((1,), (4,), (6,))), (8, 5)],
    ids=str,
)
def test_killed_at_a_batch_and_resumed_it_ends_with_the_same_bits(tmp_path, expected, points):
    folder = tmp_path / "backup"
    # Each start passes over the batches that a backup has, which count for the next point.
    assert_equal_ends(end_of(killed_and_resumed(folder, *points, callbacks=plateau())), expected)
    assert not (folder / FILE).exists()


@pytest.mark.slow
@on_one_backend
def test_a_process_killed_by_the_system_and_begun_again(tmp_path, expected, having_imported):
    code = f"""
import os, signal, sys
sys.modules["tensorflow"] = None  # Keras would import it, for seconds, to seed it
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
import keras, numpy as np
from tests.methods import test_resumable_backup as here

class Kill(here.Kill):
    def on_train_batch_end(self, batch, logs=None):
        self.left[0] -= 1
        if self.left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

here.Kill = Kill
here.train(sys.argv[1], 7, callbacks=here.plateau())
"""
    folder = tmp_path / "backup"
    ended = having_imported("torch", [sys.executable, "-c", code, folder])
    assert ended.returncode == -signal.SIGKILL, ended.stderr[-2000:]
    assert [path.name for path in folder.iterdir() if not path.name.startswith(".")] == [FILE]
    state = load_state(folder / FILE)
    assert (state["epoch"], state["batch"]) == (1, 0 if state["batch"] == 0 else 3)
    assert_equal_ends(end_of(train(folder, callbacks=plateau())), expected)


@on_one_backend
@pytest.mark.parametrize("method", ["ucch", "nacd"])
def test_methods_that_keep_something_of_each_sample_go_on_with_it(tmp_path, method):
    through = end_of(train(tmp_path / "through", method=method))
    assert_equal_ends(end_of(killed_and_resumed(tmp_path / "killed", 6, method=method)), through)


def batches():
    rows = (np.arange(start, start + 10) for start in (20, 0, 30, 10))
    return [({"image": IMAGE[r], "text": TEXT[r], "index": r}, LABELS[r]) for r in rows]


class Stream:
    def __iter__(self):
        return iter(batches())


class Shuffled:
    """A loader that knows its state."""

    def __init__(self):
        self.passes = 0

    def __iter__(self):
        self.passes += 1
        order = np.random.default_rng(self.passes).permutation(40).reshape(4, 10)
        return iter([({"image": IMAGE[r], "text": TEXT[r], "index": r}, LABELS[r]) for r in order])

    def state_dict(self):
        return {"passes": self.passes}

    def load_state_dict(self, state):
        self.passes = state["passes"]


def torch_loader(own_generator=False):
    torch = pytest.importorskip("torch")

    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return 40

        def __getitem__(self, row):
            return {"image": IMAGE[row], "text": TEXT[row], "index": row}, LABELS[row].astype("float32")

    generator = torch.Generator().manual_seed(5) if own_generator else None
    return torch.utils.data.DataLoader(Rows(), 10, shuffle=True, generator=generator)


LOADERS = {
    "list": (batches, {}),
    "stream": (Stream, {"fixed_order": True}),
    "with a state": (Shuffled, {}),
    "torch": (torch_loader, {}),
    "torch with a generator": (lambda: torch_loader(own_generator=True), {}),
}


@on_one_backend
@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.slow
def test_loaders_whose_order_can_be_brought_back(tmp_path, kind):
    make, settings = LOADERS[kind]
    through = end_of(train(tmp_path / "through", data=make, **settings))
    assert_equal_ends(end_of(killed_and_resumed(tmp_path / "killed", 9, data=make, **settings)), through)


def torch_stream():
    torch = pytest.importorskip("torch")

    class Batches(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(batches())

    return torch.utils.data.DataLoader(Batches(), batch_size=None)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (Stream, "a .*Stream"),
        pytest.param(torch_stream, ".*Batches, an IterableDataset", marks=on_one_backend),
    ],
)
def test_a_loader_whose_order_nobody_knows_is_refused_before_the_first_step(tmp_path, make, named):
    with pytest.raises(
        ValueError, match=rf"cannot bring back the order of {named}.*state_dict\(\).*fixed_order"
    ):
        train(tmp_path, data=make)


@on_one_backend
def test_a_loader_that_yields_other_batches_than_it_said_is_refused(tmp_path):
    order = np.random.default_rng(0)

    class Unsteady:
        def __iter__(self):
            rows = order.permutation(40).reshape(4, 10)
            return iter([({"image": IMAGE[r], "text": TEXT[r], "index": r}, LABELS[r]) for r in rows])

    with pytest.raises(KilledError):
        train(tmp_path / "killed", 4, data=Unsteady, fixed_order=True)
    with pytest.raises(ValueError, match="The loader did not yield the batches"):
        train(tmp_path / "killed", data=Unsteady, fixed_order=True)
    with pytest.raises(
        ValueError, match="The loader yielded other batches in this epoch than in the one before"
    ):
        train(tmp_path / "through", data=Unsteady, fixed_order=True)


class Counter:
    count = 0


class Counting(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.counter = Counter()


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ([Counting()], r"Counting keeps 'counter', Counter, which a backup cannot hold; .*get_state\(\)"),
        ([keras.callbacks.BackupAndRestore("other")], "no BackupAndRestore beside it"),
        ([keras.callbacks.CSVLogger("log.csv")], "CSVLogger must have append=True"),
    ],
    ids=["object", "two backups", "a log begun anew"],
)
def test_callbacks_that_cannot_be_brought_back_are_named_before_the_first_step(tmp_path, callbacks, message):
    with pytest.raises(ValueError, match=message):
        train(tmp_path / "backup", callbacks=callbacks)
    assert not (tmp_path / "backup").exists()


@on_one_backend
def test_a_backup_of_another_training_or_a_damaged_one_is_refused(tmp_path):
    with pytest.raises(KilledError):
        train(tmp_path, 6)
    for changed, message in (
        ({"method": "infonce"}, "is of another training: .* was .*, and is .*delete"),
        ({"callbacks": plateau()}, "callbacks were"),
        ({"data": lambda: sk.PairDataset(IMAGE, TEXT, 1 - LABELS, 10)}, "labels was"),
        ({"data": lambda: sk.PairDataset(IMAGE, TEXT, LABELS, 20)}, "batch_size was 10, and is 20"),
        ({"data": lambda: sk.PairDataset(IMAGE[::-1], TEXT, LABELS, 10)}, "image was"),
    ):
        with pytest.raises(ValueError, match=message):
            train(tmp_path, **changed)
    path = tmp_path / FILE
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"training\.npz: expected a backup of a training: .*; delete it"):
        train(tmp_path)


@on_one_backend
def test_a_state_is_stored_and_read_as_it_was_and_a_changed_one_is_refused(tmp_path):
    path = tmp_path / "state.npz"
    state = {
        "numbers": [1, 2.5, float("inf"), None, True, "text"],
        "tuple": (np.float32(0.1), {"a": np.arange(3), 5: {1, 2}}),
        "empty": [np.zeros((0, 2)), {}],
    }
    save_state(path, state)
    read = load_state(path)
    assert read["numbers"] == state["numbers"]
    assert isinstance(read["tuple"], tuple)
    assert read["tuple"][0] == np.float32(0.1)
    assert read["tuple"][1][5] == {1, 2}
    np.testing.assert_array_equal(read["tuple"][1]["a"], np.arange(3))
    assert read["empty"][0].shape == (0, 2)
    with np.load(path) as file:
        arrays = dict(file)
    name = next(name for name in arrays if name.startswith("array") and arrays[name].size == 3)
    np.savez(path, **{**arrays, name: arrays[name] + 1})
    with pytest.raises(ValueError, match="expected a backup of a training: its sha256 differs"):
        load_state(path)
    with pytest.raises(ValueError, match="object"):
        save_state(path, {"what": object()})


@on_one_backend
def test_it_needs_a_model_of_the_package(tmp_path):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="ResumableBackup works in fit of scbch_keras' models"):
        model.fit(IMAGE, LABELS, callbacks=[sk.ResumableBackup(tmp_path)], verbose=0)
    for bad in ({"save_freq": 0}, {"save_freq": "batch"}, {"backup_dir": ""}, {"delete_checkpoint": 1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            sk.ResumableBackup(**{"backup_dir": tmp_path, **bad})
