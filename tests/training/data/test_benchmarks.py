"""The paper's benchmarks from files: MIRFlickr in full size, the others with all their rows and few columns."""

import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy")
h5py = pytest.importorskip("h5py")
import scipy.io  # noqa: E402
import scipy.sparse  # noqa: E402

from benchmarks.stand_in import stand_in_features, write_stand_in  # noqa: E402
from scbch_keras.labels.noise import mixed_symmetric  # noqa: E402
from scbch_keras.training.data.benchmarks import files  # noqa: E402
from scbch_keras.training.data.benchmarks.files import DataError, Reader  # noqa: E402
from scbch_keras.training.data.benchmarks.sets import BENCHMARKS, load_benchmark, read_benchmark  # noqa: E402

pytestmark = [pytest.mark.numpy_only, pytest.mark.filterwarnings("error")]

IMAGE = "mirflickr25k-iall-vgg.mat"


# The ways in which an array lies in a file


def mat5(path, arrays, compress=False):
    scipy.io.savemat(path, arrays, do_compression=compress)


def mat73(path, arrays, **layout):
    """As MATLAB 7.3 writes: a block of text before the HDF5 part, and axes that HDF5 shows turned round."""
    hdf5(path, {key: array.T for key, array in arrays.items()}, userblock_size=512, **layout)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def hdf5(path, arrays, userblock_size=0, **layout):
    with h5py.File(path, "w", userblock_size=userblock_size) as file:
        for key, array in arrays.items():
            file.create_dataset(key, data=array, **layout)


STORAGE = {
    "MATLAB 5": mat5,
    "MATLAB 5, compressed": lambda path, arrays: mat5(path, arrays, compress=True),
    "MATLAB 5, sparse": lambda path, arrays: mat5(
        path, {key: scipy.sparse.csc_array(array.astype(float)) for key, array in arrays.items()}
    ),
    "MATLAB 7.3": mat73,
    "MATLAB 7.3, chunks of columns": lambda path, arrays: mat73(
        path, arrays, chunks=(1, len(next(iter(arrays.values())))), compression="gzip"
    ),
    "MATLAB 7.3, chunks of rows": lambda path, arrays: mat73(path, arrays, chunks=(7, 3), compression="gzip"),
    "HDF5": hdf5,
    "HDF5 after a user block": lambda path, arrays: hdf5(path, arrays, userblock_size=1024),
    "HDF5, compressed": lambda path, arrays: hdf5(path, arrays, chunks=(9, 4), compression="gzip"),
}
DIRECT = {"HDF5", "HDF5 after a user block"}


def noisy_ramp(rows, columns, seed=0, dtype="float32"):
    return (np.arange(rows)[:, None] + np.random.default_rng(seed).random((rows, columns))).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", ">f4"])
@pytest.mark.parametrize("storage", STORAGE)
def test_features_are_the_same_rows_however_they_are_stored(tmp_path, monkeypatch, storage, dtype):
    monkeypatch.setattr(files, "BLOCK_BYTES", 900)  # tens of blocks, of rows or, in tall chunks, of columns
    stored = noisy_ramp(200, 11, dtype=dtype)
    source, cache = tmp_path / "source.mat", tmp_path / "cache"
    STORAGE[storage](source, {"X": stored, "other": 1 - stored})
    for _ in range(2):  # the second time from the copy
        features = Reader(cache).features(source, ["X"], 11, [200])
        assert isinstance(features, np.memmap)
        np.testing.assert_array_equal(features, stored.astype("float32"), strict=True)
    mapped = source if storage in DIRECT and dtype == "float32" else cache
    assert mapped in (features.filename, features.filename.parent)
    assert len(list(cache.glob("*.npy"))) == (mapped is cache)


def test_two_arrays_follow_each_other_and_are_copied_once(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BLOCK_BYTES", 900)
    parts = {"train": noisy_ramp(150, 5), "test": noisy_ramp(70, 5, 1)}
    source, cache = tmp_path / "two.h5", tmp_path / "cache"
    hdf5(source, parts)
    first = Reader(cache)
    features = first.features(source, ["train", "test"], 5, [150, 70])
    np.testing.assert_array_equal(features, np.concatenate(list(parts.values())), strict=True)
    (copy,) = cache.glob("*.npy")
    assert copy.name == f"{files.sha256_of(source)[:16]}-train+test.npy"
    written = copy.stat().st_mtime_ns
    second = Reader(cache)
    np.testing.assert_array_equal(second.features(source, ["train", "test"], 5, [150, 70]), features)
    assert copy.stat().st_mtime_ns == written
    assert first.sources == second.sources
    assert first.sources[0].arrays == {"train": "(150, 5) float32", "test": "(70, 5) float32"}
    with pytest.raises(DataError, match=r"train in .*two.h5 must have shape \(70, 5\), got \(150, 5\)"):
        second.features(source, ["train", "test"], 5, [70, 150])


@pytest.mark.parametrize("damage", ["copy", "ledger"])
def test_a_damaged_cache_is_made_anew(tmp_path, damage):
    source, cache, stored = tmp_path / "x.h5", tmp_path / "cache", noisy_ramp(300, 5, dtype="float64")
    hdf5(source, {"X": stored})
    Reader(cache).features(source, ["X"], 5, [300])
    broken = next(cache.glob("*.npy")) if damage == "copy" else cache / "known.json"
    broken.write_bytes(broken.read_bytes()[:-50])
    np.testing.assert_array_equal(
        Reader(cache).features(source, ["X"], 5, [300]), stored.astype("float32"), strict=True
    )
    assert json.loads((cache / "known.json").read_text())["arrays"]


def test_the_checksum_of_a_large_file_is_remembered_until_the_file_changes(tmp_path):
    large, cache = tmp_path / "large.bin", tmp_path / "cache"
    large.write_bytes(bytes(files.REMEMBERED_BYTES))
    status, first = large.stat(), Reader(cache).sha256(large)
    assert first == files.sha256_of(large)
    with large.open("r+b") as file:
        file.write(b"changed")
    os.utime(large, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert Reader(cache).sha256(large) == first
    os.utime(large, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert Reader(cache).sha256(large) == files.sha256_of(large) != first


@pytest.mark.parametrize(("write", "chunks"), [(mat73, (1, 20_000)), (mat73, (16, 100)), (hdf5, (100, 16))])
def test_features_never_stand_in_memory(tmp_path, monkeypatch, write, chunks):
    monkeypatch.setattr(files, "BLOCK_BYTES", 2**18)
    source = tmp_path / "large.h5"
    write(source, {"X": np.ones((20_000, 64))}, chunks=chunks, compression="lzf")  # 10 MB
    tracemalloc.start()
    Reader(tmp_path).features(source, ["X"], 64, [20_000])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6


# The table, and the community's files with the benchmarks' own row counts


def test_the_table_is_the_papers():
    table = {
        name: (
            b.classes,
            b.words,
            b.query,
            b.train,
            b.rows,
            b.image_columns,
            b.hdf5,
            b.noise.format(rate=0.5),
        )
        for name, b in BENCHMARKS.items()
    }
    assert table == {
        "mirflickr": (
            *(24, 1386, 2000, 10_000, 20_015, 4096, "MIRFlickr.h5"),
            "mirflickr25k-lall-noise_0.5.h5",
        ),
        "nus-wide": (*(21, 1000, 2100, 10_500, None, 4096, "NUS-WIDE.h5"), "nus-wide-tc21-lall-noise_0.5.h5"),
        "ms-coco": (*(80, 300, 5000, 10_000, None, 4096, "MS-COCO.h5"), "MSCOCO-lall-noise_0.5.h5"),
        "iapr-tc12": (*(255, 2912, 2000, 10_000, None, 4096, "IAPR.h5"), "IAPR-lall-noise_0.5.h5"),
    }


COMMUNITY = {
    "mirflickr": {
        "mirflickr25k-iall-vgg.mat": {"XAll": "image"},
        "mirflickr25k-yall.mat": {"YAll": "text"},
        "mirflickr25k-lall.mat": {"LAll": "labels"},
    },
    "nus-wide": {
        "nus-wide-tc21-xall-vgg-clean.mat": {"XAll": "image"},
        "nus-wide-tc21-yall-clean.mat": {"YAll": "text"},
        "nus-wide-tc21-lall-clean.mat": {"LAll": "labels"},
    },
    "ms-coco": {
        "MSCOCO_deep_doc2vec_data.h5py": {
            **{"train_imgs_deep": "image", "test_imgs_deep": "image", "train_imgs_labels": "labels"},
            **{"test_imgs_labels": "labels", "train_text": "text", "test_text": "text"},
        }
    },
    "iapr-tc12": {
        "iapr-tc12-rand.mat": {
            **{"VDatabase": "image", "VTest": "image", "YDatabase": "text"},
            **{"YTest": "text", "databaseL": "labels", "testL": "labels"},
        }
    },
}
SIDES = {"Train": "train", "Query": "query", "DataBase": "database"}


def narrow(name):
    """The benchmark with all of its rows and labels, 8 image and 6 text features."""
    return replace(BENCHMARKS[name], image_columns=8, words=6)


def content(name, seed=0):
    benchmark, rng = narrow(name), np.random.default_rng(seed)
    rows = benchmark.rows or benchmark.query + benchmark.train + 50
    return {
        "image": noisy_ramp(rows, 8, seed),
        "text": rng.integers(0, 2, (rows, 6)).astype("uint8"),
        "labels": (rng.random((rows, benchmark.classes)) < 0.1).astype("uint8"),
    }


def write_community(folder, name, arrays, write):
    cut = len(arrays["labels"]) - 1100
    for file, keys in COMMUNITY[name].items():
        parts = {}
        for key, kind in keys.items():
            whole = arrays[kind]
            first = key.startswith("train") or "atabase" in key
            parts[key] = whole if len(keys) == 1 else whole[:cut] if first else whole[cut:]
        write(folder / file, parts)


def write_one_hdf5(folder, name, arrays, **layout):
    b = narrow(name)
    sides = {
        "Train": slice(b.query, b.query + b.train),
        "Query": slice(0, b.query),
        "DataBase": slice(b.query, None),
    }
    prefixes = {"Img": "image", "Tag": "text", "Lab": "labels"}
    parts = {p + side: arrays[kind][rows] for p, kind in prefixes.items() for side, rows in sides.items()}
    hdf5(folder / b.hdf5, parts, **layout)


def check_split(data, name, arrays):
    """Every row is where the paper's split puts it."""
    query, train = BENCHMARKS[name].query, BENCHMARKS[name].train
    rows = np.arange(len(arrays["labels"]))
    for pairs, numbers in (
        (data.query, rows[:query]),
        (data.train, rows[query : query + train]),
        (data.database, rows[query:]),
    ):
        for features, raw in ((pairs.image, arrays["image"]), (pairs.text, arrays["text"])):
            assert isinstance(features, np.memmap)
            assert features.dtype == np.float32
            # not assert_array_equal, which takes ten times as long
            assert np.array_equal(features, raw[numbers[0] : numbers[-1] + 1])
        np.testing.assert_array_equal(pairs.clean_labels, arrays["labels"][numbers], strict=True)
        np.testing.assert_array_equal(pairs.ids, numbers.astype(str), strict=True)
    for pairs in (data.query, data.database):
        np.testing.assert_array_equal(pairs.labels, pairs.clean_labels, strict=True)


@pytest.mark.parametrize("storage", ["MATLAB 5", "MATLAB 7.3", "HDF5"])
@pytest.mark.parametrize("name", COMMUNITY)
def test_the_communitys_files_are_split_as_the_paper_does(tmp_path, name, storage):
    arrays = content(name)
    write_community(tmp_path, name, arrays, STORAGE[storage])
    data = read_benchmark(name, narrow(name), tmp_path, 0.0, 0, tmp_path / "cache")
    check_split(data, name, arrays)
    assert (data.name, data.title, data.stand_in) == (name, BENCHMARKS[name].title, False)
    assert data.notes["noise"] == "none"
    np.testing.assert_array_equal(data.train.labels, data.train.clean_labels)
    assert len(data.label_names) == BENCHMARKS[name].classes
    assert {source.name for source in data.sources} == set(COMMUNITY[name])
    for source in data.sources:
        assert source.sha256 == files.sha256_of(tmp_path / source.name)
        assert source.arrays.keys() == COMMUNITY[name][source.name].keys()


@pytest.mark.parametrize("layout", [{}, {"dtype": "float64", "compression": "lzf"}])
@pytest.mark.parametrize("name", COMMUNITY)
def test_the_authors_one_hdf5_file_gives_the_same(tmp_path, name, layout):
    arrays = content(name)
    write_one_hdf5(tmp_path, name, arrays, **layout)
    data = read_benchmark(name, narrow(name), tmp_path, 0.0, 0, tmp_path / "cache")
    check_split(data, name, arrays)
    mapped_in_place = data.train.image.filename == tmp_path / BENCHMARKS[name].hdf5
    assert mapped_in_place == (layout == {})
    again = read_benchmark(name, narrow(name), tmp_path, 0.0, 0, tmp_path / "cache")
    assert again.sources == data.sources
    assert len(data.sources[0].arrays) == 9


def test_the_one_hdf5_files_training_set_must_be_the_first_of_its_database(tmp_path):
    for key in ("ImgTrain", "TagTrain", "LabTrain"):
        write_one_hdf5(tmp_path, "mirflickr", content("mirflickr"))
        with h5py.File(tmp_path / "MIRFlickr.h5", "r+") as file:
            file[key][9999] = 1 - file[key][9999]
        with pytest.raises(DataError, match=f"{key} in .* must be the first 10000 rows of {key[:3]}DataBase"):
            read_benchmark("mirflickr", narrow("mirflickr"), tmp_path, 0.0, 0, tmp_path / "cache")


def test_without_a_published_file_noise_is_drawn_from_the_seed(tmp_path):
    arrays = content("iapr-tc12")
    write_community(tmp_path, "iapr-tc12", arrays, mat5)
    data = read_benchmark("iapr-tc12", narrow("iapr-tc12"), tmp_path, 0.3, 7, tmp_path / "cache")
    check_split(data, "iapr-tc12", arrays)
    np.testing.assert_array_equal(
        data.train.labels, mixed_symmetric(arrays["labels"][2000:12_000], 0.3, 7).labels, strict=True
    )
    assert data.notes["noise"] == "generated: mixed symmetric at rate 0.3 from seed 7"


# MIRFlickr's real labels, tags and published noise, in full size


@pytest.fixture(scope="module")
def real(mirflickr):
    return {
        "labels": scipy.io.loadmat(mirflickr / "mirflickr25k-lall.mat")["LAll"],
        "text": scipy.io.loadmat(mirflickr / "mirflickr25k-yall.mat")["YAll"],
    }


@pytest.fixture(scope="module")
def stand_in(mirflickr, real, tmp_path_factory):
    """The real files with made-up image features: 328 MB, twice once the features are copied."""
    folder = tmp_path_factory.mktemp("mirflickr")
    for path in mirflickr.glob("mirflickr25k-*"):
        shutil.copy(path, folder)
    yield write_stand_in("mirflickr", folder, real["labels"], real["text"], seed=1)
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.shared_data
def test_mirflickr_in_full_size_with_the_published_noise(mirflickr, real, stand_in):
    arrays = {**real, "image": np.ascontiguousarray(scipy.io.loadmat(stand_in / IMAGE)["XAll"])}
    assert arrays["image"].shape == (20_015, 4096)
    for rate in (0.2, 0.5, 0.8):
        data = load_benchmark("mirflickr", stand_in, rate)
        with h5py.File(mirflickr / f"mirflickr25k-lall-noise_{rate}.h5") as file:
            published = file["result"][()]
        np.testing.assert_array_equal(data.train.labels, published)
        assert data.train.labels.dtype == np.uint8
        assert data.notes["noise"] == (
            f"published: mirflickr25k-lall-noise_{rate}.h5, {round(10_000 * rate)} of 10000 training rows differ"
        )
    check_split(data, "mirflickr", arrays)
    assert data.stand_in
    assert data.title == "MIRFlickr-25K, stand-in features"
    assert {source.name: source.arrays for source in data.sources}["mirflickr25k-yall.mat"] == {
        "YAll": "(20015, 1386) uint8"
    }
    # the real files beside the made-up features were left as they are
    assert (stand_in / "mirflickr25k-lall.mat").read_bytes() == (
        mirflickr / "mirflickr25k-lall.mat"
    ).read_bytes()


@pytest.mark.shared_data
def test_a_disk_that_is_full_leaves_no_part_of_a_copy(stand_in, tmp_path):
    script = (
        "import resource, sys; from scbch_keras.training.data.benchmarks.sets import load_benchmark\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**26, 2**26))\n"
        "try: load_benchmark('mirflickr', sys.argv[1], cache=sys.argv[2])\n"
        "except ValueError as error: print(error)"
    )
    command = [sys.executable, "-c", script, str(stand_in), str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "cannot be written to the cache folder" in said
    assert "it takes 111 MB" in said  # the tags are copied first
    assert f"{tmp_path}" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.shared_data
@pytest.mark.parametrize(("rate", "seed"), [(0.0, 0), (0.5, 3)])
def test_the_subset_is_the_benchmarks(mirflickr, rate, seed):
    with np.load(mirflickr / "mirflickr_subset_724.npz") as file:
        image, text, labels = file["image"], file["text"], file["label"]
    image = image / np.sqrt(np.mean(np.square(image)))
    rng = np.random.default_rng(seed)
    order = rng.permutation(724)
    query, train = (
        ({"image": image[rows], "text": text[rows]}, labels[rows]) for rows in (order[:124], order[124:])
    )
    noisy = mixed_symmetric(train[1], rate, rng).labels
    data = load_benchmark("mirflickr-subset", mirflickr, rate, seed)
    for pairs, (features, labels) in ((data.query, query), (data.train, train), (data.database, train)):
        np.testing.assert_array_equal(pairs.image, features["image"], strict=True)
        np.testing.assert_array_equal(pairs.text, features["text"].astype("float32"), strict=True)
        np.testing.assert_array_equal(pairs.clean_labels, labels, strict=True)
    np.testing.assert_array_equal(data.train.labels, noisy, strict=True)
    np.testing.assert_array_equal(data.database.labels, train[1], strict=True)
    assert sorted(map(int, [*data.query.ids, *data.train.ids])) == list(range(724))
    assert "MIRFlickr-25K" not in data.title
    assert not (mirflickr / ".scbch-cache").exists()


def test_tags_are_labels_and_no_words_of_the_texts(mirflickr):
    subset, tags = (
        load_benchmark(name, mirflickr, 0.0, 3) for name in ("mirflickr-subset", "mirflickr-tags")
    )
    assert len(tags.label_names) == tags.train.labels.shape[1] == 21
    np.testing.assert_array_equal(tags.train.image, subset.train.image, strict=True)
    np.testing.assert_array_equal(tags.train.ids, subset.train.ids, strict=True)
    for pairs in (tags.query, tags.database):
        np.testing.assert_array_equal(pairs.labels, pairs.clean_labels, strict=True)
    given, true = tags.train.labels != 0, tags.train.clean_labels != 0
    # As people tag: hardly a wrong one, most missing, and of each concept more right than by chance.
    assert (given & ~true).sum() < 0.25 * given.sum()
    assert 0.8 < (true & ~given).sum() / true.sum() < 0.95
    frequent = (given.sum(axis=0) >= 5) & (true.mean(axis=0) < 0.3)
    right = (given & true).sum(axis=0) / np.maximum(given.sum(axis=0), 1)
    assert (right > 2 * true.mean(axis=0))[frequent].all()
    words = subset.train.text.sum() - tags.train.text.sum()
    assert tags.train.text.shape[1] == 1386 - 25
    assert words >= given.sum()
    noisy = load_benchmark("mirflickr-tags", mirflickr, 0.5, 3).train.labels
    assert (noisy != tags.train.labels).any(axis=1).mean() == pytest.approx(0.5, abs=0.01)


def test_made_up_features_are_reproducible_and_tell_a_little_about_the_labels():
    labels = (np.random.default_rng(0).random((3000, 24)) < 0.2).astype("uint8")
    features = stand_in_features(labels, 5, 256)
    assert features.dtype == np.float32
    assert features.min() == 0
    assert 0.3 < (features > 0).mean() < 0.7
    np.testing.assert_array_equal(features, stand_in_features(labels, 5, 256))
    assert (features != stand_in_features(labels, 6, 256)).any()
    share = [np.corrcoef(features[:, i], labels[:, 0])[0, 1] ** 2 for i in range(256)]
    assert 3 / 3000 < np.mean(share) < 0.05


# Bad input


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A folder of good narrow MIRFlickr files."""
    folder = tmp_path_factory.mktemp("good")
    arrays = content("mirflickr")
    write_community(folder, "mirflickr", arrays, mat5)
    clean = arrays["labels"][2000:12_000].astype(float)
    hdf5(folder / "mirflickr25k-lall-noise_0.5.h5", {"True": clean, "result": clean[:, ::-1]})
    return folder


def cut(size):
    return lambda path: path.write_bytes(path.read_bytes()[:size])


def rewrite(write, **arrays):
    return lambda path: write(path, arrays)


def ramp(rows=20_015, columns=8, **places):
    array = noisy_ramp(rows, columns, dtype="float64")
    for row, value in places.items():
        array[int(row[1:]), 3] = value
    return array


LABELS, NOISE = "mirflickr25k-lall.mat", "mirflickr25k-lall-noise_0.5.h5"
BAD = [
    (IMAGE, os.remove, "mirflickr25k-iall-vgg.mat is not in"),
    (
        IMAGE,
        lambda path: path.write_text("<!DOCTYPE html><title>Sign in</title>" * 9),
        "neither a MATLAB file .* begins with b'<!DOC",
    ),
    (IMAGE, cut(0), "neither a MATLAB file .* it is empty"),
    (IMAGE, cut(100), "is cut short: a MATLAB file of 100 bytes"),
    (IMAGE, cut(5000), "iall-vgg.mat is cut short or damaged"),
    (LABELS, cut(100_000), "lall.mat is cut short or damaged"),
    (NOISE, cut(100_000), "lall-noise_0.5.h5 is cut short or damaged: .*truncated"),
    (IMAGE, rewrite(mat5, IAll=ramp(9)), "has no array XAll; it holds IAll"),
    (IMAGE, rewrite(hdf5, IAll=ramp(9)), "has no array XAll; it holds IAll"),
    (
        IMAGE,
        rewrite(mat5, XAll=ramp(columns=7)),
        r"XAll in .* must have shape \(20015, 8\), got \(20015, 7\)",
    ),
    (IMAGE, rewrite(mat5, XAll=ramp(20_014)), r"XAll in .* must have shape \(20015, 8\), got \(20014, 8\)"),
    (IMAGE, rewrite(hdf5, XAll=ramp(20_014)), r"XAll in .* must have shape \(20015, 8\), got \(20014, 8\)"),
    (IMAGE, rewrite(hdf5, XAll=ramp(r17=np.nan)), "XAll in .* must be finite as float32; row 17 holds NaN"),
    (IMAGE, rewrite(mat5, XAll=ramp(r20014=1e39)), "XAll in .* must be finite as float32; row 20014 holds"),
    (
        IMAGE,
        rewrite(hdf5, XAll=ramp(r5=np.inf).astype("float32")),
        "XAll in .* must be finite as float32; row 5 ",
    ),
    (IMAGE, rewrite(mat5, XAll={"a": 1.0}), "XAll in .* must hold real numbers, got a struct"),
    (IMAGE, rewrite(mat5, XAll=ramp() * 1j), "XAll in .* must hold real numbers, got complex numbers"),
    (IMAGE, rewrite(hdf5, **{"XAll/data": ramp(9)}), "it is a group, expected an array"),
    (LABELS, rewrite(mat5, LAll=np.ones((20_014, 24))), "MIRFlickr-25K has 20015 rows, got labels of 20014"),
    (LABELS, rewrite(mat5, LAll=2 * np.ones((20_015, 24))), r"LAll in .* must hold only 0 and 1; .* is 0 "),
    (LABELS, rewrite(mat5, LAll=np.ones((20_015, 23))), r"LAll in .* must have shape \(rows, 24\), got"),
    (NOISE, rewrite(hdf5, result=np.ones((10_000, 24))), "has no array True; it holds result"),
    (
        NOISE,
        rewrite(hdf5, **dict.fromkeys(("True", "result"), np.ones((9, 24)))),
        r"True of .* \(10000, 24\), got",
    ),
    (
        NOISE,
        rewrite(hdf5, **dict.fromkeys(("True", "result"), np.ones((10_000, 24)))),
        "must be the clean training labels, but 10000 rows differ, the first of them row 0",
    ),
]


@pytest.mark.parametrize(("file", "spoil", "message"), BAD)
def test_bad_files_are_refused_with_what_is_expected_and_found(good, tmp_path, file, spoil, message):
    folder = tmp_path / "data"
    shutil.copytree(good, folder)
    spoil(folder / file)
    with pytest.raises(DataError, match=message) as refusal:
        read_benchmark("mirflickr", narrow("mirflickr"), folder, 0.5, 0, tmp_path / "cache")
    said = str(refusal.value)
    for part in (
        *(f"Expected in {folder}", "community", "MIRFlickr.h5 with", "ImgDataBase (18015, 8)"),
        *("mirflickr25k-iall-vgg.mat: XAll (20015, 8)", "mirflickr25k-lall-noise_RATE.h5"),
        *("Found there: ", "mirflickr25k-yall.mat"),
    ):
        assert part in said
    assert not list(tmp_path.glob("cache/.*"))
    assert not list(tmp_path.glob("cache/*XAll.npy")) or file == NOISE


def test_parts_that_do_not_match_are_refused_though_their_sums_do(tmp_path):
    arrays = content("ms-coco")
    write_community(tmp_path, "ms-coco", arrays, hdf5)
    with h5py.File(tmp_path / "MSCOCO_deep_doc2vec_data.h5py", "r+") as file:
        del file["train_text"], file["test_text"]
        file["train_text"], file["test_text"] = arrays["text"][:1100], arrays["text"][1100:]
    with pytest.raises(DataError, match=r"train_text in .* must have shape \(13950, 6\), got \(1100, 6\)"):
        read_benchmark("ms-coco", narrow("ms-coco"), tmp_path, 0.0, 0, tmp_path / "cache")


def test_a_benchmark_must_have_a_database_beyond_its_training_set(tmp_path):
    arrays = {kind: array[:12_600] for kind, array in content("nus-wide").items()}
    write_community(tmp_path, "nus-wide", arrays, mat5)
    with pytest.raises(
        DataError, match=r"more rows than the 2100 queries .* 12600 in all; got labels of 12600"
    ):
        read_benchmark("nus-wide", narrow("nus-wide"), tmp_path, 0.0, 0, tmp_path / "cache")


def test_a_cache_folder_that_cannot_be_is_told(good, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be written to the cache folder .*another folder as `cache`"):
        read_benchmark("mirflickr", narrow("mirflickr"), good, 0.0, 0, tmp_path / "file")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mirflickr25k", "."), "name must be one of 'mirflickr', .*'mirflickr-tags'; got 'mirflickr25k'"),
        (("mirflickr", ".", 1.5), r"noise must be a number in \[0, 1\]; got 1.5"),
        (("mirflickr", ".", float("nan")), "noise must be .* got nan"),
        (("mirflickr", ".", True), "noise must be .* got True"),
        (("mirflickr", ".", 0.5, -1), "seed must be an int of at least 0; got -1"),
        (("mirflickr", "/no/such/folder"), "Found there: nothing, there is no such folder"),
        (("mirflickr-subset", "/no/such/folder"), r"724.npz is missing\nExpected in .*image \(724, 1280\)"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_benchmark(*arguments)


def test_a_stand_in_never_takes_the_place_of_real_features(tmp_path):
    labels, text = np.ones((30, 24), "uint8"), np.ones((30, 1386), "uint8")
    (tmp_path / IMAGE).write_bytes(b"real")
    with pytest.raises(ValueError, match="holds features that are no stand-in"):
        write_stand_in("mirflickr", tmp_path, labels, text, 0)
    assert [path.name for path in tmp_path.iterdir()] == [IMAGE]
    with pytest.raises(ValueError, match=r"text must have shape \(30, 1386\), got \(30, 9\)"):
        write_stand_in("mirflickr", tmp_path / "new", labels, text[:, :9], 0)
    with pytest.raises(ValueError, match="name must be one of"):
        write_stand_in("mirflickr-subset", tmp_path / "new", labels, text, 0)
