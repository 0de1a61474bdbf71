"""Processes as forks of one that has imported what takes longer than their work, such as TensorFlow.

The child processes of releases: `scbch_keras.child.run_module` stays as it is; what it starts by `subprocess.run` is
forked here, with the arguments, the environment and the import path of that call. And programs of tests, in forks of
a process that has imported a backend, but not keras. Started as a program, this is the process that forks.
"""

import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from importlib.util import find_spec
from pathlib import Path

# Those of models are not among them: each file must bring its own.
OF_RELEASES = (
    "tensorflow",
    "keras",
    "tf2onnx.convert",
    "onnxruntime",
    *(
        f"scbch_keras.export.graphs.{name}"
        for name in ("build", "onnx", "saved_model", "text_onnx", "warmup")
    ),
    *(["scbch_keras.export.graphs.text_tensorflow"] if find_spec("tensorflow_text") else []),
    "scbch_keras.export.serving.encoder",
    "scbch_keras.export.validation.verify",
)
# What libraries read as they are imported; the rest of the environment is set in the fork.
_AT_IMPORT = ("CUDA_", "GOMP_", "JAX_", "LD_", "OMP_", "PYTHONHASHSEED", "TF_", "XLA_")


class Forks:
    """In place of the module `subprocess` for Python programs: in forks of a process that has imported some modules.

    imported: names of the modules.
    """

    DEVNULL, PIPE, STDOUT = subprocess.DEVNULL, subprocess.PIPE, subprocess.STDOUT

    def __init__(self, imported):
        self._imported = imported
        self._process = self._environment = None

    def run(self, command, *, env=None, stderr=subprocess.PIPE, cwd=None, timeout=None, **options):
        """As `subprocess.run`, of `python [-P] -m module arguments` or `python -c program arguments`."""
        python, *rest = command
        assert python == sys.executable
        flag, program, *arguments = rest[1:] if rest[0] == "-P" else rest
        assert flag in ("-m", "-c")
        env = dict(os.environ if env is None else env)
        environment = {name: value for name, value in env.items() if name.startswith(_AT_IMPORT)}
        if self._environment != environment:
            self.close()
            self._process = subprocess.Popen(
                [python, "-P", __file__, *self._imported],
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            self._environment = environment
        with tempfile.TemporaryDirectory() as folder:
            output, errors = Path(folder, "output"), Path(folder, "errors")
            call = {
                "flag": flag,
                "program": program,
                "arguments": [str(argument) for argument in arguments],
                "env": env,
                "cwd": os.getcwd() if cwd is None else str(cwd),
                "outputs": [str(output), None if stderr == subprocess.STDOUT else str(errors)],
            }
            self._process.stdin.write(json.dumps(call) + "\n")
            self._process.stdin.flush()
            if not select.select([self._process.stdout], [], [], timeout)[0]:
                os.killpg(self._process.pid, signal.SIGKILL)
                self.close()
                raise subprocess.TimeoutExpired(command, timeout)
            status = int(self._process.stdout.readline())
            written = [
                path.read_text("utf-8", "replace") if path.exists() else None for path in (output, errors)
            ]
            return subprocess.CompletedProcess(command, status, *written)

    def close(self):
        """End the process, and wait for it."""
        if self._process is not None:
            self._process.stdin.close()
            self._process.wait()
            self._process.stdout.close()
            self._process = self._environment = None


def _redirect(outputs):
    for number, path in enumerate(outputs, 1):
        os.dup2(1 if path is None else os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def _run(call):
    """In the fork: what a new process would do. Does not return."""
    status = 1
    try:
        _redirect(call["outputs"])
        os.chdir(call["cwd"])
        os.environ.clear()
        os.environ.update(call["env"])
        tempfile.tempdir = str(
            Path(call["outputs"][0]).parent
        )  # os._exit leaves what is to go as a process ends
        entries = call["env"]["PYTHONPATH"].split(os.pathsep) if "PYTHONPATH" in call["env"] else []
        sys.path[:] = [*entries, *(entry for entry in sys.path if entry not in entries)]
        sys.argv[1:] = call["arguments"]
        sys.orig_argv[1:] = [call["flag"], call["program"], *call["arguments"]]
        if call["flag"] == "-m":
            sys.modules.pop(call["program"], None)
            runpy.run_module(call["program"], run_name="__main__", alter_sys=True)
        else:
            sys.argv[0] = "-c"
            exec(compile(call["program"], "<string>", "exec"), {"__name__": "__main__"})
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
    for module in sys.argv[1:]:
        __import__(module)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _run(json.loads(line))
        answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
