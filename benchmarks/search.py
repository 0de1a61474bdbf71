"""`HammingIndex` beside bare faiss: `python -m benchmarks.search [--size 1000000] [--save]`, `... --open 100000000`.

CPU seconds of searches among codes of 64 bits, in clusters as those of a trained model: over faiss' own flat search of
the same queries, in turns; by clusters with the share of the nearest that is found. `--open` writes an index of so
many codes, and times the opening of its mapped file, the first search, and adding one code under an id after another.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.measure import COLUMNS, add_save, clocked, in_turns, show, time_columns
from scbch_keras.export import HammingIndex

BITS, K, CENTRES = 64, 100, 2000


def made(size: int, rng: np.random.Generator) -> np.ndarray:
    centres = rng.integers(0, 256, (CENTRES, BITS // 8), np.uint8)
    codes = centres[rng.integers(0, CENTRES, size)]
    for start in range(0, size, 2**20):
        block = codes[start : start + 2**20]
        block ^= np.packbits(rng.random((len(block), BITS), "float32") < 0.15, axis=1)
    return codes


def open_large(size: int) -> None:
    rng = np.random.default_rng(0)
    index = HammingIndex(BITS)
    for start in range(0, size, 10**7):
        index.add(rng.integers(0, 256, (min(10**7, size - start), BITS // 8), np.uint8))
    query = rng.integers(0, 256, (1, BITS // 8), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "index.npz")
        index.save(path)
        del index
        print(
            f"{size:,} codes: file of {path.stat().st_size / 1e6:.1f} MB, codes of {size * BITS / 8e6:.1f} MB"
        )
        opened: list[HammingIndex] = []
        cpu, wall = clocked(lambda: opened.append(HammingIndex.load(path, mapped=True)))
        print(f"mapped in {cpu:.3f} CPU s, {wall:.3f} s")
        cpu, wall = clocked(lambda: opened[0].search(query, K))
        print(f"first search {cpu:.2f} CPU s, {wall:.2f} s")
        times = [clocked(lambda id=id: opened[0].add(query, [id]))[0] for id in range(size, size + 1000)]
        print(f"one code more under an id: {times[0]:.2f} CPU s the first time (all are copied), ", end="")
        print(f"then {np.median(times[1:]) * 1e6:.0f} us, at most {max(times[1:]) * 1e3:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, default in (("size", 1_000_000), ("queries", 64), ("turns", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--open", type=int, metavar="SIZE", help="only this, with so many codes")
    add_save(parser)
    args = parser.parse_args()
    if args.open:
        open_large(args.open)
        return
    import faiss

    rng = np.random.default_rng(0)
    codes = made(args.size + args.queries, rng)
    codes, queries = codes[: args.size], codes[args.size :]
    flat = faiss.IndexBinaryFlat(BITS)
    flat.add(codes)
    indexes = {
        "HammingIndex": HammingIndex(BITS, engine="faiss"),
        "by clusters": HammingIndex(BITS, engine="ivf"),
    }
    for index in indexes.values():
        index.add(codes)
    faiss.omp_set_num_threads(1)
    rows = []
    for count in (args.queries, 1):
        some = queries[:count]
        calls = {
            f"{name}, {count} queries": lambda index=index, some=some: index.search(some, K, threads=1)
            for name, index in indexes.items()
        }
        results = in_turns(calls, lambda some=some: flat.search(some, K), args.turns)
        rows += [[name, *time_columns(times, results["floor"])] for name, times in results.items()]
        rows[-1][0] = f"faiss' flat, {count} queries"
    exact, _ = flat.search(queries, K)
    _, distances = indexes["by clusters"].search(queries, K)
    lists = indexes["by clusters"]._engine._index
    note = (
        f"The floor is faiss' own flat search. By clusters ({lists.nprobe} of {lists.nlist} probed) "
        f"{(distances <= exact[:, -1:]).mean():.3f} of the nearest are found."
    )
    show(
        "search",
        [f"{args.size:,} codes of {BITS} bits, k = {K}, one thread", *COLUMNS],
        rows,
        args.save,
        note,
    )


if __name__ == "__main__":
    main()
