"""A training set on the accelerator: the same batches, and the same training bit for bit."""

import keras
import numpy as np
import pytest

import scbch_keras as sk
from scbch_keras import backend, device_data

WEIGHT = np.linspace(0.5, 1.5, 240).astype("float32")


def batches(data):
    return [
        keras.tree.map_structure(keras.ops.convert_to_numpy, data[batch]) for batch in range(data.num_batches)
    ]


@pytest.mark.parametrize("kind", ["float64", ">f4", "longdouble", "uint8", "int64", "bool"])
@pytest.mark.parametrize("sample_weight", [None, WEIGHT])
def test_batches_are_those_of_the_pairs_in_every_epoch(pairs, kind, sample_weight):
    x, labels = pairs
    image = (10 * np.abs(x["image"])).astype(kind)
    data = sk.PairDataset(image, x["text"], labels.astype(kind), 64, seed=3, sample_weight=sample_weight)
    kept = device_data.PairsOnDevice(data)
    for epoch in (0, 1):
        data.set_epoch(epoch)
        keras.tree.map_structure(np.testing.assert_array_equal, batches(kept), batches(data))
        assert [one.dtype for one in keras.tree.flatten(batches(kept))] == [
            one.dtype for one in keras.tree.flatten(batches(data))
        ]


def test_a_training_from_there_has_the_same_bits(small_model, pairs, monkeypatch):
    weights = []
    for memory in (0, 2**40):
        monkeypatch.setattr(backend, "free_memory", lambda memory=memory: memory)
        keras.utils.set_random_seed(1)
        model = small_model(warmup_epochs=1)
        model.fit(*pairs, batch_size=64, epochs=2, verbose=0)
        weights.append(model.get_weights())
    for host, device in zip(*weights, strict=True):
        np.testing.assert_array_equal(host, device)


def test_it_stays_where_it_is_if_there_is_no_room_or_somebody_reads_it_otherwise(pairs, monkeypatch):
    data = sk.PairDataset(**pairs[0], labels=pairs[1])
    needed = 4 * (sum(values.size for values in pairs[0].values()) + pairs[1].size)
    for memory, kept in ((0, False), (8 * needed - 1, False), (8 * needed, True)):
        monkeypatch.setattr(backend, "free_memory", lambda memory=memory: memory)
        assert isinstance(device_data.on_device(data), device_data.PairsOnDevice) is kept
    loader = sk.data.LoaderPairs(data).for_keras()
    several = sk.PairDataset(**pairs[0], labels=pairs[1], workers=2)
    own = type("Own", (sk.PairDataset,), {})(**pairs[0], labels=pairs[1])
    assert all(device_data.on_device(other) is other for other in (loader, several, own))
