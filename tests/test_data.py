import numpy as np
import pytest

import scbch_keras as sk
from scbch_keras.data import LoaderPairs


@pytest.fixture
def arrays(pairs):
    x, labels = pairs
    return {**{name: array[:50] for name, array in x.items()}, "labels": labels[:50]}


def epoch_of(data):
    return np.concatenate([data[i][0]["index"] for i in range(data.num_batches)])


def test_an_epoch_holds_every_sample_once_with_its_index(arrays):
    data = sk.PairDataset(**arrays, batch_size=16, seed=1, sample_weight=np.arange(50.0))
    batches = [data[i] for i in range(data.num_batches)]
    assert [len(y) for _, y, _ in batches] == [16, 16, 16, 2]
    assert sorted(np.concatenate([x["index"] for x, _, _ in batches])) == list(range(50))
    for x, y, weight in batches:
        np.testing.assert_array_equal(x["image"], arrays["image"][x["index"]])
        np.testing.assert_array_equal(x["text"], arrays["text"][x["index"]])
        np.testing.assert_array_equal(y, arrays["labels"][x["index"]])
        np.testing.assert_array_equal(weight, x["index"])


def test_the_order_follows_from_seed_and_epoch_alone(arrays):
    first, second = (sk.PairDataset(**arrays, batch_size=16, seed=1) for _ in range(2))
    orders = []
    for epoch in (0, 1, 2):
        first.set_epoch(epoch)
        orders.append(epoch_of(first))
    assert not np.array_equal(orders[0], orders[1])
    second.set_epoch(2)  # as after a resume
    np.testing.assert_array_equal(epoch_of(second), orders[2])
    np.testing.assert_array_equal(epoch_of(sk.PairDataset(**arrays, shuffle=False)), np.arange(50))


def test_arrays_on_disk_are_not_read_whole(arrays, tmp_path):
    path = tmp_path / "image.npy"
    np.save(path, arrays["image"])
    data = sk.PairDataset(np.load(path, mmap_mode="r"), arrays["text"], arrays["labels"], batch_size=16)
    assert isinstance(data.image, np.memmap)
    x, _ = data[0]
    np.testing.assert_array_equal(x["image"], arrays["image"][x["index"]])


def broken(name, row=None, value=None, **changes):
    def change(arrays):
        arrays = dict(arrays)
        if row is not None:
            arrays[name] = arrays[name].astype("float32")
            arrays[name][row, 1] = value
        return {**arrays, **{key: f(arrays) for key, f in changes.items()}}

    return change


BAD = {
    "lengths": (
        broken("", text=lambda a: a["text"][:49]),
        r"same number of rows; got image 50, text 49, labels 50",
    ),
    "nan": (broken("image", 7, np.nan), "image must be finite; row 7 holds NaN or inf"),
    "inf": (broken("text", 49, np.inf), "text must be finite; row 49 holds"),
    "not 0/1": (broken("labels", 3, 0.5), "labels must hold only 0 and 1; the first row that does not is 3"),
    "1-D": (broken("", labels=lambda a: a["labels"][:, 0]), r"labels must have shape \(n, classes\)"),
    "empty": (broken("", **{k: lambda a, k=k: a[k][:0] for k in ("image", "text", "labels")}), "empty"),
    "flat image": (broken("", image=lambda a: a["image"][:, 0]), "image must have at least 2 dimensions"),
    "strings": (broken("", text=lambda a: np.full((50, 1), "dog")), "text must hold real numbers"),
    "batch": (broken("", batch_size=lambda a: 0), "batch_size must be an int of at least 1"),
    "weight": (
        broken("", sample_weight=lambda a: -np.ones(50)),
        "sample_weight must be >= 0; row 0 holds -1.0",
    ),
    "weights": (broken("", sample_weight=lambda a: np.ones(49)), "sample_weight 49"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_bad_pairs_are_refused(arrays, change, message):
    with pytest.raises(ValueError, match=message):
        sk.PairDataset(**change(arrays))


def loader_of(arrays, index, batch=16, as_type="int64"):
    """A re-iterable loader of plain dict batches."""
    batches = []
    for start in range(0, 50, batch):
        rows = index[start : start + batch]
        x = {
            "image": arrays["image"][rows % 50],
            "text": arrays["text"][rows % 50],
            "index": rows.astype(as_type),
        }
        batches.append((x, arrays["labels"][rows % 50]))
    return batches


def test_a_loader_is_read_by_index_whatever_its_order(arrays):
    order = np.random.default_rng(0).permutation(50)
    found = LoaderPairs(loader_of(arrays, order))
    assert found.num_samples == 50
    np.testing.assert_array_equal(found.labels, arrays["labels"])
    rows, image, _ = next(iter(found.in_order()))
    np.testing.assert_array_equal(image, arrays["image"][rows])


def without_index(arrays):
    return [({k: v for k, v in x.items() if k != "index"}, y) for x, y in loader_of(arrays, np.arange(50))]


BAD_LOADERS = {
    "no index": (without_index, "The loader yields no 'index'.*confidence_weighting=False"),
    "out of range": (lambda a: loader_of(a, np.arange(50) + 1), r"index out of range: .* 0\.\.49; got 50"),
    "negative": (lambda a: loader_of(a, np.arange(50) - 1), "index out of range: .* got -1"),
    "twice": (lambda a: loader_of(a, np.minimum(np.arange(50), 48)), "once a pass; 48 came twice"),
    "float index": (lambda a: loader_of(a, np.arange(50), as_type="float32"), "index must be integers"),
    "no labels": (
        lambda a: [(x,) for x, _ in loader_of(a, np.arange(50))],
        r"the loader, batch 0: expected \(\{",
    ),
    "no text": (
        lambda a: [({"image": x["image"]}, y) for x, y in without_index(a)],
        "'image' and 'text'; got",
    ),
    "nothing": (lambda a: [], "the loader is empty"),
    "a generator": (lambda a: (b for b in loader_of(a, np.arange(50))), "can be read only once"),
    "nan": (
        lambda a: loader_of(
            {**a, "image": np.where(np.arange(50)[:, None] == 20, np.nan, 1.0)}, np.arange(50)
        ),
        r"the loader, batch 1 \(rows from 16 on\): image must be finite; row 20",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD_LOADERS.values(), ids=BAD_LOADERS)
def test_bad_loaders_are_refused(arrays, make, message):
    with pytest.raises(ValueError, match=message):
        LoaderPairs(make(arrays))
