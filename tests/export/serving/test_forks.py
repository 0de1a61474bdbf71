"""Forked children (gunicorn --preload, multiprocessing): they search and encode as their parent does, and end."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from tests.export.serving.test_encoder import SHAPES, encoder_graph, features, folder  # noqa: F401  (a fixture)

pytestmark = [
    pytest.mark.numpy_only,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks"),
]

# `child` runs a function in a forked process that then ends as Python does, and gives its status or "hangs".
PROGRAM = """
    import os, sys, threading, time
    import numpy as np

    def child(work):
        pid = os.fork()
        if pid == 0:
            work()
            sys.exit(0)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return status
            time.sleep(0.01)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        return "hangs"

    queries = np.random.default_rng(1).integers(0, 256, (300, 8), np.uint8)
    codes = np.random.default_rng(0).integers(0, 256, (5000, 8), np.uint8)
"""

SEARCH = """
    from scbch_keras.export import HammingIndex
    index = HammingIndex(64, engine=sys.argv[1])
    index.add(codes)
    expected = index.search(queries, 5, threads=2)

    def search(threads=None):
        found = index.search(queries, 5, threads=threads)
        assert all((a == b).all() for a, b in zip(found, expected))

    def in_a_thread():
        errors = []
        def run():
            try:
                search()
            except BaseException as error:
                errors.append(error)
        threads = [threading.Thread(target=run) for _ in range(3)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert not errors, errors
"""

CASES = {
    "search": "assert child(search) == 0",
    "search with more threads": "assert child(lambda: search(4)) == 0",
    "in threads": "assert child(in_a_thread) == 0",
    "a child of a child": "assert child(lambda: sys.exit(child(search) != 0)) == 0",
    "two children": "assert [child(search), child(search)] == [0, 0]",
    "the parent goes on": "assert child(search) == 0; search(2); search()",
    "from a thread": """
        status = []
        # Ended as multiprocessing ends children: a thread that has used OpenMP cannot end in a forked child.
        def work():
            search()
            os._exit(0)
        forking = threading.Thread(target=lambda: (search(2), status.append(child(work))))
        forking.start(); forking.join()
        assert status == [0]
    """,
    "add in the child": """
        def add():
            index.add(codes[:3])
            index.remove([0])
            assert len(index) == 5002
            index.search(queries, 5)
        assert child(add) == 0
        assert len(index) == 5000
    """,
    "while another thread changes it": """
        def change():
            for _ in range(400):
                index.add(codes)
                index.remove(index.ids[5000:])
        changing = threading.Thread(target=change, daemon=True)
        changing.start()
        def work():
            before = len(index)
            index.add(codes[:1])
            assert len(index) == before + 1
            index.search(queries[:2], 5)
        for _ in range(10):
            assert child(work) == 0
        changing.join()
    """,
    "by multiprocessing": """
        import multiprocessing
        process = multiprocessing.get_context("fork").Process(target=search)
        process.start(); process.join(60)
        assert process.exitcode == 0, process.exitcode
    """,
}


def run(tmp_path, *parts, arguments=(), environment=None):
    program = tmp_path / "program.py"
    program.write_text("\n".join(textwrap.dedent(part) for part in parts))
    # More threads than one, wherever the tests run.
    environment = {**os.environ, "OMP_NUM_THREADS": "2", **(environment or {})}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", program, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("engine", ["faiss", "numpy"])
def test_an_index_is_searched_in_forked_children(tmp_path, engine, name):
    if engine == "faiss":
        pytest.importorskip("faiss")
    run(tmp_path, PROGRAM, SEARCH, CASES[name], arguments=[engine])


def test_a_child_that_imports_the_index_after_its_parent_used_faiss_alone(tmp_path):
    pytest.importorskip("faiss")
    alone = """
        import faiss
        faiss.omp_set_num_threads(2)
        faiss.knn_hamming(queries, codes, 5)
        def search():
            from scbch_keras.export import HammingIndex
            index = HammingIndex(64, engine="faiss")
            index.add(codes)
            index.search(queries, 5)
        assert child(search) == 0
    """
    run(tmp_path, PROGRAM, alone)


def test_searches_leave_the_threads_of_faiss_as_they_were():
    faiss = pytest.importorskip("faiss")
    from scbch_keras.export import HammingIndex

    index = HammingIndex(64, engine="faiss")
    index.add(np.zeros((9, 8), np.uint8))
    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(3)
        for threads in (None, 1, 2):
            index.search(np.zeros((100, 8), np.uint8), 2, threads=threads)
            assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)


def test_few_queries_take_one_thread_and_many_take_more(monkeypatch):
    faiss = pytest.importorskip("faiss")
    from scbch_keras.export import HammingIndex

    index = HammingIndex(64, engine="faiss")
    index.add(np.zeros((9, 8), np.uint8))
    monkeypatch.setattr(faiss, "omp_get_max_threads", lambda: 4)
    used = []
    monkeypatch.setattr(faiss, "omp_set_num_threads", used.append)
    for queries, threads in ((1, None), (31, None), (64, None), (1000, None), (1, 3), (1000, 1)):
        index.search(np.zeros((queries, 8), np.uint8), 2, threads=threads)
    assert used[::2] == [1, 1, 2, 4, 3, 1]


ENCODE = """
    from scbch_keras.export import HashEncoder
    threads = None if sys.argv[2] == "None" else int(sys.argv[2])
    encoder = HashEncoder(sys.argv[1], threads=threads)
    with np.load(sys.argv[3]) as file:
        x = dict(file)
    expected = {name: getattr(encoder, name)(x[name]) for name in x}

    def encode():
        for name in x:
            assert (getattr(encoder, name)(x[name]) == expected[name]).all()
"""

ENCODINGS = {
    "encode": "assert child(encode) == 0",
    "nothing": "assert child(lambda: None) == 0",
    "drop": """
        def drop():
            global encoder
            del encoder
        assert child(drop) == 0
    """,
    "a child of a child": "assert child(lambda: (encode(), sys.exit(child(encode) != 0))) == 0; encode()",
    "the release is gone": """
        import shutil
        shutil.rmtree(sys.argv[1])
        assert child(encode) == 0
        encode()
    """,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("threads", [None, 1, 3])
def test_an_encoder_works_in_forked_children_and_they_end(folder, tmp_path, name, threads):  # noqa: F811
    np.savez(tmp_path / "x.npz", **{key: features(key, 40) for key in SHAPES})
    run(tmp_path, PROGRAM, ENCODE, ENCODINGS[name], arguments=[folder, threads, tmp_path / "x.npz"])
