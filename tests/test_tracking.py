"""Journals and their delivery to a real MLflow."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import psutil
import pytest
from conftest import environment, wait_for_delivery

from distillery.data.errors import InputError
from pipeline.tracking.delivery import deliver_waiting
from pipeline.tracking.journal import Journal

ROOT = Path(__file__).resolve().parent.parent
PARAMETERS = {"distill.temperature": 4.0, "student.seeds": [0, 1], "evaluate.sheet_images": 8}
RECORD = """
import sys, time
from pipeline.tracking.journal import Journal
with Journal("distill", {"distill.temperature": 4.0}, ["distill"]) as run:
    for epoch in range(1, 6):
        run.metrics({"loss": 1 / epoch}, step=epoch)
        print(epoch, flush=True)
        time.sleep(float(sys.argv[1]))
"""

PIPELINE = """
import os, subprocess, sys
for _ in sys.stdin:  # runs a stage at each line, as DVC runs its stages: by a shell that may stay between them
    command = ["/bin/sh", "-c", '"$0" "$@"; exit $?', sys.executable, "-c", sys.argv[1], "0"]
    subprocess.run(command, env=os.environ | {"DVC_STAGE": "distill"}, check=True)
    print("ended", flush=True)
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """An empty repository, with this process and its children working in the project for the modules."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(ROOT)
    return tmp_path


def client(repository: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{repository}/mlflow.db")


def runs(client: mlflow.MlflowClient, experiment: str = "distillery"):
    found = client.get_experiment_by_name(experiment)
    return client.search_runs([found.experiment_id], order_by=["attributes.start_time"]) if found else []


def test_what_is_recorded_arrives(repository, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "brave-whale")
    picture = np.array([[5, 1], [0, 4]])
    (repository / "curves.csv").write_text("epoch\n1\n")
    about = {
        "name": "digits",
        "digests": {"train": "ab" * 32, "test": "cd" * 32},
        "sizes": {"train": 9},
        "image_shape": [8, 8, 1],
        "source": "somewhere",
    }
    with Journal("distill", PARAMETERS, ["distill", "student"]) as run:
        run.dataset(about, "training")
        for epoch in (1, 2):
            run.metrics({"loss": 1 / epoch, "seed_0/loss": 2.0}, step=epoch)
            run.figure("confusion_matrix", "series", step=epoch, confusion=picture, classes=["a", "ß"], title="t")
        run.metrics({"gain": {"points": 0.5}})
        run.artifact(repository / "curves.csv", "curves")
        run.table("per_class.json", {"ß": 0.25})
        run.figure("confusion_matrix", "final", confusion=picture, classes=["a", "ß"], title="t")
        run.tags({"note": "text"})
    assert not list((repository / ".distillery/outbox").glob("*/journal.jsonl"))
    wait_for_delivery(repository)  # the folder goes after the journal

    store = client(repository)
    (found,) = runs(store)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "brave-whale/distill"
    assert found.data.params == {"distill.temperature": "4.0", "student.seeds": "[0, 1]"}
    assert found.data.metrics == {"loss": 0.5, "seed_0/loss": 2.0, "gain.points": 0.5}
    assert [(point.step, point.value) for point in store.get_metric_history(found.info.run_id, "loss")] == [
        (1, 1.0),
        (2, 0.5),
    ]
    assert found.data.tags["note"] == "text"
    (dataset,) = found.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("digits", "abababab")
    names = {
        artifact.path
        for folder in ("", "curves", "figures", "images")
        for artifact in store.list_artifacts(found.info.run_id, folder)
    }
    assert {"curves/curves.csv", "per_class.json", "figures/final.png"} <= names
    steps = [name for name in names if name.startswith("images/series") and name.endswith(".png")]
    assert len(steps) == 2
    assert Path(found.info.artifact_uri.removeprefix("file://")).is_relative_to(repository / "mlartifacts")


@pytest.mark.parametrize(
    ("error", "status"), [(InputError("bad"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(143), "KILLED")]
)
def test_a_stage_that_fails_is_recorded_as_failed(repository, error, status):
    def failing_stage():
        with Journal("distill", PARAMETERS, ["distill"]):
            raise error

    with pytest.raises(type(error)):
        failing_stage()
    wait_for_delivery(repository)
    assert [run.info.status for run in runs(client(repository))] == [status]


def test_a_stage_killed_without_a_word_is_recorded_as_killed(repository):
    stage = subprocess.Popen(
        [sys.executable, "-c", RECORD, "60"],
        cwd=ROOT,
        env=environment(DVC_ROOT=str(repository)),
        stdout=subprocess.PIPE,
    )
    stage.stdout.readline()
    stage.kill()
    stage.wait()
    wait_for_delivery(repository)
    (found,) = runs(client(repository))
    assert found.info.status == "KILLED"
    assert found.data.metrics == {"loss": 1.0}


def test_the_stages_of_a_pipeline_share_a_delivery_that_ends_with_it(repository):
    with subprocess.Popen(
        [sys.executable, "-c", PIPELINE, RECORD],
        cwd=ROOT,
        env=environment(DVC_ROOT=str(repository)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as pipeline:

        def run_stage() -> psutil.Process:
            pipeline.stdin.write("\n")
            pipeline.stdin.flush()
            while pipeline.stdout.readline() != "ended\n":
                assert pipeline.poll() is None
            assert not list((repository / ".distillery/outbox").glob("*/journal.jsonl"))
            (delivery,) = deliveries(repository)
            return delivery

        first = run_stage()
        assert run_stage() == first
        first.kill()
        last = run_stage()
        assert last != first
    wait_for_delivery(repository)
    _, left = psutil.wait_procs([last], timeout=30)
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in left)  # where nobody asks how it ended
    assert [run.info.status for run in runs(client(repository))] == ["FINISHED"] * 3


def deliveries(repository: Path) -> list[psutil.Process]:
    """The processes that deliver this repository's journals."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "pipeline.tracking.delivery" in (words := process.info["cmdline"] or [])
        and str(repository) in "".join(words)
    ]


def test_delivery_from_the_start_again_changes_nothing(repository):
    """As after a power cut between what MLflow has and the note of it."""
    kept = repository / "kept"
    with Journal("distill", PARAMETERS, ["distill"]) as run:
        run.metrics({"loss": 1.0}, step=1)
        run.metrics({"loss": 0.5}, step=2)
        shutil.copytree(run._folder, kept)
    with open(kept / "journal.jsonl", "a") as journal:
        journal.write(json.dumps({"kind": "end", "time": 1, "status": "FINISHED"}) + "\n")
    (kept / "delivered.json").unlink(missing_ok=True)
    name = runs(client(repository))[0].data.tags["distillery.journal"]
    shutil.move(kept, repository / ".distillery/outbox" / name)
    assert deliver_waiting() == (1, 0)
    (found,) = runs(client(repository))
    assert len(client(repository).get_metric_history(found.info.run_id, "loss")) == 2


def test_two_stages_at_once_on_an_empty_database(repository):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", RECORD, "0.1"],
            cwd=ROOT,
            env=environment(DVC_ROOT=str(repository), DVC_EXP_NAME=f"exp-{number}"),
            stdout=subprocess.DEVNULL,
        )
        for number in range(3)
    ]
    assert [process.wait(120) for process in started] == [0, 0, 0]
    store = client(repository)
    assert sorted(run.info.run_name for run in runs(store)) == [f"exp-{number}/distill" for number in range(3)]
    for run in runs(store):
        assert run.info.status == "FINISHED"
        assert len(store.get_metric_history(run.info.run_id, "loss")) == 5
    assert runs(store, "Default") == []


def test_a_journal_that_cannot_be_read_holds_no_other_back(repository):
    broken = repository / ".distillery/outbox/1-broken"
    broken.mkdir(parents=True)
    (broken / "journal.jsonl").write_text('{"kind": "start", "record": "x"}\n')
    (broken / "delivered.json").write_text("{")
    with Journal("distill", PARAMETERS, ["distill"]) as run:
        run.metrics({"loss": 0.5}, step=1)
    (found,) = runs(client(repository))
    assert found.info.status == "FINISHED"
    assert deliver_waiting() == (0, 1)
    assert (broken / "journal.jsonl").is_file()


def test_a_full_disk_leaves_no_half_line_in_the_journal(repository):
    """The system refuses to write further into a file, as a full disk does, and then there is room again."""
    answer = subprocess.run(
        [sys.executable, "-c", LITTLE_ROOM],
        cwd=ROOT,
        env=environment(DVC_ROOT=str(repository)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip().endswith("journal.jsonl")
    (found,) = runs(client(repository))
    assert found.info.status == "FINISHED"
    assert found.data.metrics == {"loss": 0.25}
    assert client(repository).list_artifacts(found.info.run_id) == []


LITTLE_ROOM = """
import resource
from pipeline.tracking.journal import Journal
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
with Journal("distill", {"distill.temperature": 4.0}, ["distill"]) as run:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        run.table("large.json", {"text": "x" * 20_000})
    except OSError as error:
        print(error.filename)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    run.metrics({"loss": 0.25}, step=1)
"""


def test_a_run_goes_on_with_the_same_parameters_and_on_the_same_server_only(repository, monkeypatch):
    """MLflow refuses another value of a parameter for good, those too on which the result does not depend."""
    place = repository / "resume"
    place.mkdir()

    def stopped_or_done(parameters, error=None):
        with Journal("distill", parameters, ["distill"], place) as run:
            run.metrics({"loss": 1.0}, step=1, time=1000)
            if error:
                raise error

    def statuses():
        wait_for_delivery(repository)
        return [run.info.status for run in runs(client(repository))]

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
    for run in runs(client(repository)):
        assert len(client(repository).get_metric_history(run.info.run_id, "loss")) == 1
