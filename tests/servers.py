"""Programs from outside in which releases are tried: node, Chromium, onnxruntime for both, Triton, Beam.

What is not there is a reason to skip, unless SCBCH_REQUIRE_SERVERS is set: then packages are installed into a cache
folder (SCBCH_TEST_CACHE, else ~/.cache/scbch_keras-tests), and what is still missing is an error; so is every package
of the extra `test` that a test does not find. CONTRIBUTING.md says which program is tried where.
"""

import contextlib
import functools
import http.server
import json
import os
import queue
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

REQUIRED = bool(os.environ.get("SCBCH_REQUIRE_SERVERS"))
CACHE = Path(os.environ.get("SCBCH_TEST_CACHE", "~/.cache/scbch_keras-tests")).expanduser()
ONNXRUNTIME_NODE = "onnxruntime-node@1.30.0"
ONNXRUNTIME_WEB = "onnxruntime-web@1.30.0"
AXE = "axe-core@4.14.1"
BEAM = "apache-beam==2.77.0"
TRITON = ("nvidia-pytriton==0.7.0", "onnxruntime", "tritonclient[http]")
_PATIENCE = 300.0


def unavailable(reason):
    if REQUIRED:
        pytest.fail(f"SCBCH_REQUIRE_SERVERS is set, and {reason}")
    pytest.skip(f"{reason}; SCBCH_REQUIRE_SERVERS=1 installs packages and demands the rest")


def demanded(report):
    """A test's report, failed where the test was skipped for a package that it did not find and all are demanded."""
    if REQUIRED and report.skipped and "could not import" in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"SCBCH_REQUIRE_SERVERS is set, and a test was skipped: {report.longrepr}"
    return report


def program(*names):
    """Path of the first of these programs that there is."""
    found = next(filter(None, map(shutil.which, names)), None)
    return found or unavailable(f"there is no {' or '.join(names)}")


def _cached(name, *command):
    """A folder of the cache which `command`, with the folder as its last argument, fills once."""
    folder = CACHE / name
    if folder.exists():
        return folder
    if not REQUIRED:
        unavailable(f"{folder} has not been installed")
    CACHE.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=CACHE, prefix=f".{name}-"))
    try:
        done = subprocess.run([*command, str(staging)], capture_output=True, text=True)
        if done.returncode:
            unavailable(f"installing {name} failed: {done.stderr[-2000:]}")
        with contextlib.suppress(OSError):  # another process was quicker
            staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def beam():
    """Folder of Apache Beam, for PYTHONPATH: its pins are not ours, so it goes before what is installed."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    install = (sys.executable, "-m", "pip", "install", "--quiet", BEAM, "--target")
    return _cached(f"beam-{BEAM.rpartition('=')[2]}-{version}", *install)


def npm_package(package):
    """Folder of an npm package, given as name@version."""
    install = ("install", "--no-audit", "--no-fund", "--ignore-scripts", "--omit=optional", package)
    folder = _cached(package.replace("@", "-"), program("npm"), *install, "--prefix")
    return folder / "node_modules" / package.partition("@")[0]


def onnxruntime_web():
    """Folder of the files that a page needs."""
    return npm_package(ONNXRUNTIME_WEB) / "dist"


def onnxruntime_node():
    """Folder of node's modules, for NODE_PATH."""
    return npm_package(ONNXRUNTIME_NODE).parent


def axe():
    """The file of axe-core, which finds what keeps people from using a page."""
    install = ("install", "--no-audit", "--no-fund", "--ignore-scripts", AXE)
    folder = _cached(AXE.replace("@", "-"), program("npm"), *install, "--prefix")
    return folder / "node_modules" / "axe-core" / "axe.min.js"


class _Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = {  # noqa: RUF012  (the system's own table may know neither)
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        self.server.answers.put(json.loads(body))

    def log_message(self, *arguments):
        pass


def page_result(folder, page):
    """What `folder`/`page`, opened in Chromium, posts as JSON."""
    chromium = program("chromium", "chromium-browser", "google-chrome")
    handler = functools.partial(_Handler, directory=str(folder))
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        tempfile.TemporaryFile() as log,
    ):
        server.answers = queue.Queue()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        flags = (
            "--headless --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage --no-first-run "  # noqa: SIM905
            "--disable-background-networking --disable-component-update --disable-sync".split()
        )
        address = f"http://127.0.0.1:{server.server_port}/{page}"
        browser = subprocess.Popen(
            [chromium, *flags, f"--user-data-dir={profile}", address], stdout=log, stderr=log
        )
        try:
            return server.answers.get(timeout=_PATIENCE)
        except queue.Empty:
            log.seek(0)
            pytest.fail(f"the page posted nothing in {_PATIENCE} s: {log.read()[-2000:].decode()}")
        finally:
            browser.terminate()
            browser.wait()
            server.shutdown()


def _free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@contextlib.contextmanager
def triton(repository, folder):
    """The tritonserver of nvidia-pytriton on a model repository: its address, and a Python with tritonclient.

    It has the python backend only. folder: empty, for what the server writes.
    """
    if sys.platform != "linux":
        unavailable("tritonserver is for Linux")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    # Its pins are not ours, so it has an environment of its own.
    install = '"$0" -m venv "$1" && "$1/bin/python" -m pip install --quiet ' + shlex.join(TRITON)
    environment = _cached(f"pytriton-0.7.0-{version}", "sh", "-c", install, sys.executable)
    site = environment / "lib" / f"python{version}" / "site-packages"
    server = site / "pytriton" / "tritonserver"
    backends = Path(folder) / "backends"
    shutil.copytree(server / "backends" / "python", backends / "python")
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        unavailable(f"{TRITON[0]} has no python backend for Python {version}")
    shutil.copy(stub, backends / "python")
    port = _free_port()
    log = Path(folder) / "server.log"
    variables = {
        **os.environ,
        # The interpreter in the server takes its packages from the environment that PATH leads to.
        "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "LD_LIBRARY_PATH": f"{site / 'nvidia_pytriton.libs'}:{Path(sys.base_prefix) / 'lib'}",
    }
    command = (
        str(server / "bin" / "tritonserver"),
        *(f"--model-repository={repository}", f"--backend-directory={backends}"),
        *("--http-address=127.0.0.1", f"--http-port={port}", "--allow-grpc=false", "--allow-metrics=false"),
    )
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + _PATIENCE
        while not _answers(f"http://127.0.0.1:{port}/v2/health/ready"):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"tritonserver did not start: {log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.2)
        yield f"127.0.0.1:{port}", environment / "bin" / "python"
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(address):
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False
