"""Binary codes packed into bytes, and the Hamming distance between them. numpy only.

Bit i of a code is 1 if and only if h_i > 0. Bytes are unsigned, most significant bit first and zero padded,
exactly numpy.packbits; the number of bits is not part of the bytes and travels beside them.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scbch_keras.arrays import as_array
from scbch_keras.checks import whole

_WORD_BYTES = 8
_TILE_BYTES = 2**21  # queries are taken so many at a time that the scratch words of a tile stay in the cache


class NaNCodesError(ValueError):
    """Codes hold NaN, as those of a model that diverged."""


def pack_codes(codes: ArrayLike) -> NDArray[np.uint8]:
    """Codes (n, bits) -> packed codes (n, ceil(bits / 8)), uint8.

    Args:
        codes: (n, bits), floating point or signed integer: bit i is 1 if and only if h_i > 0, so 0 and -0.0 give 0;
            or bool. Unsigned integers are refused: they are most likely packed already.

    Returns:
        (n, ceil(bits / 8)), uint8.

    Raises:
        ValueError: codes of another shape or type, or with NaN; the message names the first such row.
    """
    values = as_array("codes", codes)
    if values.ndim != 2 or values.shape[1] == 0:
        raise ValueError(f"codes must have shape (n, bits) with bits >= 1, got shape {values.shape}")
    if values.dtype.kind == "b":
        return np.packbits(values, axis=1)
    if values.dtype.kind == "u":
        raise ValueError(
            f"codes must be floating point, signed integer or bool, got dtype {values.dtype}"
            + (" (packed already?)" if values.dtype == np.uint8 else "")
        )
    if values.dtype.kind != "i":
        missing = np.isnan(values).any(axis=1)
        if missing.any():
            raise NaNCodesError(f"codes must not be NaN; the first row with NaN is {missing.argmax()}")
    return np.packbits(values > 0, axis=1)


def unpack_codes(packed: NDArray[np.uint8], bits: int) -> NDArray[np.bool_]:
    """Packed codes -> bits. The inverse of `pack_codes`.

    Args:
        packed: (n, ceil(bits / 8)), uint8.
        bits: int >= 1, code length.

    Returns:
        (n, bits), bool.

    Raises:
        ValueError: as `check_packed`.
    """
    check_packed("packed", packed, bits)
    return np.unpackbits(packed, axis=1, count=bits).astype(np.bool_)


def hamming_distance(queries: NDArray[np.uint8], database: NDArray[np.uint8], bits: int) -> NDArray[np.int32]:
    """In how many bits the codes of queries and of a database differ.

    The result is the whole q x n array; for large sets call it with a part of the queries at a time.

    Args:
        queries: (q, ceil(bits / 8)), packed.
        database: (n, ceil(bits / 8)), packed.
        bits: int >= 1, code length.

    Returns:
        (q, n), int32 in [0, bits].

    Raises:
        ValueError: as `check_packed`.
    """
    check_packed("queries", queries, bits)
    check_packed("database", database, bits)
    query_words, database_words = as_words(queries), as_words(database)
    distances = np.empty((len(queries), len(database)), np.int32)
    rows = max(1, _TILE_BYTES // (_WORD_BYTES * max(1, len(database))))
    for start in range(0, len(queries), rows):
        tile = distances[start : start + rows]
        differing = np.empty(tile.shape, np.uint64)
        for place, words in enumerate(zip(query_words[:, start : start + rows], database_words, strict=True)):
            np.bitwise_xor(words[0][:, None], words[1], out=differing)
            if place == 0:
                np.bitwise_count(differing, out=tile)
            else:
                tile += np.bitwise_count(differing)
    return distances


def check_packed(name: str, packed: Any, bits: int) -> None:
    """Refuse anything but packed codes of this many bits.

    Args:
        name: of the argument, for the message.
        packed: must be uint8 (n, ceil(bits / 8)) with the pad bits zero.
        bits: int >= 1, code length.

    Raises:
        ValueError: it is something else; names the argument, what was expected and what it was.
    """
    bits = whole("bits", bits, 1)
    if isinstance(packed, np.ma.MaskedArray):
        as_array(name, packed)
    if not isinstance(packed, np.ndarray) or packed.dtype != np.uint8:
        actual = f"dtype {packed.dtype}" if isinstance(packed, np.ndarray) else type(packed).__name__
        raise ValueError(f"{name} must be a numpy array of packed codes, dtype uint8, got {actual}")
    width = -(-bits // 8)
    if packed.ndim != 2 or packed.shape[1] != width:
        raise ValueError(
            f"{name} must have shape (n, {width}), {width} bytes for {bits} bits, got shape {packed.shape}"
        )
    padding = width * 8 - bits
    if padding:
        stray = packed[:, -1] & np.uint8((1 << padding) - 1)
        if stray.any():
            raise ValueError(
                f"{name} must have its last {padding} pad bits zero for {bits} bits; "
                f"the first row that has not is {np.flatnonzero(stray)[0]}"
            )


def as_words(packed: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Bytes (n, width) -> 64-bit words (ceil(width / 8), n), zero padded; each row is contiguous.

    The order of the bits inside a word is the machine's: fit for AND, XOR and counting, for nothing else.
    """
    count, width = packed.shape
    padded = np.zeros((count, -(-width // _WORD_BYTES) * _WORD_BYTES), np.uint8)
    padded[:, :width] = packed
    return np.ascontiguousarray(padded.view(np.uint64).T)
