"""The nearest codes ranked again by the continuous code of the query: codes of the database stay packed bits.

A query need not be packed: the inner product of its continuous code h with the signs s of a code, sum_i h_i s_i, tells
codes at one Hamming distance apart. It takes a table of 256 sums for each byte of a code (asymmetric distances: Jégou
et al., Product Quantization for Nearest Neighbor Search, PAMI 2011; of binary codes Gordo et al., Asymmetric Distances
for Binary Embeddings, PAMI 2014).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.arrays import as_array, check_features
from scbch_keras.codes import pack_codes
from scbch_keras.export.serving.engines import Engine, Nearest

CANDIDATES_A_RESULT = 10
_SIGNS = 2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1) - 1
_BLOCK_LOOKUPS = 2**20


def checked_continuous(continuous: Any, codes: NDArray[np.uint8], bits: int) -> NDArray[np.float64]:
    """Continuous codes of the queries (q, bits), finite, whose signs are those of the packed ones.

    Raises:
        ValueError: they are not; the message names the first row.
    """
    continuous = as_array("rescore", continuous)
    check_features("rescore", continuous, ndim=2, rows=len(codes))
    if continuous.shape[1] != bits:
        raise ValueError(
            f"rescore must have {bits} columns, the bits of the index; got {continuous.shape[1]}."
        )
    continuous = continuous.astype(np.float64)
    differs = (pack_codes(continuous) != codes).any(axis=1)
    if differs.any():
        raise ValueError(
            "rescore must be the continuous codes of the queries, whose signs are the packed ones; row "
            f"{differs.argmax()} has others."
        )
    return continuous


def nearest_rescored(
    engine: Engine,
    queries: NDArray[np.uint8],
    continuous: NDArray[np.float64],
    codes: NDArray[np.uint8],
    k: int,
    candidates: int,
    bits: int,
    threads: int | None,
) -> Nearest:
    """The k with the largest inner product among the `candidates` nearest by Hamming distance, equals by position.

    Args:
        engine: finds the candidates.
        queries: packed, (q, ceil(bits / 8)), q >= 1.
        continuous: (q, bits).
        codes: packed, (n, ceil(bits / 8)).
        k: from 1 to `candidates`.
        candidates: from k to n.
        bits: code length.
        threads: of the engine.

    Returns:
        Positions (q, k) and Hamming distances (q, k), in the order of the inner products.
    """
    positions, distances = engine.nearest(queries, codes, candidates, bits, threads)
    tables = _tables(continuous)
    scores = np.empty(positions.shape)
    step = max(1, _BLOCK_LOOKUPS // (candidates * tables.shape[1]))
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        lookups = codes[positions[rows]].transpose(0, 2, 1).astype(np.intp)
        scores[rows] = np.take_along_axis(tables[rows], lookups, axis=2).sum(axis=1)
    order = np.lexsort((positions, -scores), axis=1)[:, :k]
    return np.take_along_axis(positions, order, axis=1), np.take_along_axis(distances, order, axis=1)


def _tables(continuous: NDArray[np.float64]) -> NDArray[np.float64]:
    """(q, bytes, 256): what each value of each byte of a code adds to the inner product. Pad bits add nothing."""
    queries, bits = continuous.shape
    padded = np.zeros((queries, -(-bits // 8) * 8))
    padded[:, :bits] = continuous
    return padded.reshape(queries, -1, 8) @ _SIGNS.T
