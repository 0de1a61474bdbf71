"""What the tests share: golden cases, the reference data, small models."""

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

from scbch_keras import child
from tests.forked_children import OF_RELEASES, Forks
from tests.servers import demanded

# As the command line: beside other work, idle threads that spin take what the others compute with.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# torch before tensorflow: the other order can crash in their shared native libraries.
with contextlib.suppress(ImportError):
    import torch  # noqa: F401

# Many tests train the same small model: what JAX compiled for one serves the others, also in child processes.
COMPILED = tempfile.TemporaryDirectory(prefix="scbch_keras-compiled-")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", COMPILED.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

GOLDEN = Path(__file__).parent / "golden"
REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    return demanded((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    return demanded((yield))


@pytest.fixture(scope="session", autouse=True)
def forked_children():
    """What releases do in child processes is done in forks of one; `new_processes` is without."""
    forks = Forks(OF_RELEASES)
    child.subprocess = forks
    yield forks
    child.subprocess = subprocess
    forks.close()


@pytest.fixture(scope="session")
def new_processes(forked_children):
    """A context in which each child is a process of its own, as it is for users."""

    @contextlib.contextmanager
    def context():
        child.subprocess = subprocess
        try:
            yield
        finally:
            child.subprocess = forked_children

    return context


@pytest.fixture(scope="session")
def having_imported():
    """`subprocess.run` for Python programs, in forks of a process that has imported a module, such as a backend."""
    forks = {}

    def run(module, command, **options):
        return forks.setdefault(module, Forks((module,))).run(command, **options)

    yield run
    for each in forks.values():
        each.close()


@pytest.fixture(scope="session")
def losses_golden():
    with np.load(GOLDEN / "losses.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def trajectory():
    with np.load(GOLDEN / "training_trajectory.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def mirflickr():
    """Folder of the MIRFlickr reference data, which is not part of the repository."""
    folder = REFERENCE / "mirflickr"
    if not folder.is_dir():
        if os.environ.get("SCBCH_REQUIRE_REFERENCE"):
            pytest.fail(f"SCBCH_REQUIRE_REFERENCE is set and the reference data is not at {folder}")
        pytest.skip(f"the reference data is not at {folder}; it is not part of the repository")
    return folder


@pytest.fixture(scope="session")
def pairs():
    """240 pairs that can be learned: labels (8 classes) show in 20 image and 30 text features."""
    rng = np.random.default_rng(0)
    labels = (rng.random((240, 8)) < 0.25).astype("uint8")
    image = labels @ rng.standard_normal((8, 20)) + 0.3 * rng.standard_normal((240, 20))
    text = (labels @ rng.random((8, 30)) > 0.8).astype("uint8")
    return {"image": image.astype("float32"), "text": text}, labels


@pytest.fixture(scope="session")
def small_model():
    """A function that makes a small compiled model for `pairs`.

    On TensorFlow it is not compiled by XLA, which takes longer than these trainings; the golden trajectory and
    `compile_with` have the compiled step.
    """
    import keras

    import scbch_keras as sk

    plain = {"jit_compile": False} if keras.backend.backend() == "tensorflow" else {}

    def make(bits=20, compile_with=None, **settings):
        settings = {"num_classes": 8, "warmup_epochs": 1, "neighbors": 10, **settings}
        settings.setdefault("image_branch", sk.HashBranch(bits, (32,), name="image_branch"))
        settings.setdefault("text_branch", sk.HashBranch(bits, (32,), name="text_branch"))
        model = sk.SCBCH(bits, **settings)
        model.compile(keras.optimizers.Adam(1e-3), **(plain if compile_with is None else compile_with))
        return model

    return make


@pytest.fixture(scope="session")
def ready_model(small_model):
    """`small_model` of these switches as it was made, its step traced by the training before: see `Again`."""
    from tests.again import Again

    made = {}

    def ready(**settings):
        key = tuple(sorted(settings.items()))
        if key not in made:
            made[key] = Again(small_model(**settings), {"image": (None, 20), "text": (None, 30)})
        return made[key]()

    return ready


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server with pgvector."""
    from tests.stores import PostgresServer

    pytest.importorskip("psycopg")
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def milvus(tmp_path_factory):
    """milvus-lite, the single-file form of Milvus."""
    from tests.stores import MilvusLite

    for needed in ("pymilvus", "milvus_lite", "psutil"):
        pytest.importorskip(needed)
    server = MilvusLite(tmp_path_factory.mktemp("milvus"))
    yield server
    server.stop()
