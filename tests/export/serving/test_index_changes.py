"""A HammingIndex that lives: codes are added, replaced and removed under their ids, from any thread, and saved."""

import json
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scbch_keras.export import HammingIndex, Source
from scbch_keras.export.serving import ids, index_file
from tests.export.serving.test_index import ENGINES, brute_force, engine, random_codes  # noqa: F401  (a fixture)

pytestmark = pytest.mark.numpy_only

KINDS = {"integers": lambda n: int(n), "strings": lambda n: f"img {n} é"}


@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(sorted(KINDS)), ascending=st.booleans())
@settings(max_examples=30, deadline=None)
@pytest.mark.parametrize("name", ENGINES)
def test_any_order_of_changes_gives_what_a_list_of_codes_gives(name, seed, kind, ascending):
    if name == "faiss":
        pytest.importorskip("faiss")
    rng = np.random.default_rng(seed)
    index, expected = HammingIndex(12, engine=name), {}
    remembered, ids._MIN_RECENT = ids._MIN_RECENT, 3  # so that what is remembered is sorted anew often
    try:
        for step in range(25):
            chosen = [id for id in expected if rng.random() < 0.3]
            action = rng.choice(["add", "add", "update", "remove"])
            if action == "add":
                numbers = rng.permutation(20)[: rng.integers(0, 6)]
                numbers = np.sort(numbers) + 100 * step if ascending else numbers * 7 + rng.integers(0, 3)
                new = [id for id in dict.fromkeys(map(KINDS[kind], numbers)) if id not in expected]
                codes = random_codes(rng, len(new), 12)
                index.add(codes, ids=new)
                expected |= dict(zip(new, codes, strict=True))
            elif action == "update":
                codes = random_codes(rng, len(chosen), 12)
                index.update(codes, chosen)
                expected |= dict(zip(chosen, codes, strict=True))
            else:
                index.remove(chosen)
                expected = {id: code for id, code in expected.items() if id not in chosen}
            assert index.ids.tolist() == list(expected)
            assert len(index) == len(expected)
            assert all(id in index for id in expected)
            assert KINDS[kind](10**6) not in index
        database = np.array(list(expected.values()), np.uint8).reshape(-1, 2)
        queries = random_codes(rng, 5, 12)
        for among in (None, [id for id in expected if rng.random() < 0.5]):
            place = (
                np.arange(len(expected))
                if among is None
                else np.array([list(expected).index(i) for i in among], int)
            )
            order, distances = brute_force(queries, database[place], 12, 4)
            found = index.search(queries, 4, among=None if among is None else among[::-1] + among[:1])
            assert found[0].tolist() == np.array([*expected, ""], object)[place[order]].tolist()
            np.testing.assert_array_equal(found[1], distances)
    finally:
        ids._MIN_RECENT = remembered


@pytest.fixture(params=sorted(KINDS))
def kind(request):
    return KINDS[request.param]


@pytest.fixture
def living(engine, kind):  # noqa: F811
    """Five codes, of which the second was removed."""
    index = HammingIndex(16, engine=engine)
    index.add(np.arange(10, dtype=np.uint8).reshape(5, 2), ids=[kind(n) for n in (3, 9, 1, 7, 5)])
    index.remove([kind(9)])
    return index


CODE = np.zeros((1, 2), np.uint8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i, k: i.add(CODE, [k(7)]), "is in use .*update replaces the code of an id, remove frees it"),
        (lambda i, k: i.add(np.repeat(CODE, 2, 0), [k(70), k(7)]), "is in use"),
        (lambda i, k: i.update(CODE, [k(9)]), "1 of 1 are not, the first is .*9.*add adds codes"),
        (lambda i, k: i.update(np.repeat(CODE, 2, 0), [k(7), k(7)]), "comes twice"),
        (lambda i, k: i.update(np.repeat(CODE, 2, 0), [k(7)]), r"shape \(2,\)"),
        (lambda i, k: i.remove([k(7), k(9)]), "1 of 2 are not, the first is"),
        (lambda i, k: i.remove([k(7), k(7)]), "comes twice"),
        (lambda i, k: i.remove(k(7)), r"shape \(n,\)"),
        (lambda i, k: i.search(CODE, 1, among=[k(7), k(9)]), "among must be in the index; 1 of 2 are not"),
        (lambda i, k: i.search(CODE, 1, among=[2.5]), "among must be integers"),
        (lambda i, k: i.search(CODE, 1, pad=1), "pad must be True or False; got 1"),
        (lambda i, k: i.search(CODE, 1, threads=0), "threads must be an int from 1 to 1024, or None; got 0"),
        (lambda i, k: i.search(CODE, 1, threads=10**9), "threads must be an int from 1 to 1024"),
    ],
)
def test_a_change_that_is_refused_changes_nothing(living, kind, change, message):
    before = living.ids.tolist(), living.codes.tolist()
    with pytest.raises(ValueError, match=message):
        change(living, kind)
    assert (living.ids.tolist(), living.codes.tolist()) == before


def test_ids_of_the_other_kind_are_refused(living, kind):
    other = ["7"] if kind(7) == 7 else [7]
    for change in (
        lambda: living.add(CODE, other),
        lambda: living.update(CODE, other),
        lambda: living.remove(other),
        lambda: living.search(CODE, 1, among=other),
    ):
        with pytest.raises(ValueError, match=r"must be (integers|strings), as the ids of this index are"):
            change()
    assert other[0] not in living


@pytest.mark.parametrize("what", [True, 7.0, None, b"7", -1, 2**70, [7]])
def test_what_is_no_id_is_not_in_an_index(living, what):
    assert what not in living


def test_an_id_that_was_removed_is_free_and_its_code_goes_to_the_end(living, kind):
    living.add(CODE, [kind(9)])
    assert living.ids.tolist() == [kind(n) for n in (3, 1, 7, 5, 9)]
    living.remove([kind(n) for n in (3, 1, 7, 5, 9)])
    assert len(living) == 0
    living.add(CODE, ["another kind"])
    assert living.search(CODE, 5)[0].tolist() == [["another kind"]]


def test_default_ids_are_never_given_twice(engine, tmp_path):  # noqa: F811
    index = HammingIndex(16, engine=engine)
    index.add(np.repeat(CODE, 3, 0))
    index.remove([2, 0])
    index.add(CODE)
    assert index.ids.tolist() == [1, 3]
    index.remove([3])
    index.save(tmp_path / "i")
    loaded = HammingIndex.load(tmp_path / "i", engine=engine)
    loaded.add(CODE)
    assert loaded.ids.tolist() == [1, 4]
    strings = HammingIndex(16)
    strings.add(CODE, ["a"])
    with pytest.raises(ValueError, match=r"must be strings.*pass ids"):
        strings.add(CODE)


def test_ids_may_be_any_integers_that_fit_int64(engine):  # noqa: F811
    for given_ids in (
        np.arange(3, dtype=np.uint64) + np.uint64(10**17),
        [0, 5, 2**63 - 1],
        np.array([1, 2, 3], object),
        np.array([1, 2, 3], np.int8),
        range(4, 7),
    ):
        index = HammingIndex(16, engine=engine)
        index.add(np.repeat(CODE, 3, 0), ids=given_ids)
        assert index.ids.tolist() == [int(id) for id in given_ids]
        assert index.ids.dtype == np.int64


@pytest.mark.parametrize("form", [list, tuple, np.array, lambda s: np.array(s, np.dtypes.StringDType())])
def test_strings_come_back_as_they_are_from_every_form_of_a_list(engine, form, tmp_path):  # noqa: F811
    names = ["", "a", "a\nb", "é", "\u2028", "a very long one" * 9, "7"]
    index = HammingIndex(16, engine=engine, source=Source("n", 1, "m", "f"))
    index.add(np.arange(14, dtype=np.uint8).reshape(7, 2), ids=form(names))
    index.save(tmp_path / "i")
    loaded = HammingIndex.load(tmp_path / "i", engine=engine)
    assert loaded.ids.tolist() == index.ids.tolist() == names
    assert all(type(id) is str for id in index.search(CODE, 7)[0][0])
    assert loaded.source == index.source
    assert "\u2028" in loaded


def test_results_are_as_wide_as_what_was_found_and_k_costs_nothing(living, kind):
    tracemalloc.start()
    ids, distances = living.search(CODE, 10**9)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()
    assert ids.shape == distances.shape == (1, 4)
    assert living.search(CODE, 3)[0].shape == (1, 3)
    assert living.search(CODE, 3, among=[kind(7)])[0].tolist() == [[kind(7)]]
    nothing = living.search(CODE, 3, among=[])
    assert nothing[0].shape == nothing[1].shape == (1, 0)
    ids, distances = living.search(CODE, 6, pad=True)
    missing = -1 if kind(7) == 7 else None
    assert ids[0, 4:].tolist() == [missing] * 2
    assert distances[0, 4:].tolist() == [2**31 - 1] * 2


def test_what_was_read_from_an_index_stays_as_it_was(living, kind):
    codes, ids = living.codes, living.ids
    before = codes.tolist(), ids.tolist()
    living.update(np.full((1, 2), 255, np.uint8), [kind(3)])
    living.remove([kind(1)])
    living.add(np.repeat(CODE, 50, 0), [kind(n) for n in range(100, 150)])
    assert (codes.tolist(), ids.tolist()) == before
    with pytest.raises(ValueError, match="read-only"):
        codes[0] = 0


def test_a_file_of_the_first_schema_opens(tmp_path):
    index = HammingIndex(20)
    index.add(random_codes(np.random.default_rng(0), 5, 20), ids=[9, 7, 5, 3, 2**40])
    arrays = {"bits": np.int64(20), "codes": index.codes, "ids": index.ids, "source": np.array("")}
    checksum = index_file._checksum(1, 20, 5, index.codes, index.ids, "")
    np.savez(tmp_path / "old.npz", schema=np.int64(1), sha256=np.array(checksum), **arrays)
    # As the first version computed it.
    import hashlib

    digest = hashlib.sha256(b"1 20 5 " + index.codes.tobytes() + index.ids.tobytes())
    assert checksum == digest.hexdigest()
    assert HammingIndex.load(tmp_path / "old.npz").ids.tolist() == [9, 7, 5, 3, 2**40]


def test_adds_and_searches_from_many_threads_lose_nothing_and_see_whole_changes(engine, kind):  # noqa: F811
    index = HammingIndex(64, engine=engine)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    pairs = np.arange(200, dtype=np.uint8)[:, None].repeat(8, 1)

    def change(number):
        # Two codes come together, one changes place with the other, one goes: a search never sees a part.
        names = [kind(2 * number), kind(2 * number + 1)]
        index.add(pairs[[number, number]], names)
        index.update(pairs[[number]], names[:1])
        if number % 4 == 0:
            index.remove(names)

    ended = threading.Event()

    def search():
        seen = 0
        while not ended.is_set():
            ids, distances = index.search(pairs[:3], 10)
            assert ids.shape == distances.shape
            assert (np.diff(distances, axis=1) >= 0).all()
            known = index.ids
            assert len(known) % 2 == 0
            assert len(set(known.tolist())) == len(known)
            seen += 1
        return seen

    try:
        with ThreadPoolExecutor(8) as pool:
            searches = [pool.submit(search) for _ in range(3)]
            list(pool.map(change, range(200)))
            ended.set()
            assert all(done.result() for done in searches)
    finally:
        ended.set()
        sys.setswitchinterval(interval)
    assert len(index) == 2 * 150
    assert set(index.ids.tolist()) == {kind(n) for n in range(400) if n // 2 % 4}


def test_an_add_that_runs_out_of_memory_adds_nothing(living, kind, monkeypatch):
    before = living.ids.tolist()

    def no_memory(*shape, **kinds):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(ids.np, "empty", no_memory)
        with pytest.raises(MemoryError):
            living.add(np.repeat(CODE, 50, 0), np.array([kind(n) for n in range(100, 150)], object))
    assert living.ids.tolist() == before
    living.add(CODE, [kind(100)])
    assert living.ids.tolist() == [*before, kind(100)]


def test_one_code_more_copies_none_of_those_that_are_there():
    index = HammingIndex(64, engine="numpy")
    index.add(np.random.default_rng(0).integers(0, 256, (1000, 8), np.uint8), ids=np.arange(1000) * 2)
    index.add(np.zeros((1, 8), np.uint8), ids=[1])  # makes room
    before = index.codes
    index.add(np.zeros((1, 8), np.uint8), ids=[3])
    assert np.shares_memory(before, index.codes)


def test_json_can_hold_what_a_search_gives(living):
    assert json.dumps([array.tolist() for array in living.search(CODE, 2)])
