"""A training alone, and two at once, by how long idle threads spin: `python -m benchmarks.beside [--save]`.

Threads of OpenMP spin before they sleep; where two processes want the same cores, spinning takes from the other what
it computes with. Each setting is an environment of its own: processes train a small model on this backend, one alone
and then two at once, in turns. Printed: wall and CPU seconds of the slower one, and both over those of one alone
with the first setting. Wall seconds need a machine without other work, and the load before is printed; CPU seconds show
on any how much spinning costs. `none` beside another takes many times as long: --settings leaves it out.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

from benchmarks.measure import add_save, show

SETTINGS: dict[str, dict[str, str]] = {
    "none": {},
    "GOMP_SPINCOUNT=0": {"GOMP_SPINCOUNT": "0"},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
}


def train(steps: int, epochs: int) -> None:
    """Seconds of training steps after the first two, which compile."""
    import numpy as np

    import scbch_keras as sk

    rng = np.random.default_rng(0)
    x = {
        "image": rng.standard_normal((128 * steps, 512), "float32"),
        "text": rng.standard_normal((128 * steps, 256), "float32"),
    }
    labels = (rng.random((128 * steps, 24)) < 0.1).astype("uint8")
    branches = {f"{name}_branch": sk.HashBranch(64, (1024,), name=f"{name}_branch") for name in x}
    model = sk.SCBCH(64, num_classes=24, neighbors=10, warmup_epochs=9, **branches)
    model.compile()
    model.fit(x, labels, batch_size=128, epochs=1, verbose=0)
    wall, cpu = time.perf_counter(), time.process_time()
    model.fit(x, labels, batch_size=128, epochs=epochs, verbose=0)
    print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]))


def at_once(count: int, environment: dict[str, str], steps: int, epochs: int = 3) -> tuple[float, float]:
    """Wall and CPU seconds of the slowest of so many processes."""
    command = [sys.executable, "-m", "benchmarks.beside", "--train", "--steps", str(steps)]
    command += ["--epochs", str(epochs)]
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    running = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(count)]  # noqa: S603
    times = [json.loads(process.communicate()[0].splitlines()[-1]) for process in running]
    return max(wall for wall, _ in times), max(cpu for _, cpu in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30, help="of an epoch")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    add_save(parser)
    args = parser.parse_args()
    if args.train:
        train(args.steps, args.epochs)
        return
    load = os.getloadavg()[0]
    times: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for _ in range(args.turns):
        for name in args.settings:
            for count in (1, 2):
                times.setdefault((name, count), []).append(
                    at_once(count, SETTINGS[name], args.steps, args.epochs)
                )
    middle = {
        key: [statistics.median(part) for part in zip(*values, strict=True)] for key, values in times.items()
    }
    floor = middle[args.settings[0], 1]
    rows = []
    for (name, count), (wall, cpu) in middle.items():
        ratios = f"{wall / floor[0]:.2f}", f"{cpu / floor[1]:.2f}"
        rows.append(
            [f"{name}, {'two at once' if count == 2 else 'alone'}", f"{wall:.2f}", f"{cpu:.2f}", *ratios]
        )
    columns = ["", "wall s", "CPU s", "wall over alone", "CPU over alone"]
    show("beside", columns, rows, args.save, f"Load before: {load:.1f}.")


if __name__ == "__main__":
    main()
