"""A real MLflow server, on SQLite or on a real PostgreSQL, for the tests that need one."""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import environment, free_port


class Server:
    """A real `mlflow server` that keeps artifacts itself, and can be killed and started again."""

    def __init__(self, folder: Path, database: str):
        self.port, self._folder, self._database, self._process = free_port(), folder, database, None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", f"--port={self.port}", "--workers=1"),
                f"--backend-store-uri={self._database}",
                f"--artifacts-destination={self._folder / 'artifacts'}",
            ],
            cwd=self._folder,
            env=environment(MLFLOW_DISABLE_TELEMETRY="true"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            assert self._process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server did not answer"
            time.sleep(0.3)

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Yield the address of a PostgreSQL that keeps its data in a folder."""
    import pgserver  # comes with requirements/postgresql.txt alone

    with pgserver.get_server(folder, cleanup_mode="stop") as running:
        yield running.get_uri()
