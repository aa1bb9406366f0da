"""A real search on the digits: killed, with two workers, it ends as if undisturbed; the user's folder is untouched."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import commit, environment, processes, run, store
from filelock import FileLock
from ruamel.yaml import YAML

from experiments import search_trials
from experiments.search_space import Space, draw, read_tree

SPACE = ("distill.temperature=2,8", "distill.alpha=0,0.5", "--sampler", "grid", "--name", "s")
SETTINGS = {(temperature, alpha) for temperature in (2.0, 8.0) for alpha in (0.0, 0.5)}
POISON = b"no array"


def started(folder: Path, *words: str) -> subprocess.Popen:
    """A search that runs, in a session of its own, and what it prints in `search.txt`."""
    with open(folder.parent / "search.txt", "ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "experiments.search", *words],
            cwd=folder,
            env=environment(PYTHONUNBUFFERED="1"),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_until_ended(folder: Path) -> None:
    """Wait until no process of a trial is left: the guard ends them, where the search itself cannot any more."""
    deadline = time.monotonic() + 60
    while any(processes(worker, b"") for worker in folder.glob(".distillery/searches/*/worker-*")):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def state_of(folder: Path) -> dict[str, bytes | str]:
    """What a search must leave alone: the files, Git's index and branch, and what DVC has checked out."""
    kept = {name: (folder / name).read_bytes() for name in ("params.yaml", "dvc.lock", "README.md")}
    for words in (("status", "--porcelain"), ("rev-parse", "HEAD"), ("stash", "list"), ("diff",)):
        kept[words[0]] = subprocess.check_output(["git", *words], cwd=folder, text=True)
    return kept | {str(path): path.stat().st_mtime_ns for path in sorted(folder.glob("models/*/*"))}


@pytest.fixture(scope="module")
def closed(pipeline, tmp_path_factory) -> Path:
    """The shared run with a test set that no program can open, and a change that is not committed."""
    folder = Path(shutil.copytree(pipeline, tmp_path_factory.mktemp("closed") / "a project", symlinks=True))
    for name in ("test_images.npy", "test_labels.npy"):
        path = folder / "data/prepared" / name
        path.unlink()  # a copy, not DVC's own file
        path.write_bytes(POISON)
    run(folder, "dvc", "commit", "--force", "prepare")
    commit(folder, "a closed test set")
    (folder / "README.md").write_text("changed, and not committed\n")
    return folder


@pytest.fixture(scope="module")
def undisturbed(closed, tmp_path_factory, worker_id) -> Path:
    """A search with a single worker that nobody disturbed. The processes of one test run share it."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "undisturbed" / "a project"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / ".git/searched").is_file():
            shutil.copytree(closed, folder, symlinks=True)
            before = state_of(folder)
            process = started(folder, *SPACE)
            assert process.wait(timeout=550) == 0, (folder.parent / "search.txt").read_text()
            assert state_of(folder) == before
            (folder / ".git/searched").touch()
    return folder


def result(folder: Path, name: str = "s") -> dict:
    return json.loads((folder / f".distillery/searches/{name}/search.json").read_text())


def experiments(folder: Path) -> list[str]:
    return sorted(run(folder, "dvc", "exp", "list", "--name-only").stdout.split())


def runs(folder: Path) -> dict[str, list]:
    """The MLflow runs by name."""
    client = store(folder)
    found = client.search_runs([client.get_experiment_by_name("distillery").experiment_id], max_results=500)
    names: dict[str, list] = {}
    for one in found:
        names.setdefault(one.info.run_name, []).append(one)
    return names


def check_trials(folder: Path) -> None:
    """Every setting is there once: in the result, in DVC and in MLflow, below the run of the search."""
    trials = result(folder)["trials"]
    assert {tuple(one["setting"].values()) for one in trials} == SETTINGS
    assert [one["state"] for one in trials] == ["complete"] * 4
    names = [f"s-{number:04d}" for number in range(4)]
    assert [one["experiment"] for one in trials] == names
    assert experiments(folder) == names
    found = runs(folder)
    (above,) = found["s"]
    assert above.info.status == "FINISHED"
    for name, trial in zip(names, trials, strict=True):
        (one,) = found[name]
        assert one.data.tags["mlflow.parentRunId"] == above.info.run_id
        assert (one.info.status, one.data.tags["distillery.state"]) == ("FINISHED", "complete")
        assert one.data.metrics["val_accuracy"] == trial["val_accuracy"]
        assert float(one.data.params["distill.temperature"]) == trial["setting"]["distill.temperature"]
        (stage,) = found[f"{name}/distill"]
        assert stage.data.tags["mlflow.parentRunId"] == one.info.run_id
        assert stage.data.metrics["best.val_accuracy"] == trial["val_accuracy"]
        assert json.loads(kept(folder, name, "metrics/distill.json"))["val_accuracy"] == trial["val_accuracy"]
    stages = {name.partition("/")[2] for name in found if name.startswith("s-") and "/" in name}
    assert stages == {"distill"}  # no trial trains a teacher


def kept(folder: Path, name: str, path: str) -> bytes:
    """What an output of an experiment holds, in DVC's cache."""
    lock = subprocess.check_output(["git", "show", f"{ref(folder, name)}:dvc.lock"], cwd=folder)
    stages = YAML(typ="safe").load(lock)["stages"].values()
    (digest,) = [out["md5"] for stage in stages for out in stage["outs"] if out["path"] == path]
    return (folder / ".dvc/cache/files/md5" / digest[:2] / digest[2:]).read_bytes()


def ref(folder: Path, name: str) -> str:
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=folder, text=True).strip()
    return search_trials.experiment_ref(head, name)


@pytest.mark.long
def test_trials_are_dvc_experiments_and_mlflow_runs_and_the_test_set_stays_closed(undisturbed):
    assert (undisturbed / "data/prepared/test_images.npy").read_bytes() == POISON
    check_trials(undisturbed)
    said = (undisturbed.parent / "search.txt").read_text()
    assert "and 1 changed files that are not committed" in said
    chosen = f"s-{result(undisturbed)['result']['recommended']:04d}"
    assert f"dvc exp apply {chosen}\n    dvc repro\n" in said
    client = store(undisturbed)
    (above,) = runs(undisturbed)["s"]
    files = {one.path for one in client.list_artifacts(above.info.run_id)}
    assert files == {"search.csv", "search.json", "search.png"}
    assert not list(undisturbed.glob(".distillery/searches/s/worker-*"))


@pytest.mark.long
def test_killed_twice_with_two_workers_it_ends_with_the_same_result(undisturbed, closed, tmp_path):
    folder = Path(shutil.copytree(closed, tmp_path / "a project", symlinks=True))
    before = state_of(folder)
    moments = random.Random(os.getpid())
    for begun in (folder, folder / ".distillery/searches/s/0001.log"):  # at any time, and while two trials run
        process = started(folder, *SPACE, "--workers", "2")
        deadline = time.monotonic() + 400
        while not begun.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        time.sleep(moments.uniform(1, 25))
        process.kill()
        process.wait()
        wait_until_ended(folder)
    process = started(folder, *SPACE, "--workers", "2")
    said = (tmp_path / "search.txt").read_text
    assert process.wait(timeout=550) == 0, said()
    assert result(folder)["result"] == result(undisturbed)["result"]
    assert result(folder)["trials"] == result(undisturbed)["trials"]
    check_trials(folder)
    assert state_of(folder) == before


@pytest.mark.long
def test_the_recommended_setting_is_applied_and_what_was_tried_costs_nothing(undisturbed, tmp_path):
    folder = Path(shutil.copytree(undisturbed, tmp_path / "a project", symlinks=True))
    process = started(folder, *SPACE[:-1], "again")
    assert process.wait(timeout=300) == 0, (tmp_path / "search.txt").read_text()
    assert "Running stage" not in "".join(path.read_text() for path in folder.glob(".distillery/searches/again/0*.log"))
    assert result(folder, "again")["result"] == result(folder)["result"]
    assert "again-0000/distill" not in runs(folder)
    setting = result(folder)["result"]["setting"]
    run(folder, "dvc", "exp", "apply", f"s-{result(folder)['result']['recommended']:04d}")
    status = run(folder, "dvc", "status", "distill").stdout
    assert "distill:" not in status
    text = (folder / "params.yaml").read_text()
    assert f"temperature: {setting['distill.temperature']}" in text


@pytest.mark.long
def test_failed_trial_is_told_the_others_go_on_and_ctrl_c_says_how_to_go_on(pipeline, tmp_path):
    folder = Path(shutil.copytree(pipeline, tmp_path / "a project", symlinks=True))
    words = ("student.max_shift=1,8", "student.views=2", "--sampler", "grid", "--seed", "1", "--name", "f")
    process = started(folder, *words)
    log = folder / ".distillery/searches/f/0000.log"
    deadline = time.monotonic() + 200
    while not log.is_file() or b"Running stage" not in log.read_bytes():
        assert process.poll() is None, (tmp_path / "search.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=90) == 130
    said = (tmp_path / "search.txt").read_text()
    assert said.splitlines()[-1].startswith("search: interrupted after ")
    assert said.splitlines()[-1].endswith(" of 2 trials; the same command goes on")
    assert "Traceback" not in said
    assert not list(folder.glob(".distillery/searches/f/*.pid"))
    process = started(folder, *words)
    assert process.wait(timeout=400) == 1
    said = (tmp_path / "search.txt").read_text()
    assert "1 of 2 trials failed" in said
    assert "student.max_shift: found 8" in said
    assert "note: student.max_shift: makes transfer, the teacher's outputs, anew in each of 2 trials" in said
    trials = {one["setting"]["student.max_shift"]: one for one in result(folder, "f")["trials"]}
    assert [trials[shift]["state"] for shift in (1, 8)] == ["complete", "failed"]
    assert experiments(folder) == [trials[1]["experiment"]]
    (failed,) = runs(folder)[f"f-{trials[8]['trial']:04d}"]
    assert (failed.info.status, failed.data.tags["distillery.state"]) == ("FAILED", "failed")
    space = Space(["distill.folds=0..30"], read_tree(folder / "params.yaml"))
    seed = next(seed for seed in range(999) if draw(space, "random", seed, 1, [], "maximize") == {"distill.folds": 1})
    invalid = ("distill.folds=0..30", "--sampler", "random", "--seed", str(seed), "--trials", "2", "--name", "g")
    for _ in range(2):
        assert started(folder, *invalid).wait(timeout=400) == 1
        said = (tmp_path / "search.txt").read_text()
        assert "failed: distill.folds=1: distill.folds: found 1; accepted: 0 for no" in said
        assert said.rpartition("search g: 2 trials")[2].count("to take it, and to the test set:") == 1
    assert [one["state"] for one in result(folder, "g")["trials"]] == ["complete", "failed"]


GUARDED = """
import os, signal, sys
from pathlib import Path
from experiments.search_trials import Process, start_guard
folder = Path(sys.argv[1])
guard = start_guard(folder)
process = Process(["sh", "-c", "sleep 300 & sleep 300"], folder, folder / "0000.log", {})
print("begun", flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_all_processes_of_a_trial_end_with_the_search_that_is_killed(tmp_path, monkeypatch):
    with subprocess.Popen(
        [sys.executable, "-c", GUARDED, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "begun\n"
        deadline = time.monotonic() + 30
        while len(processes(tmp_path, b"sleep\x00300")) < 2:
            assert time.monotonic() < deadline
        process.stdin.write("\n")
    while processes(tmp_path, b"sleep\x00300"):
        assert time.monotonic() < deadline + 60
        time.sleep(0.1)


def test_group_that_is_another_programs_by_now_is_left_alone(tmp_path):
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as other:
        number = tmp_path / "0000.pid"
        number.write_text(str(other.pid))
        search_trials.stop_all(tmp_path)
        assert other.poll() is None
        assert not number.exists()
        other.kill()


def test_student_values_are_those_of_the_best_epochs_of_the_students_that_are_done():
    lines = [
        "student 1 of 3, seed 4",
        "Epoch 1/2",
        "0.1 s: accuracy 0.5, loss 0.6, val_loss 0.3, val_accuracy 0.81",
        "student 1 of 3, seed 4",  # it was stopped, and went on
        "going on after epoch 1, where this training was stopped",
        "Epoch 2/2",
        "0.1 s: accuracy 0.5, loss 0.6, val_loss 0.2, val_accuracy 0.80",
        "student 2 of 3, seed 7",
        "Epoch 1/2",
        "0.1 s: accuracy 0.5, loss 0.6, val_loss 0.5, val_accuracy 0.70",
    ]
    for metric, first, second in (("val_accuracy", 0.81, 0.70), ("val_loss", 0.3, 0.5)):
        assert search_trials.student_values("\n".join(lines[:7]), metric, "val_accuracy") == []
        assert search_trials.student_values("\n".join(lines), metric, "val_accuracy") == [first]
        more = [*lines, "student 3 of 3, seed 9"]
        assert search_trials.student_values("\n".join(more), metric, "val_accuracy") == [first, second]
    unknown = ["student 1 of 2, seed 4", "going on after epoch 2, where it was stopped", "student 2 of 2, seed 5"]
    assert search_trials.student_values("\n".join(unknown), "val_loss", "val_accuracy") == []
