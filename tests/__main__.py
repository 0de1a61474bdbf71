"""All tests: `python -m tests [pytest arguments]`.

NumPy-only tests run once, the others once a backend, each backend in a process of its own. A backend that is not
installed is an error: the tests pass on all three or not at all.
"""

import os
import subprocess
import sys
from pathlib import Path

RUNS = {
    "numpy only": ({}, ["-m", "numpy_only"]),
    **{name: ({"KERAS_BACKEND": name}, ["-m", "not numpy_only"]) for name in ("tensorflow", "jax", "torch")},
}


def main() -> int:
    failed = []
    for name, (env, chosen) in RUNS.items():
        print(f"\n== {name}", flush=True)
        command = [sys.executable, "-m", "pytest", *chosen, *sys.argv[1:]]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **env}
        if subprocess.run(command, env=environment, cwd=Path(__file__).parents[1]).returncode:
            failed.append(name)
    print(
        f"\nfailed: {', '.join(failed)}" if failed else "\nall tests passed, on TensorFlow, JAX and PyTorch"
    )
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
