"""Ray Data and Apache Beam themselves: killed and started again, they leave the codes of `HashEncoder`."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec

import numpy as np
import pytest

from tests import servers

pytestmark = [pytest.mark.numpy_only, pytest.mark.slow, pytest.mark.waits]

pa = pytest.importorskip("pyarrow")
for needed in ("onnx", "onnxruntime", "typer", "h5py"):
    pytest.importorskip(needed)

from pyarrow import parquet  # noqa: E402

from scbch_keras.export import CodesFile, HashEncoder  # noqa: E402
from tests.export.serving.test_codes_file import write_release  # noqa: E402
from tests.export.serving.test_encoder import SHAPES  # noqa: E402

SHARDS, ROWS = 40, 25
KILLED = """
import sys
from pathlib import Path
from scbch_keras.export import HashEncoder
from scbch_keras.training.bulk.run import encode_shards
release, pattern, out, engine = sys.argv[1:]
encode_shards(HashEncoder(release), pattern, "text", Path(out), id="id", engine=engine)
"""
# Of Ray both calls use one cluster, which takes seconds to start.
AGAIN = """
import json, sys
from pathlib import Path
from scbch_keras.export import HashEncoder
from scbch_keras.training.bulk.run import encode_shards
release, pattern, bad, out, engine = sys.argv[1:]
if engine == "ray":
    import ray
    ray.init(log_to_driver=False, include_dashboard=False)
encoder, error = HashEncoder(release), ""
outcome = encode_shards(encoder, pattern, "text", Path(out), id="id", engine=engine)
try:
    encode_shards(encoder, bad, "text", Path(out + "-bad"), id="id", engine=engine)
except ValueError as raised:
    error = str(raised)
print(json.dumps([outcome, error]))
"""


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("releases") / "icons" / "1", b"a model")


@pytest.fixture(params=["ray", "beam"])
def engine(request):
    """An engine, and the environment in which Python has it."""
    if request.param == "beam":
        yield "beam", {**os.environ, "PYTHONPATH": str(servers.beam())}
        return
    if find_spec("ray") is None:
        servers.unavailable("ray is not installed")
    # Short: there are sockets in it, whose paths must be.
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    # Ray gives its workers what others leave of the processors, which on a busy machine is nothing.
    yield "ray", {**os.environ, "RAY_TMPDIR": folder, "RAY_worker_niceness": "0", "RAY_AUTH_MODE": "disabled"}
    shutil.rmtree(folder, ignore_errors=True)


def test_killed_and_started_again_an_engine_gives_the_codes_of_hash_encoder(release, engine, tmp_path):
    name, environment = engine
    features = np.random.default_rng(0).random((SHARDS, ROWS, SHAPES["text"][1])).astype(np.float32)
    for folder in ("in", "bad"):
        (tmp_path / folder).mkdir()
    for shard, rows in enumerate(features):
        columns = {"text": rows.tolist(), "id": [f"{shard}-{row}" for row in range(ROWS)]}
        parquet.write_table(pa.table(columns), tmp_path / "in" / f"{shard:02}.parquet")
    parquet.write_table(pa.table({"text": [[0.0]], "id": ["a"]}), tmp_path / "bad" / "narrow.parquet")
    pattern, out = str(tmp_path / "in" / "*.parquet"), tmp_path / "out"

    # In a session of its own: what an engine does to its process group as it ends is not done to the tests.
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED, release, pattern, out, name],
        env=environment,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    while killed.poll() is None and len(list((out / "_shards").glob("[!.]*.json"))) < 2:
        time.sleep(0.02)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL, killed.stderr.read().decode()
    left = {path.name for path in (out / "_shards").glob("[!.]*.json")}
    assert 2 <= len(left) < SHARDS

    bad = str(tmp_path / "bad" / "*.parquet")
    done = subprocess.run(
        [sys.executable, "-c", AGAIN, release, pattern, bad, out, name],
        env=environment,
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert done.returncode == 0, done.stderr
    (shards, encoded, rows), error = json.loads(done.stdout.splitlines()[-1])
    assert (shards, rows) == (SHARDS, SHARDS * ROWS)
    assert 0 < encoded <= SHARDS - len(left)
    encoder = HashEncoder(release)
    for shard, values in enumerate(features):
        codes = CodesFile.open(out / f"{shard:02}.parquet.npy")
        np.testing.assert_array_equal(codes.codes, encoder.text(values))
        assert codes.ids == [f"{shard}-{row}" for row in range(ROWS)]
    manifest = json.loads((out / "_manifest.json").read_text())
    assert len(manifest["finished"]) == SHARDS
    assert not [path for path in out.rglob(".*") if path.name != ".bulk.lock"]
    assert "narrow.parquet" in error
    assert "shape" in error
    assert not list((tmp_path / "out-bad").glob("*.npy"))
