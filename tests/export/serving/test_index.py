"""HammingIndex: exact, ordered, the same with and without faiss, safe on disk."""

import pickle
import re
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scbch_keras.codes import pack_codes
from scbch_keras.export import HammingIndex

pytestmark = pytest.mark.numpy_only

ENGINES = ("faiss", "numpy")


def random_codes(rng, count, bits, density=0.5):
    return pack_codes(rng.random((count, bits)) < density)


def brute_force(queries, database, bits, k):
    """By unpacked bits and a stable sort: distance first, then the order of adding."""
    q, d = (np.unpackbits(packed, axis=1, count=bits).astype(int) for packed in (queries, database))
    distances = (q[:, None, :] != d[None, :, :]).sum(-1)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


@pytest.fixture(params=ENGINES)
def engine(request):
    if request.param == "faiss":
        pytest.importorskip("faiss")
    return request.param


@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.integers(1, 140),
    size=st.integers(1, 300),
    queries=st.integers(1, 50),
    density=st.sampled_from([0.0, 0.02, 0.5]),
    share=st.floats(0, 1),
)
@settings(max_examples=150, deadline=None)
@pytest.mark.parametrize("name", ENGINES)
def test_search_is_brute_force_with_ties_in_the_order_of_adding(
    name, seed, bits, size, queries, density, share
):
    if name == "faiss":
        pytest.importorskip("faiss")
    rng = np.random.default_rng(seed)
    database, query = random_codes(rng, size, bits, density), random_codes(rng, queries, bits, density)
    k = max(1, round(share * size))
    index = HammingIndex(bits, engine=name)
    cut = size // 3
    index.add(database[:cut])
    index.add(database[cut:])
    ids, distances = index.search(query, k)
    expected_ids, expected_distances = brute_force(query, database, bits, k)
    assert (ids.dtype, distances.dtype) == (np.int64, np.int32)
    np.testing.assert_array_equal(distances, expected_distances)
    np.testing.assert_array_equal(ids, expected_ids)


def test_engines_agree_over_several_blocks_of_a_large_tied_database():
    pytest.importorskip("faiss")
    rng = np.random.default_rng(3)
    database = random_codes(rng, 150_000, 16)
    queries = random_codes(rng, 70, 16)
    results = []
    for name in ENGINES:
        index = HammingIndex(16, engine=name)
        index.add(database)
        results.append(index.search(queries, 500))
    assert (results[0][1][:, -1] < results[0][1].max() + 1).all()
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_given_ids_come_back_and_default_ids_are_positions(engine):
    rng = np.random.default_rng(0)
    codes = random_codes(rng, 5, 32)
    index = HammingIndex(32, engine=engine)
    index.add(codes[:2])
    index.add(codes[2:], ids=np.array([70, 60, 2**62], np.int64))
    assert len(index) == 5
    ids, distances = index.search(codes, 1)
    assert ids[:, 0].tolist() == [0, 1, 70, 60, 2**62]
    assert not distances.any()


def test_places_that_cannot_be_filled_are_marked_as_faiss_marks_them(engine):
    index = HammingIndex(8, engine=engine)
    query = np.array([[255], [0]], np.uint8)
    ids, distances = index.search(query, 2, pad=True)
    assert (ids == -1).all()
    assert (distances == 2**31 - 1).all()
    index.add(np.array([[254]], np.uint8), ids=[9])
    ids, distances = index.search(query, 3, pad=True)
    assert ids.tolist() == [[9, -1, -1], [9, -1, -1]]
    assert distances.tolist() == [[1, 2**31 - 1, 2**31 - 1], [7, 2**31 - 1, 2**31 - 1]]
    faiss = pytest.importorskip("faiss")
    theirs = faiss.IndexBinaryFlat(8)
    theirs.add(np.array([[254]], np.uint8))
    assert theirs.search(query, 3)[0].tolist() == distances.tolist()
    assert theirs.search(query, 3)[1][:, 1:].tolist() == ids[:, 1:].tolist()


def test_no_queries_give_no_results(engine):
    index = HammingIndex(12, engine=engine)
    index.add(np.zeros((3, 2), np.uint8))
    ids, distances = index.search(np.zeros((0, 2), np.uint8), 2)
    assert ids.shape == distances.shape == (0, 2)


def test_codes_that_are_not_contiguous_are_searched_by_value(engine):
    rng = np.random.default_rng(1)
    codes = random_codes(rng, 40, 32)
    index = HammingIndex(32, engine=engine)
    index.add(codes[::2])
    ids, _ = index.search(codes[::-2][:, ::1], 1)
    expected, _ = brute_force(codes[::-2], codes[::2], 32, 1)
    np.testing.assert_array_equal(ids, expected)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([5, 5], "id 5 comes twice"),
        ([1, 7], "id 1 is in use"),
        ([-1, 3], ">= 0"),
        ([1.0, 2.0], "integers"),
        (["a", "b"], "must be integers, as the ids of this index are, got strings"),
        ([3, "b"], "all integers or all strings, got int at 0"),
        ([3, True], "got a bool"),
        (np.array([True, False]), "got dtype bool"),
        ([b"a", b"b"], "integers that fit int64, or strings"),
        (["a", "\ud800"], "lone surrogate"),
        (["a", "a"], "id a comes twice"),
        (np.array([3, 2**63], np.uint64), "fit int64, got 9223372036854775808"),
        ([3, 2**63], "fit int64"),
        ([3, 2**70], "fit int64"),
        ([3, None], "integers"),
        (np.array([["a"], ["b"]]), r"shape \(2,\)"),
        ([3], r"shape \(2,\)"),
        ([[3, 4]], r"shape \(2,\)"),
    ],
)
def test_wrong_ids_are_refused_and_nothing_is_added(engine, ids, message):
    index = HammingIndex(16, engine=engine)
    index.add(np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match=message):
        index.add(np.ones((2, 2), np.uint8), ids=ids)
    assert len(index) == 2
    assert index.ids.tolist() == [0, 1]


def test_default_ids_that_meet_given_ones_are_refused(engine):
    index = HammingIndex(16, engine=engine)
    index.add(np.zeros((2, 2), np.uint8), ids=[2, 3])
    with pytest.raises(ValueError, match=r"id 2 is in use.*pass ids"):
        index.add(np.zeros((2, 2), np.uint8))


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.zeros((2, 3), np.uint8), r"shape \(n, 2\)"),
        (np.zeros((2, 1), np.uint8), r"shape \(n, 2\)"),
        (np.zeros(2, np.uint8), r"shape \(n, 2\)"),
        (np.zeros((2, 2), np.float32), "uint8"),
        (np.array([[0, 1]], np.uint8), "pad bits"),
    ],
)
def test_codes_of_another_length_are_refused_everywhere(engine, codes, message):
    index = HammingIndex(12, engine=engine)
    index.add(np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match=message):
        index.add(codes)
    with pytest.raises(ValueError, match=message):
        index.search(codes, 1)
    assert len(index) == 2


@pytest.mark.parametrize("k", [0, -1, 1.5, True, None])
def test_k_must_be_a_positive_integer(k):
    with pytest.raises(ValueError, match="k must be"):
        HammingIndex(8).search(np.zeros((1, 1), np.uint8), k)


@pytest.mark.parametrize("bits", [0, -8, 8.0, "8", True])
def test_bits_must_be_a_positive_integer(bits):
    with pytest.raises(ValueError, match="bits must be"):
        HammingIndex(bits)


def test_without_faiss_numpy_searches_and_asking_for_faiss_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert HammingIndex(8).engine == "numpy"
    with pytest.raises(ImportError, match=r"scbch_keras\[faiss\]"):
        HammingIndex(8, engine="faiss")
    with pytest.raises(ValueError, match="engine"):
        HammingIndex(8, engine="annoy")


@pytest.fixture
def saved(tmp_path):
    rng = np.random.default_rng(5)
    index = HammingIndex(20)
    index.add(random_codes(rng, 50, 20), ids=rng.permutation(1000)[:50])
    path = tmp_path / "codes.index"
    index.save(path)
    return index, path


def test_an_index_comes_back_from_its_file(saved, engine):
    index, path = saved
    loaded = HammingIndex.load(path, engine=engine)
    assert loaded.bits == 20
    query = random_codes(np.random.default_rng(6), 9, 20)
    for came, expected in zip(loaded.search(query, 50), index.search(query, 50), strict=True):
        np.testing.assert_array_equal(came, expected)
    loaded.add(np.zeros((1, 3), np.uint8), ids=[2000])
    assert len(loaded) == 51


def test_an_empty_index_comes_back(tmp_path):
    HammingIndex(9).save(tmp_path / "empty")
    assert len(HammingIndex.load(tmp_path / "empty")) == 0


def test_saving_replaces_the_file_and_leaves_nothing_beside_it(saved):
    index, path = saved
    index.add(np.zeros((1, 3), np.uint8), ids=[1000])
    before = path.read_bytes()
    with path.open("rb") as reader:
        index.save(str(path))
        # Whoever reads the old file meanwhile reads all of it.
        assert reader.read() == before
    assert len(HammingIndex.load(path)) == 51
    assert [p.name for p in path.parent.iterdir()] == ["codes.index"]


def test_a_file_that_cannot_be_is_named_as_it_was_given(saved, tmp_path):
    index, path = saved
    with pytest.raises(IsADirectoryError, match=f"{re.escape(str(path.parent))} is a folder"):
        index.save(path.parent)
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        index.save(tmp_path / "nowhere" / "codes.index")


def test_a_save_that_fails_keeps_the_old_file(saved, monkeypatch):
    index, path = saved
    before = path.read_bytes()

    def full_disk(file, **arrays):
        file.write(b"PK half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="No space left"):
        index.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["codes.index"]


def test_a_flipped_byte_anywhere_in_the_arrays_is_refused(saved):
    index, path = saved
    content = path.read_bytes()
    for array in (index.codes.tobytes(), index.ids.tobytes()):
        place = content.index(array) + len(array) // 2
        damaged = bytearray(content)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="expected a HammingIndex file"):
            HammingIndex.load(path)


def test_changed_arrays_with_right_zip_checksums_are_refused(saved):
    _, path = saved
    with np.load(path) as file:
        arrays = dict(file)
    for name, value in (
        ("bits", np.int64(21)),
        ("ids", arrays["ids"][::-1]),
        ("codes", arrays["codes"][::-1]),
    ):
        with path.open("wb") as file:
            np.savez(file, **{**arrays, name: value})
        with pytest.raises(ValueError, match="checksum"):
            HammingIndex.load(path)


def test_other_files_are_refused(saved, tmp_path):
    _, path = saved
    with np.load(path) as file:
        arrays = dict(file)
    with (tmp_path / "later").open("wb") as file:
        np.savez(file, **{**arrays, "schema": np.int64(4)})
    with pytest.raises(ValueError, match="schema 4"):
        HammingIndex.load(tmp_path / "later")
    (tmp_path / "short").write_bytes(path.read_bytes()[:200])
    (tmp_path / "text").write_text("not an index")
    (tmp_path / "empty").write_bytes(b"")
    np.savez(tmp_path / "other.npz", a=np.arange(3))
    np.save(tmp_path / "array.npy", np.arange(3))
    for name in ("short", "text", "empty", "other.npz", "array.npy"):
        with pytest.raises(ValueError, match="expected a HammingIndex file"):
            HammingIndex.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        HammingIndex.load(tmp_path / "missing")


class Bomb:
    def __reduce__(self):
        return print, ("a pickle was run",)


def test_a_pickle_is_never_run(saved, tmp_path, capsys):
    _, path = saved
    with np.load(path) as file:
        arrays = dict(file)
    with (tmp_path / "object").open("wb") as file:
        np.savez(file, allow_pickle=True, **{**arrays, "ids": np.array([Bomb()], object)})
    (tmp_path / "bare").write_bytes(pickle.dumps(Bomb()))
    for name in ("object", "bare"):
        with pytest.raises(ValueError, match="expected a HammingIndex file"):
            HammingIndex.load(tmp_path / name)
    assert capsys.readouterr().out == ""
