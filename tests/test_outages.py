"""A real MLflow server that is slow, fails, is killed, comes back: training goes on, and every run arrives once.

With POSTGRESQL=1 in the environment the server's database is a real PostgreSQL (`pip install -r
requirements/postgresql.txt`), else SQLite.
"""

import base64
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mlflow
import pytest
from conftest import environment, processes, wait_for_sync
from mlflow_server import Server, postgresql

ROOT = Path(__file__).resolve().parent.parent
EPOCHS = 6
PASSWORD = "p4ss-word"
STAGE = """
import sys, time
from pathlib import Path
import numpy as np
from pipeline.tracking.run_log import RunLog
resume_folder, stays_at = Path(sys.argv[1]), int(sys.argv[2])
longest = 0
with RunLog("distill", {"distill.temperature": 4.0}, resume_folder) as run:
    for epoch in range(1, 7):
        time.sleep(0.5)
        began = time.monotonic()
        run.metrics({"loss": 1 / epoch}, step=epoch, time=epoch * 1000)
        picture = {"confusion": np.eye(2, dtype=int), "classes": ["a", "b"], "title": "t"}
        run.figure("confusion_matrix", "series", step=epoch, time=epoch * 1000, **picture)
        longest = max(longest, time.monotonic() - began)
        print("epoch", epoch, flush=True)
        if epoch == stays_at:
            time.sleep(600)
    run.table("per_class_accuracy.json", {"a": 1.0})
    ended = time.monotonic()
print("longest", longest, "waited", time.monotonic() - ended)
"""


class Between(ThreadingHTTPServer):
    """Passes requests on to the server, as `behaviour` says: pass, slow, error, full (of artifacts), or guarded."""

    daemon_threads = True

    def __init__(self, server: Server):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.server, self.behaviour = server, "pass"
        self.created: list[int] = []  # when the stages started whose runs were created, in the order of creation


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def _pass_on(self):
        behaviour = self.server.behaviour
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        expected = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
        if behaviour == "guarded" and self.headers.get("Authorization") != expected:
            self._answer(401, [], b"You are not authenticated")
            return
        if behaviour == "error" or (behaviour == "full" and self.command == "PUT"):
            answer = json.dumps({"error_code": "INTERNAL_ERROR", "message": "No space left on device"}).encode()
            self._answer(500, [("Content-Type", "application/json")], answer)
            return
        if self.path.endswith("runs/create"):
            self.server.created.append(json.loads(body)["start_time"])
        if behaviour == "slow":
            time.sleep(1)
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server.port, timeout=60)
        try:
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            answer = connection.getresponse()
        except OSError:  # the server is dead, and so is this connection
            self.close_connection = True
            return
        self._answer(answer.status, answer.getheaders(), answer.read())

    def _answer(self, status, headers, body):
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "server", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Iterator[str]:
    if os.environ.get("POSTGRESQL"):
        with postgresql(tmp_path_factory.mktemp("postgresql")) as address:
            yield address
    else:
        yield f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/server.db"


@pytest.fixture(scope="module")
def server(database, tmp_path_factory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"), database)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def between(server) -> Iterator[Between]:
    between = Between(server)
    threading.Thread(target=between.serve_forever, daemon=True).start()
    yield between
    between.shutdown()


class Project:
    """An empty repository whose stages record on the server, in an experiment of its own."""

    def __init__(self, folder: Path, between: Between):
        self.folder, self.experiment, self.uri = folder, folder.name, f"http://127.0.0.1:{between.server_port}"
        for room in ("pipeline", "distillery"):
            (folder / room).symlink_to(ROOT / room)
        self._environment = environment(
            DVC_ROOT=str(folder),
            MLFLOW_TRACKING_URI=self.uri,
            MLFLOW_EXPERIMENT_NAME=self.experiment,
            MLFLOW_HTTP_REQUEST_MAX_RETRIES="1",
        )

    def stage(self, resume_folder: str = "", stays_at: int = 0, **changes: str) -> subprocess.Popen:
        """A stage; of the same resume folder, one that goes on where the last one was stopped."""
        place = self.folder / (resume_folder or f"work-{time.time_ns()}")
        place.mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-c", STAGE, str(place), str(stays_at)],
            cwd=self.folder,
            env=self._environment | changes,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def sync(self, **changes: str) -> str:
        """By hand, in a terminal that knows no server: each run goes to the one for which it was recorded."""
        answer = subprocess.run(
            [sys.executable, "-m", "pipeline.tracking.sync"],
            cwd=self.folder,
            env=environment(**changes),
            capture_output=True,
            text=True,
            check=False,
        )
        assert PASSWORD not in answer.stdout + answer.stderr
        said = answer.stdout.strip().splitlines()[-1]
        assert answer.returncode == (1 if " stay in " in said else 0)
        return said

    def waiting(self) -> list[Path]:
        return sorted(path.parent for path in self.folder.glob(".distillery/pending/*/log.jsonl"))

    def until_sync_fails(self) -> None:
        deadline = time.monotonic() + 120
        while not list(self.folder.glob(".distillery/pending/*/error.txt")):
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def runs(self) -> list:
        client = mlflow.MlflowClient(self.uri)
        experiment = client.get_experiment_by_name(self.experiment)
        return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"]) if experiment else []

    def check_all_is_there_once(self, count: int, status: str = "FINISHED", epochs: int = EPOCHS) -> None:
        client, found = mlflow.MlflowClient(self.uri), self.runs()
        assert [run.info.status for run in found] == [status] * count
        for run in found:
            history = client.get_metric_history(run.info.run_id, "loss")
            assert [(point.step, point.value) for point in history] == [(n, 1 / n) for n in range(1, epochs + 1)]
            pictures = [item.path for item in client.list_artifacts(run.info.run_id, "images")]
            assert len([path for path in pictures if path.endswith(".png")]) == epochs
            if status == "FINISHED":
                assert "per_class_accuracy.json" in {item.path for item in client.list_artifacts(run.info.run_id)}


@pytest.fixture
def project(tmp_path, between) -> Iterator[Project]:
    between.behaviour = "pass"
    project = Project(tmp_path, between)
    yield project
    between.behaviour = "pass"
    kill_sync(project)


def finished(stage: subprocess.Popen) -> str:
    said, _ = stage.communicate(timeout=200)
    assert stage.returncode == 0, said
    assert "Traceback" not in said
    assert float(said.split("longest ")[1].split()[0]) < 0.9, "training waited for MLflow"
    assert float(said.split("waited ")[1].split()[0]) < 0.9, "the stage waited for MLflow at its end"
    return said


def until_epoch(stage: subprocess.Popen, epoch: int) -> None:
    for line in stage.stdout:
        if line.strip() == f"epoch {epoch}":
            return
    raise AssertionError("the stage ended early")


def kill_sync(project: Project) -> None:
    for sync in processes(project.folder, b"tracking.sync"):
        os.kill(sync, signal.SIGKILL)
        while sync in processes(project.folder, b"tracking.sync"):
            time.sleep(0.05)


def test_slow_server_slows_no_training_down(project, between):
    between.behaviour = "slow"
    finished(project.stage())
    between.behaviour = "pass"
    wait_for_sync(project.folder)
    project.check_all_is_there_once(1)


def test_server_killed_in_mid_training_or_down_from_the_start_gets_everything_later(project, server):
    stage = project.stage()
    until_epoch(stage, 3)
    server.kill()
    try:
        finished(stage)
        project.until_sync_fails()
        assert "warning: distill: " in finished(project.stage())
        assert len(project.waiting()) == 2
    finally:
        server.start()
    project.sync()  # Note: the process in the background may end at any moment; the command waits for it
    assert project.waiting() == []
    project.check_all_is_there_once(2)


@pytest.mark.long
@pytest.mark.parametrize("sync_killed", [False, True])
def test_next_stage_after_an_outage_sends_both_in_order(project, between, sync_killed):
    between.behaviour = "error"
    finished(project.stage())
    project.until_sync_fails()
    if sync_killed:
        kill_sync(project)
    said = project.sync()
    assert said == f"0 of 1 runs synced; 1 stay in {project.folder}/.distillery/pending"
    between.behaviour = "pass"
    between.created.clear()
    assert finished(project.stage()).count("warning: distill: ") == 1
    wait_for_sync(project.folder)
    assert len(between.created) == 2
    assert between.created == sorted(between.created)
    project.check_all_is_there_once(2)


def test_full_artifact_store_loses_nothing(project, between):
    between.behaviour = "full"
    finished(project.stage())
    project.until_sync_fails()
    (run,) = project.runs()
    assert run.info.status == "RUNNING"
    between.behaviour = "pass"
    kill_sync(project)
    assert project.sync() == "1 of 1 runs synced"
    project.check_all_is_there_once(1)


def test_stage_killed_together_with_sync_in_an_outage_loses_nothing(project, between):
    between.behaviour = "error"
    kill_with_sync(project)
    between.behaviour = "pass"
    assert project.sync() == "1 of 1 runs synced"
    project.check_all_is_there_once(1, "KILLED", epochs=4)


def kill_with_sync(project: Project) -> Path:
    """Kill a stage after its fourth epoch, and sync. Return the folder of the pending run."""
    stage = project.stage("work", stays_at=4)
    until_epoch(stage, 4)
    (folder,) = project.waiting()
    stage.kill()
    kill_sync(project)
    stage.wait()
    return folder


def test_continued_run_is_sent_after_its_beginning(project, between):
    """Stopped in an outage, continued while the log of the beginning cannot be sent."""
    between.behaviour = "error"
    beginning = kill_with_sync(project)
    between.behaviour = "pass"
    (beginning / "sent.json").write_text("{")  # as a disk's fault would
    finished(project.stage("work"))
    project.until_sync_fails()
    kill_sync(project)
    assert project.sync().startswith("0 of 2 runs synced")
    assert project.runs() == []
    (beginning / "sent.json").unlink()
    assert project.sync() == "2 of 2 runs synced"
    project.check_all_is_there_once(1)


@pytest.mark.long
def test_sync_killed_at_random_moments_sends_everything_once(project):
    stage = project.stage()
    for _ in range(6):
        time.sleep(1.3)
        kill_sync(project)
        run_log_sync = subprocess.Popen(
            [sys.executable, "-m", "pipeline.tracking.sync", "--background"], cwd=project.folder, env=environment()
        )
    finished(stage)
    wait_for_sync(project.folder)
    project.check_all_is_there_once(1)
    run_log_sync.kill()
    run_log_sync.wait()


@pytest.mark.long
def test_password_is_right_wrong_or_missing(project, between):
    """A wrong one is put right by the next stage, though the process that has the wrong one still lives."""
    between.behaviour = "guarded"
    right, wrong = (project.uri.replace("//", f"//me:{password}@") for password in (PASSWORD, "wr0ng"))
    finished(project.stage(MLFLOW_TRACKING_URI=wrong))
    project.until_sync_fails()
    said = finished(project.stage(MLFLOW_TRACKING_URI=right))
    assert "wr0ng" not in said
    assert PASSWORD not in said
    wait_for_sync(project.folder)
    kill_sync(project)  # it has the right one, and would send this run, too
    finished(project.stage(MLFLOW_TRACKING_URI=wrong))
    project.until_sync_fails()
    kill_sync(project)
    assert project.sync().startswith("0 of 1 runs synced")  # this terminal knows no password
    for path in (project.folder / ".distillery").rglob("*.*"):
        kept = path.read_bytes() if path.is_file() else b""
        assert b"wr0ng" not in kept
        assert PASSWORD.encode() not in kept
    assert project.sync(MLFLOW_TRACKING_URI=right) == "1 of 1 runs synced"
    between.behaviour = "pass"
    project.check_all_is_there_once(3)
