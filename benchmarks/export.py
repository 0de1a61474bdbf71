"""A release at the paper's sizes, its encoder's speed, and search: `python -m benchmarks.export`.

Release: seconds, file sizes and peak memory (this process, and the largest of its children) for the paper's
branches (4096-8192-8192-64 and 1386-8192-64) with random weights. Encoder: image rows a second through the
ONNX file in batches of 256, over the rate that numpy's sgemm allows; and one row alone, over a product of as
many weights with one vector, which reads them once. Search: queries a second of `HammingIndex` with each
engine, over those of faiss' IndexBinaryFlat. What a ratio compares is measured in turns in the same run, the
best of `--repeat` rounds; absolute times mean nothing across machines.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable

import numpy as np

from scbch_keras.export import HammingIndex, HashEncoder

IMAGE, TEXT, WIDTH, BITS = 4096, 1386, 8192, 64
WEIGHTS = IMAGE * WIDTH + WIDTH * WIDTH + WIDTH * BITS


def best_seconds(call: Callable[[], object], repeat: int) -> float:
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def gigabytes(who: int) -> float:
    return resource.getrusage(who).ru_maxrss * 1024 / 1e9


def measure_release(folder: str) -> None:
    import keras

    from scbch_keras import SCBCH
    from scbch_keras.export import release

    model = SCBCH(bits=BITS)
    model.build({"image": (None, IMAGE), "text": (None, TEXT)})
    start = time.perf_counter()
    released = release(model, folder)
    seconds = time.perf_counter() - start
    sizes = {name: entry["bytes"] / 1e6 for name, entry in released.manifest["files"].items()}
    print(f"release from {keras.backend.backend()}: {seconds:.0f} s, {sum(sizes.values()):.0f} MB")
    for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:4]:
        print(f"  {name:<45} {size:8.1f} MB")
    print(f"  peak memory: {gigabytes(resource.RUSAGE_SELF):.1f} GB here, ", end="")
    print(f"{gigabytes(resource.RUSAGE_CHILDREN):.1f} GB in the largest child")
    for name, found in released.manifest["verification"]["encoders"].items():
        print(
            f"  {name:<28} {found['bits_different']} of {found['bits_compared']} bits differ, "
            f"codes by at most {found['largest_code_difference']:.1e}"
        )


def measure_encoder(folder: str, repeat: int) -> None:
    start = time.perf_counter()
    encoder = HashEncoder(f"{folder}/latest")
    print(f"HashEncoder opens both encoders in {time.perf_counter() - start:.1f} s")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1024, IMAGE), np.float32)
    a, b = (rng.standard_normal((4096, 4096), np.float32) for _ in range(2))
    weights = rng.standard_normal((WEIGHTS // WIDTH, WIDTH), np.float32)
    vector = rng.standard_normal(WIDTH, np.float32)
    encoder.image(x[:256])
    floors: list[float] = []
    batches: list[float] = []
    reads: list[float] = []
    ones: list[float] = []
    for _ in range(repeat):
        for times, call in (
            (floors, lambda: a @ b),
            (batches, lambda: encoder.image(x, batch_size=256)),
            (floors, lambda: a @ b),
            (reads, lambda: weights @ vector),
            (ones, lambda: encoder.image(x[:1])),
            (reads, lambda: weights @ vector),
        ):
            times.append(best_seconds(call, 1))
    rate = 2 * 4096**3 / min(floors)
    print(f"  batch 256: {len(x) / min(batches):.0f} rows/s, ", end="")
    print(f"{2 * WEIGHTS * len(x) / min(batches) / rate:.2f} of the sgemm rate ({rate / 1e9:.0f} GFLOP/s)")
    print(f"  batch 1: {min(ones) * 1e3:.1f} ms, {min(ones) / min(reads):.2f} times reading the weights once")


def measure_search(size: int, queries: int, k: int, repeat: int) -> None:
    import faiss

    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (size, BITS // 8), np.uint8)
    query = rng.integers(0, 256, (queries, BITS // 8), np.uint8)
    flat = faiss.IndexBinaryFlat(BITS)
    flat.add(codes)
    calls: dict[str, Callable[[], object]] = {"faiss IndexBinaryFlat": lambda: flat.search(query, k)}
    for engine in ("faiss", "numpy"):
        index = HammingIndex(BITS, engine=engine)
        index.add(codes)
        calls[f"HammingIndex, {engine}"] = lambda index=index: index.search(query, k)  # type: ignore[misc]
    times = {name: float("inf") for name in calls}
    for _ in range(repeat):
        for name, call in calls.items():
            times[name] = min(times[name], best_seconds(call, 1))
    print(f"search: {size} codes of {BITS} bits, {queries} queries, k = {k}")
    reference = times["faiss IndexBinaryFlat"]
    for name, seconds in times.items():
        print(f"  {name:<24} {queries / seconds:8.0f} queries/s  {reference / seconds:5.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, default in (("size", 1_000_000), ("queries", 500), ("k", 100), ("repeat", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", choices=("release", "search"))
    arguments = parser.parse_args()
    if arguments.only != "search":
        with tempfile.TemporaryDirectory() as folder:
            measure_release(folder)
            measure_encoder(folder, arguments.repeat)
    if arguments.only != "release":
        measure_search(arguments.size, arguments.queries, arguments.k, arguments.repeat)


if __name__ == "__main__":
    main()
