"""HammingIndex for many codes: mapped from its file, by radius, merged, searched by clusters."""

import pickle

import numpy as np
import pytest

from scbch_keras.export import HammingIndex, Source
from scbch_keras.export.serving import index_file, ivf
from tests.export.serving.test_index import brute_force, random_codes

pytestmark = pytest.mark.numpy_only

SIZE, BITS = 400, 20
IDS = {
    "positions": None,
    "ascending": list(range(0, 3 * SIZE, 3)),
    "unordered": np.random.default_rng(1).permutation(10_000)[:SIZE].tolist(),
    "strings": [f"picture {number} é" for number in range(SIZE)],
}


@pytest.fixture(params=sorted(IDS))
def saved(request, tmp_path):
    index = HammingIndex(BITS)
    index.add(random_codes(np.random.default_rng(0), SIZE, BITS), IDS[request.param])
    path = tmp_path / "index.npz"
    index.save(path)
    return index, path


def same(came, expected):
    for one, other in zip(came, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_mapped_index_is_the_index_that_was_saved(saved):
    index, path = saved
    mapped = HammingIndex.load(path, mapped=True)
    assert isinstance(mapped.codes.base, np.memmap) or isinstance(mapped.codes, np.memmap)
    queries = random_codes(np.random.default_rng(2), 7, BITS)
    some = index.ids[::3].tolist()
    same(mapped.search(queries, 30), index.search(queries, 30))
    same(mapped.search(queries, 5, among=some), index.search(queries, 5, among=some))
    same(mapped.within(queries, 5)[3], index.within(queries, 5)[3])
    assert mapped.ids.tolist() == index.ids.tolist()
    assert all(id in mapped for id in some)
    assert 999_999 not in mapped
    assert "no such" not in mapped
    same(pickle.loads(pickle.dumps(mapped)).search(queries, 9), index.search(queries, 9))


def test_a_mapped_index_changes_in_memory_and_its_file_stays(saved, tmp_path):
    index, path = saved
    before = path.read_bytes()
    mapped = HammingIndex.load(path, mapped=True)
    first, second = index.ids[:2].tolist()
    new = "new" if isinstance(first, str) else 50_000
    for changed in (index, mapped):
        changed.remove([first])
        changed.update(np.zeros((1, 3), np.uint8), [second])
        changed.add(np.full((1, 3), 16, np.uint8), [new])
        with pytest.raises(ValueError, match="in use"):
            changed.add(np.zeros((1, 3), np.uint8), [second])
    assert path.read_bytes() == before
    assert mapped.ids.tolist() == index.ids.tolist()
    np.testing.assert_array_equal(mapped.codes, index.codes)
    mapped.save(tmp_path / "again")
    assert HammingIndex.load(tmp_path / "again").ids.tolist() == index.ids.tolist()


def test_a_mapped_index_of_positions_goes_on_with_the_next_position(tmp_path):
    index = HammingIndex(8)
    index.add(np.zeros((3, 1), np.uint8))
    index.save(tmp_path / "index")
    mapped = HammingIndex.load(tmp_path / "index", mapped=True)
    mapped.add(np.ones((1, 1), np.uint8))
    assert mapped.ids.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("kind", "bytes_an_id"), [("positions", 0), ("ascending", 8)])
def test_a_file_is_as_large_as_its_codes_and_ids(tmp_path, kind, bytes_an_id):
    index = HammingIndex(BITS)
    index.add(random_codes(np.random.default_rng(0), SIZE, BITS), IDS[kind])
    index.save(tmp_path / "index")
    assert 0 <= (tmp_path / "index").stat().st_size - SIZE * (3 + bytes_an_id) < 3000


@pytest.mark.parametrize("schema", [1, 2])
@pytest.mark.parametrize("mapped", [False, True])
def test_files_of_earlier_schemas_open(tmp_path, schema, mapped):
    codes, ids = random_codes(np.random.default_rng(0), 5, BITS), np.array([0, 4, 2, 9, 1])
    arrays = {"schema": np.int64(schema), "bits": np.int64(BITS), "codes": codes, "ids": ids}
    arrays |= {"added": np.int64(7)} if schema == 2 else {}
    checksum = index_file._checksum(schema, BITS, 7, codes, ids, "")
    np.savez(tmp_path / "index.npz", **arrays, source=np.array(""), sha256=np.array(checksum))
    index = HammingIndex.load(tmp_path / "index.npz", mapped=mapped)
    assert index.ids.tolist() == ids.tolist()
    assert index.search(codes, 1)[0][:, 0].tolist() == ids.tolist()


def test_a_changed_byte_is_found_by_reading_all_and_not_by_mapping(saved):
    index, path = saved
    content = bytearray(path.read_bytes())
    content[content.index(index.codes.tobytes()) + 7] ^= 16
    path.write_bytes(content)
    with pytest.raises(ValueError, match="HammingIndex file"):
        HammingIndex.load(path)
    assert len(HammingIndex.load(path, mapped=True)) == SIZE


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-300]),
        lambda path: path.write_bytes(path.read_bytes()[:900]),
        lambda path: path.write_bytes(b""),
        lambda path: np.save(path.with_suffix(""), np.arange(3)) or path.with_suffix(".npy").rename(path),
        lambda path: np.savez_compressed(path, **dict(np.load(path))),
        lambda path: np.savez(
            path, **{**np.load(path), "codes": np.asfortranarray(np.ones((9, 3), np.uint8))}
        ),
        lambda path: np.savez(path, **{**np.load(path), "codes": np.zeros((SIZE, 2), np.uint8)}),
        lambda path: np.savez(path, **{**np.load(path), "ids": np.arange(7)}),
        lambda path: np.savez(path, **{**np.load(path), "bits": np.int64(40)}),
    ],
)
def test_what_is_no_index_cannot_be_mapped(tmp_path, damage):
    index = HammingIndex(BITS)
    index.add(random_codes(np.random.default_rng(0), SIZE, BITS))
    path = tmp_path / "index.npz"
    index.save(path)
    damage(path)
    with pytest.raises(ValueError, match="HammingIndex file"):
        HammingIndex.load(path, mapped=True)


@pytest.mark.parametrize("mapped", [1, None, "yes"])
def test_mapped_is_a_flag(saved, mapped):
    with pytest.raises(ValueError, match="mapped must be True or False"):
        HammingIndex.load(saved[1], mapped=mapped)


@pytest.mark.parametrize("radius", [0, 4, BITS])
@pytest.mark.parametrize("among", [False, True])
def test_within_a_radius_is_every_code_that_near_in_the_order_of_search(saved, radius, among):
    index, _ = saved
    queries = np.concatenate([index.codes[:2], random_codes(np.random.default_rng(2), 4, BITS)])
    some = index.ids[::-2].tolist() if among else None
    ids, distances = index.search(queries, SIZE, among=some)
    found = index.within(queries, radius, among=some)
    assert len(found) == len(queries)
    for row, (near, far) in enumerate(found):
        within = distances[row] <= radius
        assert near.tolist() == ids[row, within].tolist()
        assert far.tolist() == distances[row, within].tolist()


def test_within_refuses_what_is_no_radius_and_answers_for_nothing(saved):
    index, _ = saved
    for radius in (-1, BITS + 1, 1.5, True, None):
        with pytest.raises(ValueError, match=f"radius must be an int from 0 to {BITS}"):
            index.within(index.codes[:1], radius)
    with pytest.raises(ValueError, match=r"shape \(n, 3\)"):
        index.within(np.zeros((1, 2), np.uint8), 1)
    assert index.within(np.zeros((0, 3), np.uint8), 1) == []
    [(ids, distances)] = HammingIndex(BITS).within(index.codes[:1], 2)
    assert len(ids) == len(distances) == 0


def test_two_indexes_become_one_in_order(saved):
    index, _ = saved
    other = HammingIndex(BITS)
    names = [f"other {n}" for n in range(5)] if index.ids.dtype == object else list(range(20_000, 20_005))
    other.add(random_codes(np.random.default_rng(3), 5, BITS), names)
    expected = [*index.ids.tolist(), *names], np.concatenate([index.codes, other.codes])
    index.merge(other)
    assert index.ids.tolist() == expected[0]
    np.testing.assert_array_equal(index.codes, expected[1])


SOURCES = [Source("n", 1, "a model", "f"), Source("n", 2, "another model", "f")]


def test_an_empty_index_takes_the_source_of_what_is_merged_first():
    parts = []
    for place, source in enumerate([None, *SOURCES]):
        parts.append(HammingIndex(BITS, source=source))
        parts[-1].add(np.zeros((1, 3), np.uint8), [place])
    index = HammingIndex(BITS)
    index.merge(parts[1])
    assert index.source == SOURCES[0]
    with pytest.raises(ValueError, match="codes of two models cannot be compared"):
        index.merge(parts[2])
    index.merge(parts[0])
    assert (index.ids.tolist(), index.source) == ([1, 0], SOURCES[0])
    parts[0].merge(parts[2])
    assert parts[0].source is None


def test_a_source_must_be_one():
    with pytest.raises(ValueError, match="source must be a Source"):
        HammingIndex(BITS, source="icons")


def test_what_cannot_be_merged_changes_nothing(saved):
    index, _ = saved
    before = index.ids.tolist()
    twice = HammingIndex(BITS)
    fresh = "fresh" if isinstance(before[0], str) else 30_000
    twice.add(np.zeros((2, 3), np.uint8), [fresh, before[-1]])
    kind = HammingIndex(BITS)
    kind.add(np.zeros((1, 3), np.uint8), [7 if isinstance(before[0], str) else "seven"])
    for other, message in (
        (twice, "in use"),
        (kind, "must be"),
        (HammingIndex(BITS + 1), f"other must be a HammingIndex of {BITS} bits"),
        (None, "other must be a HammingIndex"),
        (index, "in use"),
    ):
        with pytest.raises(ValueError, match=message):
            index.merge(other)
    assert index.ids.tolist() == before


@pytest.fixture(scope="module")
def clustered():
    """Codes around 50 centres."""
    rng = np.random.default_rng(0)
    centres = rng.random((50, 64)) < 0.5
    return np.packbits(centres[rng.integers(0, 50, 6000)] ^ (rng.random((6000, 64)) < 0.1), axis=1)


@pytest.fixture
def small_clusters(monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(ivf, "SMALLEST", 1000)


def recall(index, codes, queries, k=50):
    exact = brute_force(queries, codes, 64, k)[1]
    ids, distances = index.search(queries, k)
    assert (np.diff(distances, axis=1) >= 0).all()
    places = {id: place for place, id in enumerate(index.ids.tolist())}
    found = np.array([[places[id] for id in row] for row in ids.tolist()])
    bits = np.unpackbits(queries, axis=1)[:, None] != np.unpackbits(codes, axis=1)[found]
    np.testing.assert_array_equal(distances, bits.sum(-1))
    assert all(len(set(row)) == k for row in ids.tolist())
    return (distances <= exact[:, -1:]).mean()


def test_clusters_find_most_of_the_nearest_codes_with_their_distances(small_clusters, clustered):
    index = HammingIndex(64, engine="ivf")
    index.add(clustered)
    assert recall(index, clustered, clustered[::97]) >= 0.93
    lists = index._engine._index
    assert lists.nprobe < lists.nlist


def test_clusters_follow_every_change(small_clusters, clustered):
    index = HammingIndex(64, engine="ivf")
    index.add(clustered[:4000])
    index.search(clustered[:1], 3)
    index.add(clustered[4000:])
    assert recall(index, clustered, clustered[4000::97]) >= 0.9
    index.update(clustered[:1] ^ 255, [3])
    assert index.search(clustered[:1] ^ 255, 1)[0].tolist() == [[3]]
    index.remove([3])
    assert 3 not in index.search(clustered[:1] ^ 255, 100)[0]


def test_few_codes_and_chosen_ones_are_searched_exactly(small_clusters, clustered):
    index, exact = HammingIndex(64, engine="ivf"), HammingIndex(64, engine="numpy")
    for each in (index, exact):
        each.add(clustered[:900])
    same(index.search(clustered[:5], 900), exact.search(clustered[:5], 900))
    for each in (index, exact):
        each.add(clustered[900:])
    some = list(range(0, 6000, 2))
    same(index.search(clustered[:5], 70, among=some), exact.search(clustered[:5], 70, among=some))
    same(index.search(clustered[:2], 6000), exact.search(clustered[:2], 6000))


def test_clusters_are_taken_only_where_they_are_asked_for(tmp_path):
    assert HammingIndex(8).engine != "ivf"
    pytest.importorskip("faiss")
    index = HammingIndex(8, engine="ivf")
    index.add(np.zeros((2, 1), np.uint8))
    index.save(tmp_path / "index")
    assert HammingIndex.load(tmp_path / "index").engine != "ivf"
    assert HammingIndex.load(tmp_path / "index", engine="ivf", mapped=True).engine == "ivf"
    assert pickle.loads(pickle.dumps(index)).engine == "ivf"
    assert index.search(np.zeros((1, 1), np.uint8), 2)[0].tolist() == [[0, 1]]
