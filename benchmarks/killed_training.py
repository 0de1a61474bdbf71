"""Trainings killed at many points in time: `python -m benchmarks.killed_training [--points 20] [--backends torch ...]`.

On each backend a tiny run is trained once, timed from its first epoch to the end of its process; then again and again,
each time killed (SIGKILL) at another point, spread evenly over that time, and resumed; every second one is killed once
more on the way. Each must end with the history, codes and confidence of the run that was left alone, bit for bit.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ARRAYS = ("query_image_codes", "database_text_codes", "confidence", "map_image_first", "map_text_last")
SETTINGS: dict[str, Any] = {
    "bits": 16,
    "epochs": 6,
    "noise": 0.3,
    "batch_size": 32,
    "image_units": [16],
    "text_units": [16],
    "neighbors": 5,
    "warmup_epochs": 1,
}


def write_pairs(path: Path, rows: int = 160) -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((rows, 4)) < 0.4).astype(np.uint8)
    labels[np.arange(rows), np.arange(rows) % 4] = 1
    image = labels @ rng.standard_normal((4, 12)) + 0.3 * rng.standard_normal((rows, 12))
    text = labels @ rng.random((4, 10)) > 0.8
    np.savez(path, image=image.astype(np.float32), text=text.astype(np.float32), labels=labels)


def train(data: Path, path: Path, backend: str, ready: Any) -> None:
    """Start a run, or go on with it; `ready` is set as the first epoch begins."""
    import keras

    from scbch_keras.training.runs import train as training
    from scbch_keras.training.runs.folder import RunError, RunFolder
    from scbch_keras.training.runs.open_data import open_data
    from scbch_keras.training.runs.recipe import resolve

    try:
        run = RunFolder.open(path)
    except RunError:  # it was killed before it began
        run = RunFolder.create(path, resolve(data=str(data), backend=backend, **SETTINGS), {})
    if run.finished:  # it was killed between its end and that of its process
        return
    begun = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: ready.set())
    training.train(run, open_data(run.recipe, run.path), verbose=0, callbacks=[begun])


def trained(
    context: Any, arguments: tuple[Path, Path, str], seconds: float | None = None
) -> tuple[float, bool]:
    """Train and kill that long after the first epoch began; how long it ran from there, and whether it was killed."""
    ready = context.Event()
    process = context.Process(target=train, args=(*arguments, ready))
    process.start()
    while not ready.wait(1):
        if process.exitcode == 0:  # there was nothing left to train
            return 0.0, False
        if process.exitcode is not None:
            raise SystemExit("the training could not start")
    started = time.perf_counter()
    process.join(seconds)
    killed = process.exitcode is None
    if killed:
        process.kill()
        process.join()
    elif process.exitcode:
        raise SystemExit("the training failed")
    return time.perf_counter() - started, killed


def result(path: Path) -> tuple[Any, dict[str, bytes]]:
    """History of a finished run, and the bytes of its arrays."""
    from scbch_keras.training.runs.folder import RunFolder

    run = RunFolder.open(path)
    if not run.finished:
        raise SystemExit(f"{path.name} is not finished")
    return run.state["history"], {name: run.array(name).tobytes() for name in ARRAYS}


def killed_and_resumed(backend: str, points: int) -> None:
    """Kill runs of a backend at so many points; SystemExit if one does not go on to the same result."""
    # The backend is imported once, in a server that forks a process for each training before anything runs in it, and
    # tensorflow too, which keras imports to set its seed wherever it is installed.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["scbch_keras.training.runs.train", "tensorflow"])
    with tempfile.TemporaryDirectory() as base:
        data = Path(base, "pairs.npz")
        write_pairs(data)
        whole, _ = trained(context, (data, Path(base, "whole"), backend))
        expected = result(Path(base, "whole"))
        print(f"{backend}: a run takes {whole:.1f} s", flush=True)
        kills = 0
        for point in range(points):
            run = (data, Path(base, f"run-{point}"), backend)
            moments = [whole * (point + 1) / (points + 1), whole / 3][: 1 + point % 2]
            kills += sum(trained(context, run, moment)[1] for moment in moments)
            trained(context, run)
            if result(run[1]) != expected:
                raise SystemExit(f"{backend}: killed at {moments} s, the run ended otherwise")
        print(f"{backend}: {points} runs, {kills} kills; all ended bit for bit alike", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--points", type=int, default=20, help="kills a backend, those on the way not counted"
    )
    parser.add_argument("--backends", nargs="+", default=["tensorflow", "jax", "torch"])
    arguments = parser.parse_args()
    for backend in arguments.backends:
        os.environ["KERAS_BACKEND"] = backend
        process = multiprocessing.get_context("spawn").Process(
            target=killed_and_resumed, args=(backend, arguments.points)
        )
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
