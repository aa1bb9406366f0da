"""The promises of docs/reliability.md that take minutes to check: `pytest -m long` runs them."""

import random
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import mlflow
import pytest
from conftest import (
    STAGES,
    TIMINGS,
    commit,
    environment,
    outputs,
    run,
    stages_run,
    started,
    store,
    tracked,
    wait_for_sync,
)

pytestmark = pytest.mark.long
STUDENTS_STAGES = ["distill", "evaluate"]  # run again for another temperature; what ships the student is not asked for


def test_a_pipeline_killed_at_random_moments_ends_as_if_nothing_had_happened(pipeline, tmp_path):
    """SIGKILL for DVC, stage and sync together, as when the power fails or memory runs out."""
    run(tmp_path, "git", "clone", "--quiet", str(pipeline), "killed")
    folder = tmp_path / "killed"
    draw = random.Random(0)
    for _ in range(4):
        process = subprocess.Popen(
            ["dvc", "repro"],
            cwd=folder,
            env=environment(DVC_IGNORE_ISATTY="1"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(draw.uniform(2, 25))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kill_everything_of(folder)
    answer = run(folder, "dvc", "repro", check=False)
    if answer.returncode:  # DVC was killed while it wrote dvc.lock, which it does in place
        assert "'./dvc.lock'" in answer.stdout + answer.stderr
        run(folder, "git", "checkout", "--quiet", "dvc.lock")
        run(folder, "dvc", "repro")
    before, after = outputs(pipeline), outputs(folder)
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} <= set(TIMINGS)
    # Where the last kill came after the last stage's end, no stage was left to send what that kill left behind.
    run(folder, "python", "-m", "pipeline.tracking.sync")
    assert not list(folder.glob(".distillery/pending/*/log.jsonl"))
    client = store(folder)
    experiment = client.get_experiment_by_name("distillery").experiment_id
    for stage, epochs in (("train_teacher", 4), ("distill", 3), ("train_scratch", 3)):
        runs = client.search_runs([experiment], f"tags.`distillery.stage` = '{stage}'")
        whole = [found for found in runs if found.info.status == "FINISHED"]
        assert whole  # more than one where DVC was killed after a stage's end and before it wrote dvc.lock
        for found in whole:
            history = client.get_metric_history(found.info.run_id, "val_accuracy")
            assert [point.step for point in history] == list(range(1, epochs + 1))


def test_half_a_lock_file_is_mended_by_git_and_trains_nothing(pipeline, tmp_path):
    """What DVC leaves when it is killed while it writes dvc.lock."""
    folder = Path(shutil.copytree(pipeline, tmp_path / "half", symlinks=True))
    whole = (folder / "dvc.lock").read_text(encoding="utf-8")
    cut = whole.index("    cmd:", len(whole) // 2)  # a stage's name, and nothing of it
    (folder / "dvc.lock").write_text(whole[:cut], encoding="utf-8")
    answer = run(folder, "dvc", "repro", check=False)
    assert answer.returncode != 0
    assert "'./dvc.lock' validation failed" in answer.stdout + answer.stderr
    run(folder, "git", "checkout", "--quiet", "dvc.lock")
    assert stages_run(run(folder, "dvc", "repro")) == []
    assert run(folder, "git", "status", "--porcelain").stdout == ""


def kill_everything_of(folder: Path) -> None:
    """SIGKILL every process that works in a folder or for it."""
    for process in Path("/proc").iterdir():
        try:
            works_here = (process / "cwd").readlink().is_relative_to(folder)
        except OSError:  # no process, or one that ended meanwhile, or another user's
            continue
        if works_here:
            subprocess.run(["kill", "-KILL", process.name], check=False)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and subprocess.run(["pgrep", "-f", str(folder)], check=False).returncode == 0:
        time.sleep(0.1)


def test_queued_experiments_two_at_once_on_an_empty_database_end_with_complete_sets_of_runs(pipeline, tmp_path):
    folder = without_record(pipeline, tmp_path)
    names = [f"queued-{number}" for number in range(4)]
    for number, name in enumerate(names):
        temperature = f"distill.temperature={number + 1}.5"
        run(folder, "dvc", "exp", "run", "evaluate", "--queue", "--name", name, "-S", temperature)
    subprocess.run(  # its workers keep what it prints to open
        ["dvc", "queue", "start", "--jobs", "2"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    deadline = time.monotonic() + 900
    while (status := run(folder, "dvc", "queue", "status").stdout).count("Success") < len(names):
        assert "Failed" not in status, status
        assert time.monotonic() < deadline, status
        time.sleep(2)
    shown = run(folder, "dvc", "exp", "show", "--csv").stdout
    for name in names:
        assert name in shown
    check_complete(folder, names)


def without_record(pipeline: Path, tmp_path: Path) -> Path:
    """A copy of the pipeline as after a run, whose MLflow database is still to be made."""
    folder = shutil.copytree(pipeline, tmp_path / "clone", ignore=shutil.ignore_patterns("mlartifacts", "mlflow.db"))
    run(folder, "git", "status")
    return folder


def check_complete(folder: Path, names: list[str]) -> None:
    wait_for_sync(folder)
    client = store(folder)
    experiment = client.get_experiment_by_name("distillery")
    runs = client.search_runs([experiment.experiment_id], max_results=500)
    assert len(runs) == (len(STUDENTS_STAGES) + 1) * len(names)
    parents = [found.info.run_id for found in runs if "mlflow.parentRunId" not in found.data.tags]
    assert len(parents) == len(names)
    assert {found.info.status for found in runs} == {"FINISHED"}
    assert list(client.search_runs(["0"])) == []
    assert list(client.search_logged_models(["0"])) == []
    for number, name in enumerate(names):
        found = tracked(folder, name)
        assert sorted(found) == STUDENTS_STAGES
        assert len({stage_run.data.tags["mlflow.parentRunId"] for stage_run in found.values()}) == 1
        for stage_run in found.values():
            assert stage_run.data.tags["distillery.dvc_experiment"] == name
            assert stage_run.data.tags["mlflow.parentRunId"] in parents
            for place in ("figures", "images", "curves"):
                for item in client.list_artifacts(stage_run.info.run_id, place):
                    path = mlflow.artifacts.download_artifacts(
                        run_id=stage_run.info.run_id,
                        artifact_path=item.path,
                        tracking_uri=f"sqlite:///{folder}/mlflow.db",
                    )
                    assert Path(path).stat().st_size > 0
        assert found["distill"].data.params["distill.temperature"] == f"{number + 1}.5"
        assert [point.step for point in client.get_metric_history(found["distill"].info.run_id, "loss")] == [1, 2, 3]


def test_a_fresh_clone_on_a_bare_machine_in_an_odd_path_ends_with_the_same_bytes(pipeline, tmp_path):
    """No home directory, caches that cannot be written, no network; `?`, `#` and `%` mean something in addresses.

    All outputs, models, logits, metrics and plots; and Git sees nothing but the timing.
    """
    folder = tmp_path / "Müllers Projekte №1, ?, #, %25"
    run(tmp_path, "git", "clone", "--quiet", str(pipeline), str(folder))
    assert not (folder / "models/teacher/teacher.keras").exists()
    for key, value in (("user.name", "test"), ("user.email", "test@example.com")):  # there is no home for them
        run(folder, "git", "config", key, value)
    # not even root can make a folder in /sys
    bare = {"HOME": "/sys/nowhere", "XDG_CACHE_HOME": "/sys/cache", "XDG_CONFIG_HOME": "/sys/config"}
    offline = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    answer = run(folder, "dvc", "repro", **bare, **offline, no_proxy="127.0.0.1,localhost")
    assert stages_run(answer) == STAGES
    assert "warning" not in answer.stdout + answer.stderr
    changed = run(folder, "git", "diff", "--name-only", "HEAD").stdout.splitlines()
    assert changed == ["dvc.lock", *TIMINGS]
    difference = run(folder, "git", "diff", "--unified=0", "HEAD", "--", "dvc.lock").stdout.splitlines()
    lines = [line[1:].split()[0] for line in difference if line[0] in "+-" and not line.startswith(("+++", "---"))]
    assert set(lines) <= {"md5:", "size:"}
    assert lines.count("md5:") == 2 * len(TIMINGS)
    before, after = outputs(pipeline), outputs(folder)
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == TIMINGS
    commit(folder, "run")
    run(folder, "dvc", "exp", "run", "-S", "distill.temperature=2", **bare, **offline)
    for command in (("status",), ("metrics", "diff"), ("params", "diff"), ("exp", "show", "--csv"), ("plots", "diff")):
        run(folder, "dvc", *command, **bare, **offline)
    wait_for_sync(folder)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    with sqlite3.connect(folder / "mlflow.db") as database:
        found = {name for (name,) in database.execute("SELECT name FROM runs WHERE status = 'FINISHED'")}
    assert found >= {f"workspace/{stage}" for stage in STAGES}


def test_the_way_back_after_an_experiment_leads_back(pipeline, tmp_path):
    """As it is printed: same size, same second, and Git took the experiment's parameters for the committed ones."""
    folder = Path(shutil.copytree(pipeline, tmp_path / "back", symlinks=True))
    run(folder, "git", "reset", "--quiet", "--hard")
    before = (folder / "params.yaml").read_text(encoding="utf-8")
    for _ in range(2):
        answer = run(folder, "dvc", "exp", "run", "-S", "prepare.validation_fraction=0.9", check=False)
        told = next(line for line in (answer.stdout + answer.stderr).splitlines() if "found 0.9" in line)
        _, command = told.split("back to the committed values: ")
        assert "params.yaml" in run(folder, "git", "status", "--porcelain").stdout
        run(folder, *command.split())
        assert (folder / "params.yaml").read_text(encoding="utf-8") == before
    assert stages_run(run(folder, "dvc", "repro")) == []
    run(folder, "dvc", "exp", "run", "-S", "evaluate.sheet_images=13")
    run(folder, "git", "checkout", "params.yaml")
    assert (folder / "params.yaml").read_text(encoding="utf-8") == before


def test_sigterm_ends_the_stage_and_its_run(pipeline, tmp_path):
    """What a cluster's scheduler and `docker stop` send."""
    folder = without_record(pipeline, tmp_path)
    process = started(folder, "distill")
    for line in process.stdout:
        if "Epoch 2/3" in line:
            break
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "Traceback" not in said
    wait_for_sync(folder)
    assert tracked(folder, "workspace")["distill"].info.status == "KILLED"
