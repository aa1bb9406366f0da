"""Run logs and their way to a real MLflow."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import numpy as np
import pytest
from conftest import environment, processes, store
from filelock import FileLock

from distillery.data.errors import InputError
from distillery.data.prepared import DatasetInfo
from pipeline.tracking import run_log
from pipeline.tracking.run_log import RunLog
from pipeline.tracking.sync import Sync, sync_pending

ROOT = Path(__file__).resolve().parent.parent
PARAMETERS = {"distill.temperature": 4.0, "student.seeds": [0, 1]}
STAGE = """
import sys, time
from pipeline.tracking.run_log import RunLog
with RunLog("distill", {"distill.temperature": 4.0}) as run:
    for epoch in range(1, 6):
        run.metrics({"loss": 1 / epoch}, step=epoch)
        print(epoch, flush=True)
        time.sleep(float(sys.argv[1]))
"""
INFO = DatasetInfo(
    name="digits",
    classes=["a", "ß"],
    image_shape=(8, 8, 1),
    sizes={"train": 9},
    class_counts={"train": {"a": 4, "ß": 5}, "test": {"a": 1, "ß": 2}},
    source="somewhere",
    digests={"train": "ab" * 32, "test": "cd" * 32},
)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with the project's modules and no data."""
    for room in ("pipeline", "distillery"):
        (tmp_path / room).symlink_to(ROOT / room)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def runs(repository: Path, experiment: str = "distillery"):
    client = store(repository)
    found = client.get_experiment_by_name(experiment)
    return client.search_runs([found.experiment_id], order_by=["attributes.start_time"]) if found else []


def stage(repository: Path, pause: str, **changes: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", STAGE, pause],
        cwd=repository,
        env=environment(DVC_ROOT=str(repository), **changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def syncs(repository: Path) -> list[int]:
    return processes(repository, b"tracking.sync")


def test_recorded_events_arrive(repository, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "brave-whale")
    picture = np.array([[5, 1], [0, 4]])
    (repository / "curves.csv").write_text("epoch\n1\n")
    with RunLog("distill", PARAMETERS) as run:
        run.dataset(INFO, "training")
        for epoch in (1, 2):
            run.epoch(epoch, 1000 * epoch, {"loss": 1 / epoch, "seed_0/loss": 2.0}, picture, ["a", "ß"])
        run.metrics({"gain": {"points": 0.5}})
        run.artifact(repository / "curves.csv", "curves")
        run.table("per_class.json", {"ß": 0.25})
        run.figure("confusion_matrix", "final", confusion=picture, classes=["a", "ß"], title="t")
        run.tags({"note": "text"})

    (found,) = runs(repository)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "brave-whale/distill"
    assert found.data.params == {"distill.temperature": "4.0", "student.seeds": "[0, 1]"}
    assert found.data.metrics == {"loss": 0.5, "seed_0/loss": 2.0, "gain.points": 0.5}
    history = store(repository).get_metric_history(found.info.run_id, "loss")
    assert [(point.step, point.value, point.timestamp) for point in history] == [(1, 1.0, 1000), (2, 0.5, 2000)]
    assert found.data.tags["note"] == "text"
    (dataset,) = found.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("digits", "abababab")
    names = artifacts(repository, found, "", "curves", "figures", "images")
    assert {"curves/curves.csv", "per_class.json", "figures/final.png"} <= names
    for step in (1, 2):
        start = f"images/confusion_over_epochs+step+{step}+timestamp+{1000 * step}+"
        assert sorted(name.split("+")[-1][-4:] for name in names if name.startswith(start)) == [".png", "webp"]
    assert Path(found.info.artifact_uri.removeprefix("file://")).is_relative_to(repository / "mlartifacts")


def artifacts(repository: Path, found, *folders: str) -> set[str]:
    client = store(repository)
    return {item.path for folder in folders for item in client.list_artifacts(found.info.run_id, folder)}


def test_runs_of_a_search_are_nested_and_go_on_after_an_interruption(repository, monkeypatch):
    def begun(name: str, above: str) -> RunLog:
        start = {"run_name": name, "record": name, "repro": above, "tags": {"distillery.repro": name}}
        return RunLog("search", {"of": name}, start=start)

    for status in ("KILLED", "FINISHED"):
        with begun("s", ""):
            trial = begun("s-0", "s")
            monkeypatch.setenv("DISTILLERY_TRIAL", "s-0")
            with RunLog("distill", PARAMETERS):
                pass
            monkeypatch.delenv("DISTILLERY_TRIAL")
            trial.end(status)
    with begun("s", ""):
        begun("s-1", "s").end("KILLED")  # it was pruned: the search itself is fine
    found = {run.info.run_name: run for run in runs(repository)}
    names = ["s", "s-0", "s-1", "workspace/distill"]  # a trial has one run of a stage, however often that began
    assert sorted(run.info.run_name for run in runs(repository)) == names
    assert found["s-0"].data.tags["mlflow.parentRunId"] == found["s"].info.run_id
    assert found["workspace/distill"].data.tags["mlflow.parentRunId"] == found["s-0"].info.run_id
    assert [found[name].info.status for name in names[:3]] == ["FINISHED", "FINISHED", "KILLED"]
    assert found["s-0"].data.params == {"of": "s-0", "distill.temperature": "4.0", "student.seeds": "[0, 1]"}


@pytest.mark.parametrize(
    ("error", "status"), [(InputError("bad"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(143), "KILLED")]
)
def test_failing_stage_is_recorded_as_failed(repository, error, status):
    def failing_stage():
        with RunLog("distill", PARAMETERS):
            raise error

    with pytest.raises(type(error)):
        failing_stage()
    assert [run.info.status for run in runs(repository)] == [status]


def test_killed_stage_is_recorded_as_killed(repository):
    process = stage(repository, "60")
    process.stdout.readline()
    process.kill()
    process.wait()
    (found,) = runs(repository)
    assert found.info.status == "KILLED"
    assert found.data.metrics == {"loss": 1.0}


def test_consecutive_stages_share_one_sync_that_ends(repository):
    def run_stage() -> list[int]:
        process = stage(repository, "0.5")
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert "warning" not in said
        return syncs(repository)

    (first,) = run_stage()
    assert run_stage() == [first]
    os.kill(first, signal.SIGKILL)
    while first in syncs(repository):
        time.sleep(0.05)
    (last,) = run_stage()
    assert last != first
    assert [run.info.status for run in runs(repository)] == ["FINISHED"] * 3
    deadline = time.monotonic() + 60
    while syncs(repository):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_sync_killed_during_a_stage_is_started_again_at_its_end(repository):
    process = stage(repository, "1")
    process.stdout.readline()
    (sync,) = syncs(repository)
    os.kill(sync, signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == 0
    (found,) = runs(repository)
    assert found.info.status == "FINISHED"
    assert len(store(repository).get_metric_history(found.info.run_id, "loss")) == 5


def test_sync_killed_while_it_makes_the_database_loses_nothing(repository):
    process = stage(repository, "0")
    process.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while not (repository / ".distillery/mlflow.db").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (sync,) = syncs(repository)
    os.kill(sync, signal.SIGKILL)
    assert not (repository / "mlflow.db").exists()
    assert sync_pending() == (1, 1)
    assert [run.info.status for run in runs(repository)] == ["FINISHED"]


def test_stage_that_finds_the_lock_taken_at_the_last_moment_is_synced(repository):
    """The lock is taken while the stage looks, and the process that has it looks again after it released it."""
    (repository / ".distillery").mkdir()
    with FileLock(run_log.sync_lock()):
        with RunLog("distill", PARAMETERS) as run:
            run.metrics({"loss": 1.0}, step=1)
        assert syncs(repository) == []
        by_hand = subprocess.Popen([sys.executable, "-m", "pipeline.tracking.sync", "--background"], cwd=repository)
        time.sleep(0.5)
    with RunLog("distill", PARAMETERS):
        pass
    assert len(runs(repository)) == 2
    by_hand.kill()
    by_hand.wait()


def test_log_without_its_first_line_is_read_again(repository, monkeypatch):
    """Sync looks just after a stage opened its log, and before it says whose run it is, and for which server."""
    sync = Sync()

    def look() -> str:
        assert (next((repository / ".distillery/pending").iterdir()) / "log.jsonl").read_bytes() == b""
        sync.send()
        return "one repro"

    monkeypatch.setattr(run_log, "repro_key", look)
    elsewhere = f"sqlite:///{repository}/elsewhere.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", elsewhere)
    with FileLock(run_log.sync_lock()):
        with RunLog("distill", PARAMETERS):
            sync.send()
        sync.send()
    assert not (repository / "mlflow.db").exists()
    client = mlflow.MlflowClient(elsewhere)
    found = client.search_runs([client.get_experiment_by_name("distillery").experiment_id])
    parent, stage = sorted(found, key=lambda run: "/" in run.info.run_name)
    assert stage.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert [run.info.status for run in found] == ["FINISHED", "FINISHED"]


def test_stage_without_git_is_recorded(repository, monkeypatch):
    monkeypatch.setenv("PATH", str(repository))
    with RunLog("distill", PARAMETERS):
        pass
    (found,) = runs(repository)
    assert "mlflow.source.git.commit" not in found.data.tags


def test_stage_does_not_wait_for_sync(repository):
    (repository / ".distillery").mkdir()
    with FileLock(run_log.sync_lock()):
        began = time.monotonic()
        with RunLog("distill", PARAMETERS) as run:
            run.metrics({"loss": 1.0}, step=1)
        assert time.monotonic() - began < 1
    assert sync_pending() == (1, 1)
    assert sync_pending() == (0, 0)


def test_sync_from_the_start_again_changes_nothing(repository):
    """As after a power cut between what MLflow has and the note of it."""
    picture = np.array([[5, 1], [0, 4]])
    with RunLog("distill", PARAMETERS) as run:
        run.epoch(1, 1000, {"loss": 1.0}, picture, ["a", "ß"])
        run.epoch(2, 2000, {"loss": 0.5}, picture, ["a", "ß"])
        run.dataset(INFO, "training")
        (repository / "model.keras").write_bytes(b"any bytes")
        run.model(repository / "model.keras", "student", "d" * 64, INFO)
        correct = np.array([True, False])
        run.register(repository / "model.keras", "digits", "d" * 64, card=["# card\n"], correct=correct, info=INFO)
        shutil.copytree(run._folder, repository / "kept")
    (repository / "kept/sent.json").unlink(missing_ok=True)
    with open(repository / "kept/log.jsonl", "a") as log:
        log.write(json.dumps({"event": "end", "time": 1, "status": "FINISHED"}) + "\n")
    (found,) = runs(repository)
    before = artifacts(repository, found, "", "images")
    shutil.move(repository / "kept", repository / ".distillery/pending" / found.data.tags["distillery.record"])
    assert sync_pending() == (1, 1)
    (found,) = runs(repository)
    assert len(store(repository).get_metric_history(found.info.run_id, "loss")) == 2
    assert artifacts(repository, found, "", "images") == before
    assert len(found.inputs.dataset_inputs) == 1
    (model,) = store(repository).search_logged_models([found.info.experiment_id])
    assert [output.model_id for output in found.outputs.model_outputs] == [model.model_id]
    (version,) = store(repository).search_model_versions("name = 'digits'")
    assert version.source == f"models:/{model.model_id}"
    (kept,) = (repository / "mlartifacts").rglob("model.keras")
    assert kept.read_bytes() == b"any bytes"


def test_stages_at_once_on_an_empty_database_get_a_run_each(repository):
    processes = [stage(repository, "0.1", DVC_EXP_NAME=f"exp-{number}") for number in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    found = runs(repository)
    assert sorted(run.info.run_name for run in found) == [f"exp-{number}/distill" for number in range(3)]
    for run in found:
        assert run.info.status == "FINISHED"
        assert len(store(repository).get_metric_history(run.info.run_id, "loss")) == 5
    assert runs(repository, "Default") == []


def test_temporary_folder_may_vanish_before_its_run_is_sent(repository, tmp_path_factory):
    """As that of `dvc exp run --temp`."""
    clone = tmp_path_factory.mktemp("clone")
    for room in ("pipeline", "distillery"):
        shutil.copytree(ROOT / room, clone / room, ignore=shutil.ignore_patterns("__pycache__"))
    process = subprocess.run(
        [sys.executable, "-c", STAGE, "0"], cwd=clone, env=environment(DVC_ROOT=str(repository)), check=True
    )
    shutil.rmtree(clone)
    assert process.returncode == 0
    (found,) = runs(repository)
    assert found.info.status == "FINISHED"
    assert found.data.metrics == {"loss": 0.2}


def test_damaged_log_holds_no_other_back_and_is_warned_of(repository, capsys):
    for number, (log, state) in enumerate([('{"event": "start", "record": "x"}\n', "{"), ("damaged\n", "{}")]):
        broken = repository / f".distillery/pending/{number}-broken"
        broken.mkdir(parents=True)
        (broken / "log.jsonl").write_text(log)
        (broken / "sent.json").write_text(state)
    with RunLog("distill", PARAMETERS) as run:
        run.metrics({"loss": 0.5}, step=1)
    assert sync_pending()[1] >= 2
    client = mlflow.MlflowClient(f"sqlite:///{repository}/mlflow.db")
    (found,) = client.search_runs([client.get_experiment_by_name("distillery").experiment_id])
    assert found.info.status == "FINISHED"
    assert sync_pending() == (0, 2)
    capsys.readouterr()
    with RunLog("distill", PARAMETERS):
        pass
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: distill: ")
    assert str(repository / ".distillery/pending") in line
    assert "JSONDecodeError" in line
    assert "`python -m pipeline.tracking.sync`" in line
    assert len(run_log.pending_runs()) >= 2


def test_crashed_sync_is_warned_of(repository):
    """Here: MLflow cannot be imported."""
    (repository / "mlflow.py").write_text("raise ImportError('no such thing')\n")
    process = stage(repository, "1")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "warning: distill: " in said
    assert "ImportError: no such thing" in said
    (repository / "mlflow.py").unlink()
    answer = subprocess.run([sys.executable, "-m", "pipeline.tracking.sync"], capture_output=True, text=True)
    assert answer.stdout == "1 of 1 runs synced\n"


def test_full_disk_leaves_no_half_line_in_the_log(repository):
    """The system refuses to write further into a file, as a full disk does, and then there is room again."""
    answer = subprocess.run(
        [sys.executable, "-c", LITTLE_ROOM],
        cwd=repository,
        env=environment(DVC_ROOT=str(repository)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip().endswith("log.jsonl")
    (found,) = runs(repository)
    assert found.info.status == "FINISHED"
    assert found.data.metrics == {"loss": 0.25}
    assert store(repository).list_artifacts(found.info.run_id) == []


LITTLE_ROOM = """
import resource
from pipeline.tracking.run_log import RunLog
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
with RunLog("distill", {"distill.temperature": 4.0}) as run:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        run.table("large.json", {"text": "x" * 20_000})
    except OSError as error:
        print(error.filename)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    run.metrics({"loss": 0.25}, step=1)
"""


def test_run_continues_with_the_same_parameters_and_on_the_same_server_only(repository, monkeypatch):
    """MLflow refuses another value of a parameter for good, also of one on which the result does not depend."""
    place = repository / "resume"
    place.mkdir()
    picture = np.array([[5, 1], [0, 4]])

    def stopped_or_done(parameters, error=None):
        with RunLog("distill", parameters, place) as run:
            run.epoch(1, 1000, {"loss": 1.0}, picture, ["a", "ß"])
            if error:
                raise error

    def statuses():
        return [run.info.status for run in runs(repository)]

    with pytest.raises(KeyboardInterrupt):
        stopped_or_done({"distill.temperature": 4.0}, KeyboardInterrupt())
    assert statuses() == ["KILLED"]
    stopped_or_done({"distill.temperature": 5.0})
    assert statuses() == ["KILLED", "FINISHED"]
    monkeypatch.setenv("DVC_EXP_NAME", "wise-owl")
    stopped_or_done({"distill.temperature": 4.0})
    assert statuses() == ["KILLED", "FINISHED", "FINISHED"]
    monkeypatch.delenv("DVC_EXP_NAME")
    stopped_or_done({"distill.temperature": 4.0})
    assert statuses() == ["FINISHED"] * 3
    for run in runs(repository):
        assert len(store(repository).get_metric_history(run.info.run_id, "loss")) == 1
        assert len([name for name in artifacts(repository, run, "images") if name.endswith(".png")]) == 1


def test_no_slow_library_is_imported_by_a_run_log():
    slow = (
        "import sys, pipeline.tracking.run_log; print({'mlflow', 'matplotlib', 'tensorflow', 'keras'} & {*sys.modules})"
    )
    answer = subprocess.run([sys.executable, "-c", slow], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout == "set()\n"
