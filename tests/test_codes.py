import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scbch_keras import codes as codes_module
from scbch_keras.codes import check_packed, hamming_distance, pack_codes, unpack_codes

pytestmark = [pytest.mark.numpy_only, pytest.mark.filterwarnings("error")]

bit_arrays = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=140))
continuous = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40),
    elements=st.floats(-1, 1, width=32),
)


def random_bits(rows, bits, seed=0):
    return np.random.default_rng(seed).random((rows, bits)) < 0.5


@given(bit_arrays)
@settings(deadline=None)
def test_packing_is_packbits_and_unpacking_its_inverse(bits):
    packed = pack_codes(bits)
    np.testing.assert_array_equal(packed, np.packbits(bits, axis=1), strict=True)
    np.testing.assert_array_equal(unpack_codes(packed, bits.shape[1]), bits, strict=True)


@given(continuous)
@settings(deadline=None)
def test_a_bit_is_one_if_and_only_if_the_value_is_above_zero(values):
    bits = [[value > 0 for value in row] for row in values.tolist()]
    np.testing.assert_array_equal(unpack_codes(pack_codes(values), values.shape[1]), bits)


def test_order_sign_and_padding_of_the_bytes():
    row = [1.0, -1.0, 0.0, -0.0, 1e-45, -np.inf, np.inf, -1.0, 0.5]
    np.testing.assert_array_equal(pack_codes([row]), np.array([[0b10001010, 0b10000000]], np.uint8))


def test_signed_integer_codes_pack_as_their_signs():
    np.testing.assert_array_equal(pack_codes(np.array([[1, -1, 0, 1]], np.int8)), [[0b10010000]])


def test_an_empty_batch_packs_to_an_empty_batch():
    assert pack_codes(np.zeros((0, 20), np.float32)).shape == (0, 3)
    assert hamming_distance(np.zeros((0, 3), np.uint8), np.zeros((5, 3), np.uint8), 20).shape == (0, 5)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.ones((2, 8), np.uint8), "codes must be floating point, signed integer or bool, got dtype uint8"),
        (np.ones((2, 8), np.complex64), "got dtype complex64"),
        (np.ones(8, np.float32), r"codes must have shape \(n, bits\).* got shape \(8,\)"),
        (np.ones((2, 0), np.float32), r"got shape \(2, 0\)"),
        (np.array([[0.0, 1.0], [1.0, np.nan]]), "codes must not be NaN; the first row with NaN is 1"),
    ],
)
def test_what_is_not_a_code_is_not_packed(codes, message):
    with pytest.raises(ValueError, match=message):
        pack_codes(codes)


@given(st.integers(1, 200), st.integers(0, 9), st.integers(1, 9), st.integers(0, 2**32))
@settings(deadline=None)
def test_hamming_distance_counts_differing_bits_and_is_symmetric(bits, rows, others, seed):
    queries, database = random_bits(rows, bits, seed), random_bits(others, bits, seed + 1)
    packed = pack_codes(queries), pack_codes(database)
    distance = hamming_distance(*packed, bits)
    expected = (queries[:, None] != database[None]).sum(axis=2)
    np.testing.assert_array_equal(distance, expected.astype(np.int32), strict=True)
    np.testing.assert_array_equal(hamming_distance(*packed[::-1], bits), distance.T)


def test_hamming_distance_does_not_depend_on_its_tiles(monkeypatch):
    queries, database = pack_codes(random_bits(50, 70)), pack_codes(random_bits(60, 70, 1))
    whole = hamming_distance(queries, database, 70)
    monkeypatch.setattr(codes_module, "_TILE_BYTES", 8 * 60 * 7)
    np.testing.assert_array_equal(hamming_distance(queries, database, 70), whole)


def test_hamming_distance_takes_any_memory_layout():
    queries, database = pack_codes(random_bits(9, 70)), pack_codes(random_bits(8, 70, 1))
    expected = hamming_distance(queries, database, 70)
    np.testing.assert_array_equal(hamming_distance(np.asfortranarray(queries), database, 70), expected)
    np.testing.assert_array_equal(hamming_distance(queries[::2], database[::-1], 70), expected[::2, ::-1])


@pytest.mark.parametrize(
    ("packed", "bits", "message"),
    [
        (np.zeros((3, 8), np.uint8), 128, r"query must have shape \(n, 16\), 16 bytes for 128 bits"),
        (np.zeros((3, 8), np.uint8), 56, r"\(n, 7\), 7 bytes for 56 bits, got shape \(3, 8\)"),
        (np.zeros(8, np.uint8), 64, r"query must have shape \(n, 8\).* got shape \(8,\)"),
        (np.zeros((3, 8), np.float32), 64, "query must be a numpy array .* uint8, got dtype float32"),
        (np.zeros((3, 8), np.bool_), 64, "got dtype bool"),
        ([[0, 1]], 16, "query must be a numpy array .* got list"),
        (np.array([[0, 0xF0], [0, 0x08]], np.uint8), 12, "last 4 pad bits zero .* first row .* is 1"),
        (np.zeros((3, 8), np.uint8), 0, "bits must be an int of at least 1; got 0"),
        (np.zeros((3, 8), np.uint8), 64.0, "bits must be an int of at least 1; got 64.0"),
        (np.zeros((3, 1), np.uint8), True, "bits must be an int of at least 1; got True"),
    ],
)
def test_what_is_not_a_packed_code_is_refused_by_name(packed, bits, message):
    with pytest.raises(ValueError, match=message):
        check_packed("query", packed, bits)


def test_every_entrance_checks_its_packed_codes():
    good, narrow = np.zeros((3, 8), np.uint8), np.zeros((3, 7), np.uint8)
    with pytest.raises(ValueError, match="packed must have shape"):
        unpack_codes(narrow, 64)
    with pytest.raises(ValueError, match="queries must have shape"):
        hamming_distance(narrow, good, 64)
    with pytest.raises(ValueError, match="database must have shape"):
        hamming_distance(good, narrow, 64)
