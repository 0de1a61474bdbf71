"""Times that survive a busy machine, and files of what was measured.

Other work on a machine stretches wall time and, less, CPU seconds. So everything is measured in turns (A B A B), with a
floor of known work between any two steps, and printed as minimum and median of CPU seconds of this process beside wall
seconds; ratios are those of the least and of the median CPU seconds.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "numba", "onnxruntime", "faiss-cpu")


@dataclass
class Times:
    """CPU and wall seconds of one call, a turn each."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)


def clocked(call: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds of this process and wall seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


def sgemm(size: int = 1024) -> Callable[[], object]:
    """A square float32 product of NumPy: 2 size^3 FLOP."""
    a = np.random.default_rng(0).standard_normal((size, size), "float32")
    return lambda: a @ a


def in_turns(
    calls: Mapping[str, Callable[[], object]], floor: Callable[[], object], turns: int
) -> dict[str, Times]:
    """Each call once a turn, after one not counted, and the floor before each; "floor" among the results."""
    for call in (floor, *calls.values()):
        call()
    results = {name: Times() for name in (*calls, "floor")}

    for _ in range(turns):
        for name in calls:
            for step, call in (("floor", floor), (name, calls[name])):
                cpu, wall = clocked(call)
                results[step].cpu.append(cpu)
                results[step].wall.append(wall)
    return results


COLUMNS = ("CPU s, least", "median", "wall s, least", "median", "least over the floor's", "median over its")


def time_columns(times: Times, floor: Times) -> list[str]:
    """The cells under `COLUMNS`."""
    cells = [
        f"{value:.3g}" for part in (times.cpu, times.wall) for value in (min(part), statistics.median(part))
    ]
    return [*cells, *(f"{of(times.cpu) / of(floor.cpu):.2f}" for of in (min, statistics.median))]


def processor() -> str:
    """The processor's name and the number of its cores that this process may use."""
    name = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def versions() -> dict[str, str]:
    """Of Python and of the packages that times depend on, as far as they are installed."""
    installed = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def add_save(parser: argparse.ArgumentParser) -> None:
    """The option --save."""
    parser.add_argument(
        "--save", action="store_true", help="write the table to benchmarks/results/, for README.md"
    )


def show(
    name: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    save: bool,
    note: str = "",
    **details: Any,
) -> None:
    """Print a table, and with `save` write it to results/NAME.json with what it was measured on.

    Args:
        name: of the file, and of the table in README.md.
        columns: titles; the first is that of the rows' names, mostly empty.
        rows: cells.
        save: whether to write.
        note: a line below the table.
        details: whatever else belongs into the file, as JSON has it.
    """
    rows = [list(map(str, row)) for row in rows]
    widths = [max(len(row[place]) for row in (columns, *rows)) for place in range(len(columns))]
    for row in (columns, *rows):
        padded = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        print(row[0].ljust(widths[0]), *padded[1:], sep="  ")
    if note:
        print(note)
    if save:
        module = sys.modules["__main__"].__spec__
        content = {
            "command": " ".join(["python -m", module.name if module else sys.argv[0], *sys.argv[1:]]),
            "note": note,
            "columns": list(columns),
            "rows": rows,
            "processor": processor(),
            "versions": versions(),
            "load": [round(load, 2) for load in os.getloadavg()],
            "date": time.strftime("%Y-%m-%d"),
            **details,
        }
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{name}.json"
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{path}: written; python -m benchmarks.tables puts it into README.md")
