"""All codes within a Hamming radius of a query. numpy only."""

import numpy as np
from numpy.typing import NDArray

from scbch_keras.codes import hamming_distance

_BLOCK_PAIRS = 2**21


def within_radius(
    queries: NDArray[np.uint8], codes: NDArray[np.uint8], radius: int, bits: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int32]]]:
    """Packed (q, w), (n, w) -> for each query positions (m,) and distances (m,), by distance, then by position."""
    results = []
    for query in queries:
        positions, distances = [], []
        for start in range(0, len(codes), _BLOCK_PAIRS):
            block = hamming_distance(query[None], codes[start : start + _BLOCK_PAIRS], bits)[0]
            near = np.flatnonzero(block <= radius)
            positions.append(near + start)
            distances.append(block[near])
        where = np.concatenate(positions) if positions else np.empty(0, np.int64)
        far = np.concatenate(distances) if distances else np.empty(0, np.int32)
        order = np.argsort(far, kind="stable")
        results.append((where[order], far[order]))
    return results
