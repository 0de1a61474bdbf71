"""Every store gives what HammingIndex gives, and refuses what it refuses."""

import signal
import subprocess
import sys
from itertools import count

import numpy as np
import pytest

from scbch_keras.codes import pack_codes
from scbch_keras.export import HammingIndex, Source

pytestmark = [pytest.mark.numpy_only, pytest.mark.slow, pytest.mark.waits]

STORES = ("postgres", "milvus")
SOURCE = Source("icons", 3, "a" * 64, "b" * 64)
OTHER = Source("icons", 4, "c" * 64, "d" * 64)
ODD = [
    'say "x"',
    "back\\slash",
    "a;drop table t;--",
    "ünï çødé",
    "日本",
    "%s {0} $1",
    " ",
    "Z",
    "a",
]
_NUMBERS = count()


@pytest.fixture(params=STORES)
def store(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def table():
    return f"codes_{next(_NUMBERS)}"


@pytest.fixture
def opened(store, table):
    """A function that opens an index in the store, and closes it after the test."""
    made = []

    def opened(bits=None, source=SOURCE, name=None):
        made.append(HammingIndex.connect(store.url, name or table, bits=bits, source=source))
        return made[-1]

    yield opened
    for index in made:
        index.close()


@pytest.fixture(scope="module")
def _kept():
    kept = {}
    yield kept
    for index in kept.values():
        index.close()


@pytest.fixture
def kept(store, _kept):
    """An index of two rows in the store, for what is refused and leaves it as it was: the same in each test."""
    if store.url not in _kept:
        _kept[store.url] = HammingIndex.connect(store.url, f"codes_{next(_NUMBERS)}", bits=8, source=SOURCE)
        _kept[store.url].add(np.zeros((2, 1), np.uint8), [0, 1], columns={"year": [1, 2]})
    return _kept[store.url]


def random_codes(rng, count, bits, density=0.5):
    return pack_codes(rng.random((count, bits)) < density)


def both(opened, codes, ids, bits, **columns):
    """The index in the store, and HammingIndex with the codes in ascending order of their ids."""
    stored = opened(bits)
    stored.add(codes, ids, columns=columns, batch_size=97)
    order = sorted(range(len(ids)), key=lambda row: ids[row])
    embedded = HammingIndex(bits)
    embedded.add(codes[order], [ids[row] for row in order])
    return stored, embedded


def assert_equal(actual, expected):
    for mine, other in zip(actual, expected, strict=True):
        assert mine.dtype == other.dtype
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize(
    ("bits", "density", "kind"),
    [(64, 0.5, int), (12, 0.1, str), (130, 0.0, int), (1, 0.5, int)],
)
def test_results_are_those_of_the_embedded_index_ties_in_the_order_of_ids(opened, bits, density, kind):
    rng = np.random.default_rng(bits)
    codes, queries = random_codes(rng, 400, bits, density), random_codes(rng, 20, bits, density)
    ids = [kind(n) for n in rng.permutation(10_000)[:400].tolist()]
    stored, embedded = both(opened, codes, ids, bits)
    assert len(stored) == 400
    for k in (1, 10, 400, 1000):
        assert_equal(stored.search(queries, k), embedded.search(queries, k))
    assert_equal(stored.search(queries, 500, pad=True), embedded.search(queries, 500, pad=True))
    chosen = ids[3:60]
    assert_equal(
        stored.search(queries, 9, among=[*chosen, chosen[0]]), embedded.search(queries, 9, among=chosen)
    )
    stored.remove(ids[:390])
    embedded.remove(ids[:390])
    assert_equal(stored.search(queries, 20), embedded.search(queries, 20))
    assert_equal(stored.search(queries[:0], 20)[1:], [np.empty((0, 0), np.int32)])


def test_strings_of_any_characters_are_ids_and_values(opened):
    rng = np.random.default_rng(0)
    codes = random_codes(rng, len(ODD), 32, 0.0)
    stored, embedded = both(opened, codes, ODD, 32, shop=ODD[::-1])
    assert_equal(stored.search(codes[:1], 100), embedded.search(codes[:1], 100))
    for id, shop in zip(ODD, ODD[::-1], strict=True):
        assert id in stored
        assert stored.search(codes[:1], 5, where={"shop": shop})[0].tolist() == [[id]]
        assert stored.search(codes[:1], 5, among=[id])[0].tolist() == [[id]]
    stored.remove(ODD)
    assert len(stored) == 0


def test_where_chooses_by_columns(opened):
    rng = np.random.default_rng(1)
    codes, queries = random_codes(rng, 300, 24), random_codes(rng, 5, 24)
    year, shop = rng.integers(-3, 9, 300), rng.choice(["a", "b"], 300)
    stored, embedded = both(opened, codes, list(range(300)), 24, year=year, shop=shop)
    for where, mask in (
        ({"year": 3}, year == 3),
        ({"year": [-3, 8]}, (year == -3) | (year == 8)),
        ({"year": range(0, 4), "shop": "b"}, (year >= 0) & (year < 4) & (shop == "b")),
        ({"shop": ["a", "c"]}, shop == "a"),
        ({"year": range(-(2**70), 2**70)}, year < 100),
        ({"year": []}, year > 100),
        ({"year": range(4, 4)}, year > 100),
        ({"shop": "nowhere"}, year > 100),
    ):
        expected = embedded.search(queries, 7, among=np.flatnonzero(mask))
        assert_equal(stored.search(queries, 7, where=where), expected)
    assert stored.search(queries, 3, where={"year": 3}, among=np.flatnonzero(year != 3))[0].shape == (5, 0)


@pytest.mark.parametrize("kind", [int, str])
def test_an_index_is_found_again_with_what_it_says_of_itself(opened, kind):
    codes = random_codes(np.random.default_rng(2), 4, 20)
    opened(20).add(codes, [kind(n) for n in range(4)])
    again = opened(source=None)
    assert (again.bits, again.source, len(again)) == (20, SOURCE, 4)
    assert again.search(codes[2:3], 1)[0].tolist() == [[kind(2)]]
    assert kind(3) in again
    assert kind(4) not in again
    assert "x" not in again
    assert True not in again
    with pytest.raises(ValueError, match="codes of 20 bits, not of 24"):
        opened(24)
    with pytest.raises(ValueError, match="codes of two models"):
        opened(20, OTHER)


def test_a_table_without_a_source_takes_no_codes_of_one(opened):
    opened(8, None).add(np.zeros((1, 1), np.uint8), [1])
    with pytest.raises(ValueError, match="does not say which model"):
        opened(8, SOURCE)


def test_a_table_that_is_not_there_is_empty_until_the_first_add(opened):
    with pytest.raises(ValueError, match="there is no table"):
        opened()
    index, other = opened(8), opened(8, OTHER)
    assert len(index) == 0
    assert 1 not in index
    assert index.search(np.zeros((2, 1), np.uint8), 3)[0].shape == (2, 0)
    index.add(np.zeros((0, 1), np.uint8), [])
    with pytest.raises(ValueError, match="no table"):
        index.remove([1])
    with pytest.raises(ValueError, match="no table"):
        index.build_approximate()
    index.add(np.zeros((1, 1), np.uint8), [1])
    with pytest.raises(ValueError, match="made by another process"):
        other.add(np.zeros((1, 1), np.uint8), [2])
    assert len(index) == 1


@pytest.mark.parametrize(
    ("codes", "arguments", "message"),
    [
        (np.zeros((2, 2), np.uint8), {"ids": [5, 6]}, "2 bytes|must have shape"),
        ([[0], [0]], {"ids": [5, 6]}, "numpy array of packed codes"),
        (None, {"ids": [5, 5]}, "id 5 comes twice"),
        (None, {"ids": [5, 1]}, "id 1 is in use"),
        (None, {"ids": ["5", "6"]}, "ids must be integers.*got strings"),
        (None, {"ids": [5]}, r"\(2,\)"),
        (None, {"ids": None}, "a store gives out none by itself"),
        (None, {"ids": [-1, 5]}, ">= 0"),
        (None, {"ids": [5, 2**63]}, "int64"),
        (None, {"ids": [5, 6], "columns": {}}, "columns must be those of .*: year; got none"),
        (None, {"ids": [5, 6], "columns": {"year": [1, 2], "shop": [1, 2]}}, "got year, shop"),
        (None, {"ids": [5, 6], "columns": {"year": ["a", "b"]}}, "column year must be integers"),
        (None, {"ids": [5, 6], "columns": {"year": [1]}}, "one value for each of 2"),
        (None, {"ids": [5, 6], "columns": {"year": [1.5, 2]}}, "integers that fit int64, or strings"),
        (None, {"ids": [5, 6], "columns": {"year": [True, False]}}, "integers that fit int64, or strings"),
        (None, {"ids": [5, 6], "columns": {"ye ar": [1, 2]}}, "columns must have names"),
        (None, {"ids": [5, 6], "columns": {"id": [1, 2]}}, "columns must have names"),
        (None, {"ids": [5, 6], "batch_size": 0}, "batch_size"),
    ],
)
def test_what_cannot_be_added_is_refused_and_nothing_is(kept, codes, arguments, message):
    arguments = {"columns": {"year": [1, 2]}, **arguments}
    with pytest.raises(ValueError, match=message):
        kept.add(np.zeros((2, 1), np.uint8) if codes is None else codes, **arguments)
    assert kept.search(np.zeros((1, 1), np.uint8), 10)[0].tolist() == [[0, 1]]


@pytest.mark.parametrize("id", ["a\0b", "", "x" * 1025, "ü" * 513, "\ud800"])
def test_strings_that_no_store_holds_are_refused(opened, id):
    with pytest.raises(ValueError, match="ids must"):
        opened(8).add(np.zeros((2, 1), np.uint8), ["fine", id])
    assert len(opened(8)) == 0


def test_an_id_in_use_in_the_last_batch_undoes_the_first(opened):
    index, sent = opened(8), []
    index.add(np.zeros((1, 1), np.uint8), [99])
    with pytest.raises(ValueError, match="id 99 is in use"):
        index.add(np.zeros((100, 1), np.uint8), range(100), batch_size=30, progress=sent.append)
    assert sent in ([30, 30, 30], [])
    assert len(index) == 1
    sent.clear()
    index.add(np.zeros((100, 1), np.uint8), range(100, 200), batch_size=30, progress=sent.append)
    assert sent == [30, 30, 30, 10]


def test_an_add_that_is_interrupted_leaves_nothing(opened):
    index = opened(8)

    def interrupt(rows):
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            index.add(np.zeros((100, 1), np.uint8), range(100), batch_size=10, progress=interrupt)
        assert len(index) == 0
        assert index.search(np.zeros((1, 1), np.uint8), 3)[0].shape == (1, 0)
    index.add(np.zeros((100, 1), np.uint8), range(100), batch_size=10)
    assert len(index) == 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k must"),
        ({"k": True}, "k must"),
        ({"codes": np.zeros((1, 3), np.uint8)}, "must have shape"),
        ({"among": [7]}, "among must be in the index; 1 of 1"),
        ({"among": ["0"]}, "among must be integers"),
        ({"where": {"colour": 1}}, "where must name columns of .*: year; got 'colour'"),
        ({"where": {"id": 1}}, "`among` chooses by id"),
        ({"where": {"year": "a"}}, "must be integers"),
        ({"where": {"year": 1.5}}, "integers that fit int64"),
        ({"where": {"year": None}}, "integers"),
        ({"where": {"year": range(0, 9, 2)}}, "step 1"),
        ({"exact": False}, "has no approximate index"),
        ({"exact": 1}, "exact must be True or False"),
    ],
)
def test_what_cannot_be_searched_is_refused(kept, arguments, message):
    with pytest.raises(ValueError, match=message):
        kept.search(**{"codes": np.zeros((1, 1), np.uint8), "k": 1, **arguments})


def test_what_is_not_there_is_not_removed_and_nothing_is(opened):
    index = opened(8)
    index.add(np.zeros((3, 1), np.uint8), [0, 1, 2])
    for ids, message in (
        ([0, 9], "1 of 2 are not, the first is 9"),
        ([0, 0], "comes twice"),
        (["0"], "must be integers"),
    ):
        with pytest.raises(ValueError, match=message):
            index.remove(ids)
    assert len(index) == 3
    index.remove([])
    index.remove([1])
    assert index.search(np.zeros((1, 1), np.uint8), 9)[0].tolist() == [[0, 2]]


def test_a_store_that_is_killed_in_the_middle_of_an_add_holds_all_or_nothing(store, opened, monkeypatch):
    index = opened(8)
    index.add(np.zeros((5, 1), np.uint8), range(5))
    sent = []

    def kill(rows):
        sent.append(rows)
        if len(sent) == 3:
            store.kill()

    if "milvus" in store.url:
        monkeypatch.setattr("scbch_keras.export.stores.milvus.PATIENCE", 1.0)
    try:
        with pytest.raises(ConnectionError, match="adding codes failed") as raised:
            index.add(np.zeros((5000, 1), np.uint8), range(100, 5100), batch_size=100, progress=kill)
        assert "hunter2" not in str(raised.value)
        if "milvus" not in store.url:  # milvus-lite is started again by the next call
            with pytest.raises(ConnectionError, match="searching failed"):
                index.search(np.zeros((1, 1), np.uint8), 1)
    finally:
        store.restart()
        monkeypatch.undo()
    again = opened(8)
    assert len(again) == 5
    assert again.search(np.zeros((1, 1), np.uint8), 9)[0].tolist() == [[0, 1, 2, 3, 4]]
    # The same object goes on too, and the ids are still free.
    index.add(np.zeros((5000, 1), np.uint8), range(100, 5100))
    assert len(again) == 5005


def test_a_store_that_is_gone_as_an_add_ends_holds_all_or_nothing(store, opened, monkeypatch):
    index = opened(8)
    index.add(np.zeros((5, 1), np.uint8), range(5))
    if "milvus" in store.url:
        monkeypatch.setattr("scbch_keras.export.stores.milvus.PATIENCE", 1.0)
    try:
        with pytest.raises(ConnectionError, match=r"adding codes failed: .*"):
            index.add(np.zeros((50, 1), np.uint8), range(100, 150), progress=lambda rows: store.kill())
    finally:
        store.restart()
        monkeypatch.undo()
    again = opened(8)
    is_there = 100 in again
    assert len(again) == (55 if is_there else 5)
    assert again.search(np.zeros((1, 1), np.uint8), 99)[0].shape == (1, len(again))
    if not is_there:
        index.add(np.zeros((50, 1), np.uint8), range(100, 150))
    assert len(again) == 55


def test_a_store_that_is_gone_is_one_error_and_keeps_what_it_has(postgres, table):
    query = np.zeros((1, 1), np.uint8)
    with HammingIndex.connect(postgres.url, table, bits=8, source=SOURCE) as index:
        index.add(np.zeros((5, 1), np.uint8), range(5))
        try:
            postgres.kill()
            for call, message in (
                (lambda: index.add(query, [9]), "adding codes failed"),
                (lambda: index.remove(range(5)), "removing codes failed"),
                (lambda: index.search(query, 3), "searching failed"),
                (lambda: index.search(query, 3, among=[1]), "looking for ids failed"),
                (lambda: 1 in index, "looking for ids failed"),
                (lambda: len(index), "counting codes failed"),
                (index.build_approximate, "failed"),
                (lambda: HammingIndex.connect(postgres.url, table), "failed"),
            ):
                with pytest.raises(ConnectionError, match=message) as raised:
                    call()
                assert "hunter2" not in str(raised.value)
        finally:
            postgres.restart()
        assert index.search(query, 9)[0].tolist() == [[0, 1, 2, 3, 4]]


def test_a_writer_that_is_killed_leaves_nothing_that_is_seen(tmp_path, store, table):
    # milvus-lite serves its file to one process at a time.
    url = f"milvus://{tmp_path / 'killed.db'}" if "milvus" in store.url else store.url
    program = f"""
import os
import numpy as np
from scbch_keras.export import HammingIndex
index = HammingIndex.connect({url!r}, {table!r}, bits=8)
index.add(np.zeros((5, 1), np.uint8), range(5))
index.add(np.zeros((500, 1), np.uint8), range(100, 600), batch_size=100, progress=lambda rows: os.kill(os.getpid(), 9))
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == -signal.SIGKILL
    with HammingIndex.connect(url, table) as index:
        assert len(index) == 5
        assert index.search(np.zeros((1, 1), np.uint8), 9)[0].tolist() == [[0, 1, 2, 3, 4]]
        assert 100 not in index
        index.add(np.zeros((500, 1), np.uint8), range(100, 600))
        assert len(index) == 505


def test_threads_may_use_one_index(opened):
    from concurrent.futures import ThreadPoolExecutor

    rng = np.random.default_rng(4)
    codes = random_codes(rng, 200, 16)
    stored, embedded = both(opened, codes, list(range(200)), 16)
    expected = embedded.search(codes, 5)
    with ThreadPoolExecutor(4) as pool:
        for actual in pool.map(lambda _: stored.search(codes, 5), range(8)):
            assert_equal(actual, expected)


def test_a_stored_index_is_not_pickled_with_its_password(opened):
    import pickle

    with pytest.raises(TypeError, match="connect in the other process"):
        pickle.dumps(opened(8))
    assert "hunter2" not in repr(opened(8))
