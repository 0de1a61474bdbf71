"""What a serving machine needs: `python -m benchmarks.serving_environment`.

Builds a wheel of this checkout and installs it into fresh environments: with its extra onnx, as users do, and
without its dependencies beside numpy and onnxruntime alone. In each, a new process encodes strings by a small release.
Printed: megabytes of the environment and of its largest packages; seconds from the start of that process to the
first codes, the first time and the best of `--repeat`; and its processor time, which leaves out waiting for other
programs. Fails if the codes differ from those made here, or keras or tensorflow was imported.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.small_release import release_small_model, strings
from scbch_keras.export import HashEncoder

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "scbch_keras", "export", "training")
FIRST_CODES = """
import sys, time
start = time.perf_counter()
import scbch_keras.export
from scbch_keras.export import HashEncoder
imported = time.perf_counter()
codes = HashEncoder(sys.argv[1]).text(sys.argv[2:])
done = time.perf_counter()
heavy = sorted({"keras", "tensorflow", "torch", "jax"} & sys.modules.keys())
assert not heavy, f"imported: {heavy}"
import json
print(json.dumps({"codes": codes.tobytes().hex(), "inside": done - start}))
"""


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def megabytes(path: Path) -> float:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.lstat().st_size for file in files if not file.is_dir()) / 1e6


def cpu_seconds() -> float:
    """Of the processes that were run, so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(name: str, folder: Path, installs: list[list[str]], release: Path, repeat: int) -> None:
    run(sys.executable, "-m", "venv", str(folder))
    python = str(folder / "bin" / "python")
    for packages in installs:
        run(python, "-m", "pip", "install", "--quiet", *packages)
    run(python, "-m", "pip", "uninstall", "--quiet", "--yes", "pip")
    [site] = folder.glob("lib/python*/site-packages")
    sizes = {path.name: megabytes(path) for path in site.iterdir()}
    largest = sorted((entry for entry in sizes if "." not in entry), key=lambda entry: -sizes[entry])[:8]
    print(f"{name}: {megabytes(folder):.0f} MB; ", end="")
    print(", ".join(f"{entry} {sizes[entry]:.0f}" for entry in largest))
    texts = strings(10)
    expected = HashEncoder(release).text(texts).tobytes().hex()
    seconds, inside, cpu = [], [], []
    for _ in range(repeat + 1):
        start, before = time.perf_counter(), cpu_seconds()
        told = json.loads(run(python, "-P", "-c", FIRST_CODES, str(release), *texts))
        seconds.append(time.perf_counter() - start)
        cpu.append(cpu_seconds() - before)
        inside.append(told["inside"])
        if told["codes"] != expected:
            raise SystemExit(f"{name}: got codes {told['codes']}, expected {expected}")
    print(
        f"  first codes after {seconds[0]:.2f} s the first time, then at best {min(seconds[1:]):.2f} s",
        end="",
    )
    print(f" ({min(inside):.2f} s of them in our import and HashEncoder, {min(cpu):.2f} s of processor time)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeat", type=int, default=10)
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        release = release_small_model(folder / "releases")
        wheel_folder, source = folder / "wheel", folder / "source"
        source.mkdir()
        for part in SOURCES:  # a build leaves files in the tree it is made from
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, source / part)
            else:
                shutil.copy(ROOT / part, source)
        run(
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--wheel-dir",
            str(wheel_folder),
            str(ROOT),
        )
        [wheel] = map(str, wheel_folder.glob("*.whl"))
        measure("with the extra onnx", folder / "extra", [[f"{wheel}[onnx]"]], release, repeat)
        alone = [["--no-deps", wheel], ["numpy", "onnxruntime"]]
        measure("numpy and onnxruntime alone", folder / "alone", alone, release, repeat)


if __name__ == "__main__":
    main()
