"""Encoding and searching for long: `python -m benchmarks.soak [--calls N] [--threads T]`.

Half of the calls encode a text or the features of an image, half search an index for such a code, from many threads
that share one encoder and one index, to which one more thread adds codes and from which it removes them. Every answer
is compared with the one computed beforehand. Printed are the calls so far and the resident memory, twenty times; ends
with 1 after a wrong answer, or where memory grew by more than a tenth from the first to the last quarter.
"""

import argparse
import multiprocessing
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.small_release import BITS, images, release_small_model, strings
from scbch_keras.codes import hamming_distance
from scbch_keras.export import HammingIndex, HashEncoder

DATABASE, QUERIES, NEAREST, LINES = 10_000, 500, 10, 20
GROWTH = 1.1


def resident() -> float:
    """Memory of this process, in MiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


class Soak:
    """The encoder and the index that all threads share, and their right answers."""

    def __init__(self, release: Path):
        self.encoder = HashEncoder(release)
        self.texts, self.images = strings(QUERIES), images(QUERIES)
        self.codes = {"text": self.encoder.text(self.texts), "image": self.encoder.image(self.images)}
        rng = np.random.default_rng(0)
        database = rng.integers(0, 256, (DATABASE, BITS // 8), np.uint8)
        self.index = HammingIndex(BITS)
        self.index.add(database)
        self.nearest = {name: self.index.search(codes, NEAREST) for name, codes in self.codes.items()}
        # What comes and goes is farther from every query than what the query finds.
        candidates = rng.integers(0, 256, (DATABASE, BITS // 8), np.uint8)
        near = np.zeros(DATABASE, bool)
        for name, codes in self.codes.items():
            farthest = self.nearest[name][1][:, -1:]
            near |= (hamming_distance(codes, candidates, BITS) <= farthest).any(axis=0)
        self.guests = candidates[~near][:64]
        self.stopping = threading.Event()
        self.changes = 0

    def call(self, number: int) -> bool:
        """One encoding or one search; whether the answer is right."""
        row, modality = number // 4 % QUERIES, ("text", "image")[number // 2 % 2]
        expected = self.codes[modality][row]
        if number % 2:
            ids, distances = self.index.search(expected[None], NEAREST)
            return all(
                map(np.array_equal, (ids[0], distances[0]), (part[row] for part in self.nearest[modality]))
            )
        if modality == "text":
            return np.array_equal(self.encoder.text([self.texts[row]])[0], expected)
        return np.array_equal(self.encoder.image(self.images[row : row + 1])[0], expected)

    def change(self) -> None:
        """Add and remove codes until it is stopped."""
        ids = np.arange(len(self.guests)) + DATABASE
        while not self.stopping.wait(0.5):
            self.index.add(self.guests, ids)
            self.index.remove(ids)
            self.changes += 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=16)
    arguments = parser.parse_args()
    if arguments.calls < LINES:
        parser.error(f"--calls: expected at least {LINES}, got {arguments.calls}")
    with tempfile.TemporaryDirectory() as folder:
        releasing = multiprocessing.get_context("spawn").Process(
            target=release_small_model, args=(Path(folder, "releases"),)
        )
        releasing.start()  # so that this process holds what serving needs and no more
        releasing.join()
        soak = Soak(Path(folder, "releases", "latest"))
        changing = threading.Thread(target=soak.change)
        changing.start()
        memory, wrong, begin = [], 0, time.perf_counter()
        try:
            with ThreadPoolExecutor(arguments.threads) as pool:
                for line in range(LINES):
                    part = range(arguments.calls * line // LINES, arguments.calls * (line + 1) // LINES)
                    chunks = (part[start : start + 500] for start in range(0, len(part), 500))
                    right = pool.map(lambda chunk: sum(map(soak.call, chunk)), chunks)
                    wrong += len(part) - sum(right)
                    memory.append(resident())
                    seconds = time.perf_counter() - begin
                    print(
                        f"{part.stop:>9,} calls, {wrong} wrong, {memory[-1]:.0f} MiB, {seconds:.0f} s",
                        flush=True,
                    )
        finally:
            soak.stopping.set()
            changing.join()
    quarter = LINES // 4
    before, after = max(memory[:quarter]), max(memory[-quarter:])
    print(
        f"{arguments.calls:,} calls from {arguments.threads} threads, {soak.changes:,} changes of the index: "
        f"{wrong} wrong; most memory in the first quarter {before:.0f} MiB, in the last {after:.0f} MiB"
    )
    if wrong or after > GROWTH * before:
        sys.exit(1)


if __name__ == "__main__":
    main()
