"""All tests: `python -m tests [pytest arguments]`.

NumPy-only tests run once, the others once a backend, each in a process of its own. A backend that is not
installed is an error: the tests pass on all three or not at all.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# The longest first. Two at a time: much of the time is one compiler's, on one core.
RUNS = {
    **{name: ({"KERAS_BACKEND": name}, ["-m", "not numpy_only"]) for name in ("tensorflow", "jax", "torch")},
    "numpy only": ({}, ["-m", "numpy_only"]),
}
AT_ONCE = 2


def run(name: str) -> bool:
    """Run one part and show its output as it ends; whether it passed."""
    env, chosen = RUNS[name]
    command = [sys.executable, "-m", "pytest", *chosen, *sys.argv[1:]]
    # One thread each: two parts whose threads wait for one another's cores take several times as long.
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **env}
    print(f"== {name}: running", flush=True)
    done = subprocess.run(
        command,
        env=environment,
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    print(f"\n== {name}\n{done.stdout}", flush=True)
    return done.returncode == 0


def main() -> int:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        passed = dict(zip(RUNS, pool.map(run, RUNS), strict=True))
    failed = [name for name, fine in passed.items() if not fine]
    print(
        f"\nfailed: {', '.join(failed)}" if failed else "\nall tests passed, on TensorFlow, JAX and PyTorch"
    )
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
