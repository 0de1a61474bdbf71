"""Loaders without confidence weights: any length, any sampling, any index."""

import keras
import numpy as np
import pytest

import scbch_keras as sk
from scbch_keras import data
from tests.methods import BASELINES, EAGERLY

OFF = {
    "weights off": {"confidence_weighting": False},
    "no classification": {"classification": False},
    "posterior": {"labels": "posterior"},
}


def batches(pairs, order, size=40, index=True):
    x, labels = pairs
    made = []
    for start in range(0, len(order), size):
        rows = np.array(order[start : start + size])
        inputs = {name: values[rows].astype("float32") for name, values in x.items()}
        made.append(({**inputs, "index": rows} if index else inputs, labels[rows].astype("float32")))
    return made


class Endless:
    """A loader that makes batches for ever; how many were read is counted."""

    def __init__(self, pairs):
        self.batches, self.read = batches(pairs, range(240)), 0

    def __iter__(self):
        while True:
            for batch in self.batches:
                self.read += 1
                yield batch


ORDERS = {
    "the last batch dropped": range(200),
    "with replacement": [0, 1, 1, 5] * 50,
    "one sample only": [239] * 80,
    "backwards": range(239, -1, -1),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("off", OFF)
def test_without_confidence_weights_the_index_plays_no_part(ready_model, pairs, off, order):
    history = ready_model(**OFF[off]).fit(batches(pairs, list(ORDERS[order])), epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert history["skipped"] == [0, 0]


@pytest.mark.parametrize("order", ["the last batch dropped", "with replacement", "one sample only"])
def test_with_confidence_weights_every_sample_comes_once(ready_model, pairs, order):
    loader = batches(pairs, [239, *ORDERS[order]])
    with pytest.raises(ValueError, match=r"index (must name each sample once|out of range)"):
        ready_model().fit(loader, epochs=1, verbose=0)


def two_branches():
    return {f"{name}_branch": sk.HashBranch(20, (32,)) for name in ("image", "text")}


@pytest.mark.parametrize(
    "method",
    [name for name in BASELINES if name not in ("nrch", "rshnl", "nacd", "dgcpn", "cpah", "cirh", "mian")],
)
def test_methods_without_weights_take_any_loader(pairs, method):
    model = BASELINES[method](20, 8, **two_branches())
    model.compile(keras.optimizers.Adam(1e-3), **EAGERLY)
    history = model.fit(batches(pairs, [3] * 20 + [5] * 20), epochs=1, verbose=0).history
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize("method", ["nrch", "rshnl"])
def test_methods_with_weights_need_the_index(pairs, method):
    model = BASELINES[method](20, 8, **two_branches())
    model.compile("adam")
    with pytest.raises(ValueError, match="The loader yields no 'index'"):
        model.fit(batches(pairs, range(240), index=False), epochs=1, verbose=0)


def test_an_endless_loader_trains_for_steps_per_epoch(ready_model, pairs):
    loader = Endless(pairs)
    model = ready_model(confidence_weighting=False)
    history = model.fit(loader, epochs=3, steps_per_epoch=4, verbose=0).history
    assert len(history["loss"]) == 3
    assert loader.read <= 2 * 4 + 3 * 4  # the check, a look ahead, and the epochs


@pytest.mark.parametrize("steps", [0, -1, 1.5])
def test_bad_steps_are_named(ready_model, pairs, steps):
    with pytest.raises(ValueError, match="steps_per_epoch must be an int"):
        ready_model(confidence_weighting=False).fit(Endless(pairs), steps_per_epoch=steps, verbose=0)


def test_bad_data_within_the_steps_is_refused_before_the_first(ready_model, pairs):
    loader = batches(pairs, range(240))
    loader[3][0]["image"][2] = np.nan
    model = ready_model(confidence_weighting=False)
    with pytest.raises(ValueError, match="image must be finite; row 122"):
        model.fit(loader, steps_per_epoch=4, epochs=1, verbose=0)


def test_a_generator_is_refused_and_what_to_do_is_said(ready_model, pairs):
    with pytest.raises(ValueError, match=r"generator.*IterableDataset, or tf\.data\.Dataset\.from_generator"):
        ready_model(confidence_weighting=False).fit(iter(Endless(pairs)), steps_per_epoch=2, verbose=0)


class OwnData(keras.utils.PyDataset):
    def __init__(self, batches, endless=False):
        super().__init__()
        self.batches, self.endless = batches, endless

    @property
    def num_batches(self):
        return None if self.endless else len(self.batches)

    def __getitem__(self, batch):
        return self.batches[batch % len(self.batches)]


@pytest.mark.parametrize("settings", [{}, {"confidence_weighting": False}], ids=["weights", "no weights"])
def test_a_dataset_of_keras_of_ones_own(ready_model, pairs, settings):
    history = ready_model(**settings).fit(OwnData(batches(pairs, range(240))), epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_an_endless_dataset_of_keras_needs_steps(ready_model, pairs):
    own = OwnData(batches(pairs, range(240)), endless=True)
    model = ready_model(confidence_weighting=False)
    with pytest.raises(ValueError, match=r"never ends: .*set steps_per_epoch"):
        model.fit(own, epochs=1, verbose=0)
    assert len(model.fit(own, epochs=2, steps_per_epoch=3, verbose=0).history["loss"]) == 2
    with pytest.raises(ValueError, match="never ends"):
        ready_model().fit(own, epochs=1, steps_per_epoch=3, verbose=0)


def torch_loader(pairs, kind):
    torch = pytest.importorskip("torch")
    x, labels = pairs

    def sample(row):
        inputs = {name: values[row].astype("float32") for name, values in x.items()}
        return {**inputs, "index": row}, labels[row].astype("float32")

    class Pairs(torch.utils.data.Dataset):
        def __len__(self):
            return len(labels)

        def __getitem__(self, row):
            return sample(row)

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return (sample(row) for row in range(200))

    weighted = torch.utils.data.WeightedRandomSampler(torch.ones(240), 100)
    with_replacement = torch.utils.data.RandomSampler(range(240), replacement=True, num_samples=300)
    subset = torch.utils.data.SubsetRandomSampler(range(50, 130))
    return {
        "drop_last": lambda: torch.utils.data.DataLoader(Pairs(), 64, shuffle=True, drop_last=True),
        "weighted": lambda: torch.utils.data.DataLoader(Pairs(), 64, sampler=weighted),
        "replacement": lambda: torch.utils.data.DataLoader(Pairs(), 64, sampler=with_replacement),
        "subset": lambda: torch.utils.data.DataLoader(Pairs(), 64, sampler=subset),
        "stream": lambda: torch.utils.data.DataLoader(Stream(), 64),
    }[kind]()


@pytest.mark.parametrize("kind", ["drop_last", "weighted", "replacement", "subset", "stream"])
def test_samplers_and_streams_of_pytorch(ready_model, pairs, kind):
    model = ready_model(confidence_weighting=False)
    assert np.isfinite(model.fit(torch_loader(pairs, kind), epochs=2, verbose=0).history["loss"]).all()


def test_datasets_of_tensorflow_of_any_length(ready_model, pairs):
    tf = pytest.importorskip("tensorflow")
    x, labels = pairs
    x = {name: values.astype("float32") for name, values in x.items()}

    def samples():
        for row in range(200):
            yield {name: values[row] for name, values in x.items()}, labels[row].astype("float32")

    signature = (
        {name: tf.TensorSpec(values.shape[1:], "float32") for name, values in x.items()},
        tf.TensorSpec((8,), "float32"),
    )
    unknown = tf.data.Dataset.from_generator(samples, output_signature=signature).batch(50)
    assert int(unknown.cardinality()) == -2
    model = ready_model(confidence_weighting=False)
    assert len(model.fit(unknown, epochs=2, verbose=0).history["loss"]) == 2
    endless = tf.data.Dataset.from_tensor_slices((x, labels.astype("float32"))).repeat().batch(50)
    assert len(model.fit(endless, epochs=2, steps_per_epoch=3, verbose=0).history["loss"]) == 2
    with pytest.raises(ValueError, match=r"never ends: drop its \.repeat\(\), or set steps_per_epoch"):
        model.fit(endless, epochs=1, verbose=0)


class Passes:
    """A loader whose passes differ: `passes(n)` are the batches of pass n."""

    def __init__(self, passes):
        self.passes, self.begun = passes, 0

    def __iter__(self):
        self.begun += 1
        yield from self.passes(self.begun)


@pytest.mark.parametrize("steps", [None, 4])
def test_an_endless_loader_with_an_index_is_refused_and_not_read_for_ever(ready_model, pairs, steps):
    loader = Endless(pairs)
    with pytest.raises(
        ValueError, match=r"once a pass; 0 came twice\..*never end.*confidence_weighting=False"
    ):
        ready_model().fit(loader, epochs=1, steps_per_epoch=steps, verbose=0)
    assert loader.read < 60


def test_the_log_says_that_a_loader_is_read_whole_before_training(ready_model, pairs, monkeypatch, caplog):
    monkeypatch.setattr(data, "PATIENCE", 0.0)
    ready_model(confidence_weighting=False).fit(batches(pairs, range(240)), epochs=0, verbose=0)
    [record] = [record for record in caplog.records if record.name == data.__name__]
    assert "has yielded 1 batches and goes on" in record.getMessage()
    assert "set steps_per_epoch" in record.getMessage()


@pytest.mark.parametrize(("now", "said"), [(range(200), "and now 5"), ([*range(240), 0], "and now more")])
def test_a_pass_of_another_length_is_refused_and_nothing_left_out(ready_model, pairs, now, said):
    loader = Passes(lambda number: batches(pairs, range(240) if number == 1 else now))
    with pytest.raises(
        ValueError, match=f"the same number of batches in each pass; .* 6, {said}.*steps_per_epoch"
    ):
        ready_model(confidence_weighting=False).fit(loader, epochs=1, verbose=0)


def test_with_steps_a_pass_may_have_any_length(ready_model, pairs):
    loader = Passes(lambda number: batches(pairs, range(200 + 40 * number)[:240]))
    model = ready_model(confidence_weighting=False)
    assert len(model.fit(loader, epochs=3, steps_per_epoch=4, verbose=0).history["loss"]) == 3


def test_an_index_that_counts_the_order_of_a_pass_is_refused(ready_model, pairs):
    """As tf.data's `shuffle().enumerate()` has it: each number once a pass, of another sample each time."""

    def counted(number):
        order = np.random.default_rng(number).permutation(240)
        made = batches(pairs, order)
        for place, (x, _) in enumerate(made):
            x["index"] = np.arange(40 * place, 40 * place + 40)
        return made

    with pytest.raises(
        ValueError, match=r"the loader, batch 0: index must name the same sample in each pass"
    ):
        ready_model().fit(Passes(counted), epochs=3, verbose=0)


def test_a_pass_for_the_confidence_that_leaves_samples_out_is_refused(ready_model, pairs):
    loader = data.LoaderPairs(Passes(lambda number: batches(pairs, range(240 if number == 1 else 200))))
    model = ready_model()
    model.build(loader.shapes)
    with pytest.raises(
        ValueError, match=r"each sample in each pass; 40 are left out, the first .* index 200"
    ):
        model.codes_of(loader)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"validation_steps": 0}, "validation_data: validation_steps must be an int of at least 1; got 0"),
        ({}, r"validation_data: The loader never ends: .* or set validation_steps"),
    ],
)
def test_steps_of_validation_are_called_by_their_name(ready_model, pairs, arguments, message):
    endless = OwnData(batches(pairs, range(240)), endless=True)
    with pytest.raises(ValueError, match=message):
        ready_model().fit(*pairs, epochs=1, verbose=0, validation_data=endless, **arguments)


@pytest.mark.parametrize("bad", [0, 3])
def test_a_training_that_breaks_off_at_a_batch_leaves_the_model_usable(ready_model, pairs, bad):
    def passes(number):
        for place, batch in enumerate(batches(pairs, range(240))):
            if number > 1 and place == bad:
                raise OSError("the disk is gone")
            yield batch

    model = ready_model()
    with pytest.raises(OSError, match="the disk is gone"):
        model.fit(Passes(passes), epochs=1, verbose=0)
    assert model.encode_image(pairs[0]["image"], verbose=0).shape == (240, 3)
    assert np.isfinite(model.fit(*pairs, epochs=1, verbose=0).history["loss"]).all()
