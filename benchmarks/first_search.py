"""From `pip install` to the first search on pictures of one's own: `python -m benchmarks.first_search [--keep FOLDER]`.

Builds a wheel of this checkout, and installs it with the extras of one backend into a fresh environment; draws 300
pictures with a table, a quarter of whose labels are wrong; then, as a user types them: audit, fix, train, export,
encode, search. A person's decisions are taken from the labels that were drawn, for the first 60 rows that the audit
doubts. Printed: seconds of each step, and of all; the labels that are right before and after. Fails if the search does
not find the word.
"""

import argparse
import csv
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "build_backend", "scbch_keras", "export", "training")
EXTRAS = "tensorflow,train,export,onnx"
# Of different grey, which is what pixels:16 sees.
KINDS = {"beach": (230, 210, 150), "dog": (80, 40, 20), "kitchen": (90, 140, 200), "mug": (200, 40, 60)}
ROWS, DECIDED = 300, 60
COLUMNS = ("id", "label", "given", "decision", "new_labels", "who", "when")
LIMIT = 300


def draw(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """300 pictures and their table; true and given label by id."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    true, given = {}, {}
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("id", "picture", "text", "labels"))
        for row in range(ROWS):
            name, kind = f"p{row}", list(KINDS)[row % len(KINDS)]
            pixels = np.clip(np.array(KINDS[kind]) + rng.integers(-60, 60, (240, 320, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name}.jpg")
            wrong = rng.choice([other for other in KINDS if other != kind])
            true[name], given[name] = kind, str(wrong) if rng.random() < 0.25 else kind
            table.writerow((name, f"{name}.jpg", f"a {kind} on photo {row % 9}", given[name]))
    return true, given


def decide(audit: Path, out: Path, true: dict[str, str], given: dict[str, str]) -> None:
    """What a person decides on the first rows of audit.csv."""
    with audit.open(newline="", encoding="utf-8") as file:
        doubted = [row["id"] for row in csv.DictReader(file)][:DECIDED]
    with out.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for name in doubted:
            new = true[name]
            decision = "keep" if new == given[name] else "edit"
            label = given[name] if decision == "keep" else ""
            table.writerow((name, label, given[name], decision, new, "bench", "2026-01-01T00:00:00+00:00"))


def right(table: Path, true: dict[str, str]) -> float:
    with table.open(newline="", encoding="utf-8") as file:
        return float(np.mean([row["labels"] == true[row["id"]] for row in csv.DictReader(file)]))


class Steps:
    """Runs commands, and prints the seconds of each."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.wall, self.cpu = folder, 0.0, 0.0
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "120"}
        self.environment = {
            k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "KERAS_BACKEND")
        } | quiet
        print(f"{'step':10} {'wall s':>8} {'CPU s':>8}", flush=True)

    def run(self, name: str, *command: object) -> str:
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(  # noqa: S603
            [str(part) for part in command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self.wall, self.cpu = self.wall + wall, self.cpu + cpu
        print(f"{name:10} {wall:8.1f} {cpu:8.1f}", flush=True)
        return done.stdout


def measure(folder: Path) -> None:
    sources, wheels = folder / "sources", folder / "wheels"
    sources.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, sources / name)  # type: ignore[operator]
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, sources]
    subprocess.run([str(part) for part in build], check=True)  # noqa: S603
    (wheel,) = wheels.glob("*.whl")
    true, given = draw(folder / "photos")
    steps = Steps(folder)
    python, scbch = folder / "env/bin/python", folder / "env/bin/scbch"
    steps.run("venv", sys.executable, "-m", "venv", folder / "env")
    steps.run("install", python, "-m", "pip", "install", "--quiet", f"{wheel}[{EXTRAS}]")
    steps.run("audit", scbch, "audit", "photos", "--out", "audit")
    decide(folder / "audit/audit.csv", folder / "corrections.csv", true, given)
    steps.run("fix", scbch, "fix", "photos", "corrections.csv", "--out", "fixed")
    steps.run(
        *("train", scbch, "train", "fixed", "--out", "run", "--image-features", "pixels:16", "--bits", 32),
        *("--variant", "posterior", "--epochs", 20, "--set", "batch_size=32"),
    )
    steps.run("export", scbch, "export", "run", "--out", "releases/photos")
    release = "releases/photos/latest"
    steps.run(
        "encode", scbch, "encode", release, "fixed/table.csv", "--modality", "image", "--out", "photos.npy"
    )
    found = steps.run("search", scbch, "search", "photos.npy", "a dog", "--release", release, "--k", 5)
    print(f"{'all':10} {steps.wall:8.1f} {steps.cpu:8.1f}   (wanted: under {LIMIT} s on 2 cores)")
    print(f"{os.cpu_count()} cores; mean load of the last 5 minutes: {os.getloadavg()[1]:.1f}")
    tables = (folder / part / "table.csv" for part in ("photos", "fixed"))
    print(
        "labels that are right: {:.0%} before, {:.0%} after".format(*(right(table, true) for table in tables))
    )
    names = [name for name in true if f" {name} " in found]
    print(f"a dog: {', '.join(f'{name} ({true[name]})' for name in names)}")
    if not names or {true[name] for name in names} != {"dog"}:
        raise SystemExit(f"the search found something else:\n{found}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--keep", type=Path, help="a new folder to work in, which stays; else a temporary one"
    )
    arguments = parser.parse_args()
    if arguments.keep is None:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder).resolve())
    else:
        arguments.keep.mkdir(parents=True)
        measure(arguments.keep.resolve())


if __name__ == "__main__":
    main()
