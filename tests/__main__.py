"""All tests: `python -m tests [--quick] [pytest arguments]`.

NumPy-only tests run once, the others once a backend, each part in a process of its own, which imports only the files
that have tests of the part. What waits more than it computes is a part of its own, beside which the others have the
cores. A backend that is not installed is an error: the tests pass on all three or not at all.

TensorFlow has two sets of kernels on a CPU, and takes oneDNN's where the processor has AVX512-VNNI or AVX512-BF16:
each part says which, so that they do not depend on the machine. Releases are made with oneDNN's in the PyTorch
part, without in the others; what else depends on them runs once more, with them.

XLA, which compiles the small models of these tests on TensorFlow and JAX, is told not to optimise them, and to use its
older emitters of code, which are quicker: that took longer than to run them. The trainings of the authors run once
more, compiled as they are for users. So is everything where pytest is called itself, as the workflow does.

--quick: for the work in between, PyTorch and NumPy alone, without releases, servers, stores and what else is slow.
"""

import ast
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TESTS = Path(__file__).parent
FILES = sorted(TESTS.rglob("test_*.py"))
# Without AVX2 there are no fused multiply-adds, by which the older emitters round otherwise from program to program.
PLAINLY = {
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_max_isa=AVX"
}


def _part(
    backend: str | None, one_dnn: bool, chosen: str, **environment: str
) -> tuple[dict[str, str], list[str]]:
    env = {} if backend is None else {"KERAS_BACKEND": backend}
    return {**env, "TF_ENABLE_ONEDNN_OPTS": str(int(one_dnn)), **environment}, ["-m", chosen]


# The longest first, so that all end together.
RUNS = {
    "torch": _part("torch", True, "not numpy_only"),
    "jax": _part("jax", False, "not numpy_only", **PLAINLY),
    "numpy only, waiting": _part(None, False, "numpy_only and waits"),
    "tensorflow": _part("tensorflow", False, "not numpy_only", **PLAINLY),
    "numpy only": _part(None, False, "numpy_only and not waits"),
    "tensorflow optimised, with oneDNN": _part("tensorflow", True, "onednn"),
    "jax optimised": _part("jax", False, "optimised"),
}
QUICK = {
    "torch": _part("torch", True, "not numpy_only and not release and not slow"),
    "numpy only": _part(None, False, "numpy_only and not slow"),
}
# One more than the cores of most machines that test: each waits at times, for a process, a disk or a server.
AT_ONCE = 3


def _marked(path: Path, marker: str) -> bool:
    """Whether all tests of a file have a marker, by its `pytestmark`."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets) == "pytestmark":
            return f"mark.{marker}" in ast.unparse(node.value)
    return False


def files_of(chosen: str) -> list[str]:
    """The files that have tests of a part, by its markers, such as "numpy_only and not slow"; more at most."""

    def may_have(path: Path, marker: str) -> bool:
        if marker.startswith("not "):
            return not _marked(path, marker.removeprefix("not "))
        return f"mark.{marker}" in path.read_text(encoding="utf-8")

    return [str(path) for path in FILES if all(may_have(path, marker) for marker in chosen.split(" and "))]


def run(name: str, part: tuple[dict[str, str], list[str]], arguments: list[str]) -> bool:
    """Run one part and show its output as it ends; whether it passed."""
    env, chosen = part
    # Files named by the user are the only ones.
    files = (
        []
        if any(Path(argument.partition("::")[0]).exists() for argument in arguments)
        else files_of(chosen[1])
    )
    command = [sys.executable, "-m", "pytest", *chosen]
    # One thread each: two parts whose threads wait for one another's cores take several times as long.
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **env}
    print(f"== {name}: running", flush=True)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        # Not in the command line, by whose words others choose the processes that they end.
        listed = Path(folder, "files")
        listed.write_text("\n".join(files), encoding="utf-8")
        done = subprocess.run(
            [*command, *([f"@{listed}"] if files else []), *arguments],
            env=environment,
            cwd=TESTS.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    print(f"\n== {name}: {time.monotonic() - start:.0f} s\n{done.stdout}", flush=True)
    return done.returncode == 0


def main() -> int:
    arguments = [argument for argument in sys.argv[1:] if argument != "--quick"]
    parts = QUICK if "--quick" in sys.argv[1:] else RUNS
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = {name: pool.submit(run, name, part, arguments) for name, part in parts.items()}
    failed = [name for name, done in running.items() if not done.result()]
    print(f"\nfailed: {', '.join(failed)}" if failed else f"\nall tests passed: {', '.join(parts)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
