"""The child processes of releases as forks of one that has imported TensorFlow: an import takes longer than the work.

`scbch_keras.child.run_module` stays as it is; what it starts by `subprocess.run` is forked here, with the arguments,
the environment and the import path of that call. Started as a program, this is the process that forks.
"""

import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

IMPORTED = (
    "tensorflow",
    "keras",
    "tf2onnx",
    "onnxruntime",
    "scbch_keras.export.graphs.build",
    "scbch_keras.export.validation.verify",
)
# What differs from call to call, and is set in the fork.
_OF_A_CALL = ("PYTHONPATH", "PYTEST_CURRENT_TEST")


class Forks:
    """Takes the place of the module `subprocess` in `scbch_keras.child`."""

    DEVNULL, PIPE, STDOUT = subprocess.DEVNULL, subprocess.PIPE, subprocess.STDOUT

    def __init__(self):
        self._process = self._environment = None

    def run(self, command, *, env, **options):
        """As `subprocess.run`, of `python -P -m module arguments`."""
        python, isolated, flag, module, *arguments = command
        assert (python, isolated, flag) == (sys.executable, "-P", "-m")
        environment = {name: value for name, value in env.items() if name not in _OF_A_CALL}
        if self._environment != environment:
            self.close()
            self._process = subprocess.Popen(
                [python, "-P", __file__],
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._environment = environment
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder, "output")
            call = {
                "module": module,
                "arguments": arguments,
                "env": env,
                "cwd": os.getcwd(),
                "output": str(output),
            }
            self._process.stdin.write(json.dumps(call) + "\n")
            self._process.stdin.flush()
            status = int(self._process.stdout.readline())
            return subprocess.CompletedProcess(command, status, output.read_text("utf-8", "replace"))

    def close(self):
        """End the process, and wait for it."""
        if self._process is not None:
            self._process.stdin.close()
            self._process.wait()
            self._process.stdout.close()
            self._process = self._environment = None


def _run(call):
    """In the fork: what a new process would do. Does not return."""
    status = 1
    try:
        output = os.open(call["output"], os.O_WRONLY | os.O_CREAT)
        for number in (1, 2):
            os.dup2(output, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(call["cwd"])
        os.environ.clear()
        os.environ.update(call["env"])
        entries = call["env"]["PYTHONPATH"].split(os.pathsep)
        sys.path[:] = [*entries, *(entry for entry in sys.path if entry not in entries)]
        sys.argv[1:] = call["arguments"]
        sys.modules.pop(call["module"], None)
        runpy.run_module(call["module"], run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _serve():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for module in IMPORTED:
        __import__(module)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _run(json.loads(line))
        answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
