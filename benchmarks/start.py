"""CPU time of processes that start: `python -m benchmarks.start [--save]`.

`scbch --help` beside the import of typer's own help, its floor; the first code of a small release beside the import of
NumPy and onnxruntime; and a fit of one step, at half of the paper's width, beside the import of Keras on each backend.
In turns.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import COLUMNS, Times, add_save, show, time_columns
from benchmarks.small_release import release_small_model, strings

HELP = "import sys; sys.argv = ['scbch', '--help']; from scbch_keras.training.cli.main import main; main()"
FIRST = "import sys; from scbch_keras.export import HashEncoder; HashEncoder(sys.argv[1]).text(sys.argv[2:])"
KERAS = "import keras"
STEP = "from benchmarks.train_step import fit, model_of; fit(model_of(4096, 1), 1, 4096, 1)"
BACKENDS = {"torch": "PyTorch", "tensorflow": "TensorFlow", "jax": "JAX"}
LIBRARIES = "import os; os.environ['ORT_DISABLE_TELEMETRY'] = '1'; import numpy, onnxruntime"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=7)
    add_save(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        release = str(release_small_model(Path(folder)))
        programs = {
            "python -c pass": ["pass"],
            "typer's help": ["import typer.rich_utils"],
            "scbch --help": [HELP],
            "NumPy and onnxruntime": [LIBRARIES],
            "HashEncoder to the first codes": [FIRST, release, *strings(10)],
        }
        backends = {}
        for backend, title in BACKENDS.items():
            for name, program in ((f"Keras on {title}", KERAS), (f"a fit of one step, {title}", STEP)):
                programs[name], backends[name] = [program], backend
        results = {name: Times() for name in programs}
        for _ in range(args.turns):
            for name, program in programs.items():
                command = [sys.executable, "-c", *program]
                env = {**os.environ, "KERAS_BACKEND": backends.get(name, ""), "TF_CPP_MIN_LOG_LEVEL": "3"}
                before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
                subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                results[name].wall.append(time.perf_counter() - start)
                results[name].cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    floors = {"scbch --help": "typer's help", "HashEncoder to the first codes": "NumPy and onnxruntime"}
    floors |= {f"a fit of one step, {title}": f"Keras on {title}" for title in BACKENDS.values()}
    rows = [[name, *time_columns(times, results[floors.get(name, name)])] for name, times in results.items()]
    show("start", ["process", *COLUMNS], rows, args.save)


if __name__ == "__main__":
    main()
