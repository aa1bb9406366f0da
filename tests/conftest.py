"""One real pipeline run on scikit-learn's digits, in a clone, is shared by all tests that need one."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
SMALL = {  # digits, and as little training as shows a result
    "prepare": {"dataset": "digits"},
    "student": {"epochs": 3, "batch_size": 32, "learning_rate": 0.003, "precision": "float32", "seeds": [0, 1]},
    "train_teacher": {"epochs": 4, "batch_size": 32, "precision": "float32", "jitter": 0},
    "evaluate": {"timing_rounds": 5, "timing_batch": 100},
}


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without what would lead tracking or DVC elsewhere, and with this Python's programs."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DVC_", "DISTILLERY_"))}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"} | changes


def run(folder: Path, *command: str, check: bool = True, **changes: str) -> subprocess.CompletedProcess:
    """Run a program as a user would, from the clone; `python`, `dvc` and `mlflow` are those of this environment."""
    answer = subprocess.run(
        command, cwd=folder, env=environment(**changes), capture_output=True, text=True, timeout=500, check=False
    )
    if check and answer.returncode:
        raise AssertionError(f"{' '.join(command)}: exit {answer.returncode}\n{answer.stdout}\n{answer.stderr}")
    return answer


def started(folder: Path, stage: str) -> subprocess.Popen:
    """A stage that runs, and what it prints, line by line."""
    return subprocess.Popen(
        [sys.executable, "-m", f"stages.{stage}"],
        cwd=folder,
        env=environment(DVC_ROOT=str(folder), PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def change_params(folder: Path, changes: dict[str, dict]) -> None:
    yaml = YAML()
    path = folder / "params.yaml"
    params = yaml.load(path)
    for section, values in changes.items():
        params[section].update(values)
    yaml.dump(params, path)


def clone(target: Path) -> Path:
    """A clone of the working tree as it is, uncommitted changes included, with nothing that a run left behind."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("metrics/", "plots/")) and name != "dvc.lock":
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    for command in (
        ["git", "init", "--quiet", "--initial-branch=main"],
        ["git", "config", "user.name", "test"],
        ["git", "config", "user.email", "test@example.com"],
        ["git", "add", "--all"],
        ["git", "commit", "--quiet", "--message=clone"],
    ):
        subprocess.run(command, cwd=target, check=True)
    return target


def commit(folder: Path, message: str) -> None:
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    subprocess.run(["git", "commit", "--quiet", "--message", message], cwd=folder, check=True)


def wait_for_delivery(folder: Path) -> None:
    """A stage that was stopped, fails or dies does not wait long for it."""
    deadline = time.monotonic() + 90
    while list((folder / ".distillery/outbox").iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.2)


STAGES = ["prepare", "train_teacher", "transfer", "distill", "train_scratch", "evaluate"]
OUTPUTS = ["data/prepared", "data/transfer", "models", "metrics", "plots"]


def stages_run(answer: subprocess.CompletedProcess) -> list[str]:
    return [stage for stage in STAGES if f"Running stage '{stage}'" in answer.stdout + answer.stderr]


def outputs(folder: Path) -> dict[str, bytes]:
    """Everything that the pipeline made, by name."""
    files = [path for made in OUTPUTS for path in sorted((folder / made).rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory) -> Path:
    """A clone, in a path with a space, in which `dvc repro` ran once."""
    folder = clone(tmp_path_factory.mktemp("a clone"))
    change_params(folder, SMALL)
    run(folder, "dvc", "repro")
    commit(folder, "run")
    return folder


def store(folder: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")


def tracked(folder: Path, experiment: str) -> dict:
    """The MLflow runs of one DVC experiment, by stage."""
    client = store(folder)
    found = client.search_runs([client.get_experiment_by_name("distillery").experiment_id], max_results=500)
    names = [run.info.run_name.split("/") for run in found]
    return {stage: run for (name, stage), run in zip(names, found, strict=True) if name == experiment}
