"""Search that ranks the nearest codes again by the continuous codes of the queries."""

import numpy as np
import pytest

from scbch_keras.codes import pack_codes, unpack_codes
from scbch_keras.export import HammingIndex

pytestmark = pytest.mark.numpy_only
ENGINES = pytest.mark.parametrize("engine", ["numpy", "faiss"])


def case(bits, queries=7, size=300, seed=0):
    rng = np.random.default_rng(seed)
    continuous = np.tanh(rng.standard_normal((queries, bits))).astype("float32")
    return continuous, pack_codes(rng.standard_normal((size, bits)))


@ENGINES
@pytest.mark.parametrize("bits", [1, 7, 16, 64, 100])
def test_all_codes_are_ranked_by_the_inner_product_with_their_signs(bits, engine):
    continuous, codes = case(bits)
    index = HammingIndex(bits, engine=engine)
    index.add(codes)
    ids, distances = index.search(pack_codes(continuous), 20, rescore=continuous, candidates=300)
    scores = continuous.astype("float64") @ (2.0 * unpack_codes(codes, bits) - 1).T
    expected = np.argsort(-scores.round(12), axis=1, kind="stable")[:, :20]
    np.testing.assert_allclose(np.take_along_axis(scores, ids, 1), np.take_along_axis(scores, expected, 1))
    plain = (unpack_codes(codes, bits)[None] != (continuous > 0)[:, None]).sum(axis=2)
    np.testing.assert_array_equal(distances, np.take_along_axis(plain, ids, 1))


@ENGINES
def test_candidates_are_the_nearest_and_their_order_alone_changes(engine):
    continuous, codes = case(32)
    index = HammingIndex(32, engine=engine)
    index.add(codes, ids=[f"item {number}" for number in range(300)])
    packed = pack_codes(continuous)
    plain, distances = index.search(packed, 30)
    again, _ = index.search(packed, 30, rescore=continuous, candidates=30)
    assert not np.array_equal(again, plain)
    np.testing.assert_array_equal(np.sort(again, axis=1), np.sort(plain, axis=1))
    # One scale for all bits tells nothing apart: the order is that of Hamming distance, then of adding.
    signs = 2.0 * unpack_codes(packed, 32) - 1
    same, same_distances = index.search(packed, 30, rescore=signs)
    np.testing.assert_array_equal(same, plain)
    np.testing.assert_array_equal(same_distances, distances)


@ENGINES
def test_among_pad_and_small_indexes_are_as_without(engine):
    continuous, codes = case(16, size=6)
    index = HammingIndex(16, engine=engine)
    packed = pack_codes(continuous)
    assert index.search(packed, 3, rescore=continuous)[0].shape == (7, 0)
    index.add(codes)
    ids, distances = index.search(packed, 5, rescore=continuous, among=[1, 3, 4], pad=True)
    assert set(ids[0, :3]) == {1, 3, 4}
    assert (ids[:, 3:] == -1).all()
    assert (distances[:, 3:] == 2**31 - 1).all()
    assert index.search(packed[:0], 2, rescore=continuous[:0])[0].shape == (0, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rescore": np.zeros((6, 16))}, "rescore must have 7 rows"),
        ({"rescore": np.zeros((7, 15))}, "rescore must have 16 columns, the bits of the index; got 15"),
        ({"rescore": np.full((7, 16), np.nan)}, "rescore must be finite"),
        ({"rescore": -case(16)[0]}, "whose signs are the packed ones; row 0 has others"),
        ({"rescore": case(16)[0], "candidates": 2}, "candidates must be an int of at least 3"),
        ({"rescore": case(16)[0], "candidates": 9.0}, "candidates must be an int of at least 3"),
        ({"candidates": 9}, "candidates goes with rescore"),
    ],
)
def test_what_cannot_be_ranked_again_is_named(change, message):
    continuous, codes = case(16)
    index = HammingIndex(16, engine="numpy")
    index.add(codes)
    with pytest.raises(ValueError, match=message):
        index.search(pack_codes(continuous), 3, **change)
