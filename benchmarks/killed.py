"""Exports killed at many points in time: `python -m benchmarks.killed`.

A tiny model is released once, timed; then again and again, each time killed (SIGKILL, with its children) at another
point, spread evenly over that time, the end included. After each kill every listed version must be whole by its
manifest's checksums, and `latest` must open and give the codes that it gave before.
"""

import argparse
import multiprocessing
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from scbch_keras.export import HashEncoder
from scbch_keras.export.format import manifest
from scbch_keras.export.releasing import store

BITS, WIDTH = 16, 8


def ready_to_release(folder: Path, ready: Any, go: Any) -> None:
    os.setsid()  # so that its children die with it
    from scbch_keras import SCBCH, HashBranch
    from scbch_keras.export import release

    branches = {f"{name}_branch": HashBranch(BITS, (WIDTH,)) for name in ("image", "text")}
    model = SCBCH(BITS, num_classes=2, **branches)
    model.build({"image": (None, WIDTH), "text": (None, WIDTH)})
    ready.set()
    go.wait()
    release(model, folder)


def export(folder: Path, seconds: float | None) -> tuple[float, bool]:
    """Run an export and kill it after that time; how long it ran, and whether it ended before."""
    context = multiprocessing.get_context("spawn")
    ready, go = context.Event(), context.Event()
    process = context.Process(target=ready_to_release, args=(folder, ready, go))
    process.start()
    ready.wait()
    started = time.perf_counter()
    go.set()
    process.join(seconds)
    ended = process.exitcode is not None
    if not ended and process.pid is not None:
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    elif process.exitcode:
        raise SystemExit("the export failed")
    return time.perf_counter() - started, ended


def check(folder: Path, x: np.ndarray) -> dict[int, np.ndarray]:
    """Codes of every listed version, after each was found whole."""
    codes = {}
    for version in store.versions(folder):
        path = folder / str(version)
        wrong = manifest.wrong_files(path, manifest.read(path))
        if wrong or not store.is_blessed(path):
            raise SystemExit(f"version {version} is partial: {wrong}")
        codes[version] = HashEncoder(path).image(x)
    if store.latest_version(folder) is not None:
        HashEncoder(folder / manifest.LATEST)
    return codes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--points", type=int, default=30)
    points = parser.parse_args().points
    x = np.random.default_rng(0).standard_normal((5, WIDTH), np.float32)
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base, "tiny")
        whole, _ = export(folder, None)
        before = check(folder, x)
        print(f"an export takes {whole:.1f} s; killing {points}, up to that time", flush=True)
        left = finished = 0
        for point in range(points):
            seconds, ended = export(folder, whole * (point + 1) / points)
            finished += ended
            print(f"  {'ended' if ended else 'killed'} after {seconds:.1f} s", flush=True)
            left += sum(path.name not in (store.USING, store.CHANGING) for path in folder.glob(".*"))
            codes = check(folder, x)
            if any(not np.array_equal(codes[version], values) for version, values in before.items()):
                raise SystemExit("the codes of a version changed")
            before = codes
        with store.at_work(folder):
            cleared = {path.name for path in folder.glob(".*")} == {store.USING, store.CHANGING}
        print(f"{points - finished} killed, {finished} finished first; versions {sorted(before)}, all whole")
        print(
            f"latest is {store.latest_version(folder)} and opens; {left} leftovers seen, all cleared: {cleared}"
        )


if __name__ == "__main__":
    main()
