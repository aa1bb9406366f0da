"""Where runs go: servers with passwords, mistyped ones, moved checkouts, and what MLflow refuses."""

import json
import os
import random
import shutil
import string
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from conftest import environment
from filelock import FileLock
from mlflow.utils.validation import _validate_metric_name

from pipeline.tracking import run_log, servers, sync
from pipeline.tracking.entries import entry_name
from pipeline.tracking.run_log import RunLog

ROOT = Path(__file__).resolve().parent.parent
NOBODY = "http://127.0.0.1:9"  # a port at which nobody listens
PASSWORDS = ["s3cret-pass", "p@ss/w:rd", "p%40ss%2Fword"]


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    """An empty database: MLflow takes seconds to make one."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def repository(tmp_path, monkeypatch, database):
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    folder = checkout(tmp_path / "project", monkeypatch)
    shutil.copy(database, folder)
    return folder


def checkout(folder: Path, monkeypatch) -> Path:
    """Work in a folder as in the project's; it is made if it is missing."""
    (folder / ".distillery").mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    monkeypatch.chdir(folder)
    return folder


def record(stage: str = "distill", parameters: dict | None = None, metrics: dict | None = None, fails: bool = False):
    """Record a stage's run, which nobody sends yet. Return its name."""
    with FileLock(run_log.sync_lock()):
        try:
            with RunLog(stage, parameters or {}) as run:
                run.metrics(metrics or {"loss": 1.0}, step=0)
                run.table("table.json", {"a": 1})
                if fails:
                    raise RuntimeError
        except RuntimeError:
            pass
    return run._folder.name


def client_of(folder: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")


def runs(folder: Path, **filters):
    client = client_of(folder)
    experiment = client.get_experiment_by_name("distillery")
    return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"], **filters)


def by_name(folder: Path, *names: str) -> list:
    """Return the runs with these names; there are no others."""
    found = {run.info.run_name: run for run in runs(folder)}
    assert sorted(found) == sorted(names)
    return [found[name] for name in names]


def said_by_sync(capsys, *arguments: str) -> list[str]:
    """Return the lines that the command prints, and at the end its exit code."""
    capsys.readouterr()
    code = sync.main(list(arguments))
    return [*capsys.readouterr().out.splitlines(), str(code)]


@pytest.mark.parametrize("copied", [True, False])
def test_artifacts_of_a_copied_or_moved_checkout_lie_in_it(repository, monkeypatch, capsys, copied):
    record()
    assert said_by_sync(capsys)[-1] == "0"
    second = repository.with_name("sec%ond")
    shutil.copytree(repository, second) if copied else repository.rename(second)
    checkout(second, monkeypatch)
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    record()
    said = said_by_sync(capsys)
    assert [line for line in said if f"moved or copied from {repository}" in line] == said[:1]
    client = client_of(second)
    for found in runs(second):
        assert found.info.artifact_uri.startswith(f"{second.as_uri()}/mlartifacts/")
        assert [item.path for item in client.list_artifacts(found.info.run_id)] == ["table.json"]
    assert len(list(second.rglob("table.json"))) == 2
    assert {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()} == before
    assert said_by_sync(capsys) == ["0 of 0 runs synced", "0"]


def test_a_database_that_cannot_be_read_is_told_in_a_line(repository, capsys):
    (repository / "mlflow.db").touch()
    assert said_by_sync(capsys) == ["0 of 0 runs synced", "0"]
    (repository / "mlflow.db").write_bytes(b"no database " * 500)
    with pytest.raises(SystemExit, match=r"^sync: .*mlflow.db: cannot be read \(file is not a database\); without it"):
        said_by_sync(capsys)


def test_artifacts_that_somebody_keeps_elsewhere_stay_there(repository, capsys):
    chosen = repository.parent / "disk/mlartifacts"
    chosen.mkdir(parents=True)
    client_of(repository).create_experiment("other", artifact_location=chosen.as_uri())
    assert said_by_sync(capsys) == ["0 of 0 runs synced", "0"]
    assert client_of(repository).get_experiment_by_name("other").artifact_location == chosen.as_uri()


def test_a_path_with_signs_of_a_uri_holds_database_and_artifacts(tmp_path, repository, monkeypatch, capsys):
    folder = checkout(tmp_path / "path with spaces, ?, #, %25 and ü", monkeypatch)
    record()
    assert said_by_sync(capsys) == ["1 of 1 runs synced", "0"]
    assert {path.name for path in folder.iterdir()} == {".distillery", "mlflow.db", "mlartifacts"}
    assert len(list(folder.glob("mlartifacts/*/artifacts/table.json"))) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"project", folder.name}


@pytest.mark.parametrize("password", PASSWORDS)
def test_password_of_a_server_is_in_no_file_and_in_no_line(repository, monkeypatch, capsys, password):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{password}@127.0.0.1:9")
    name = record()
    said = said_by_sync(capsys)
    assert said[-1] == "1"
    record()
    text = "\n".join(said) + "".join(capsys.readouterr())
    text += "".join(path.read_text(errors="replace") for path in repository.rglob("*") if path.is_file())
    assert name in text
    assert password not in text
    assert servers.address("http://***@127.0.0.1:9") == f"http://me:{password}@127.0.0.1:9"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:another@elsewhere")
    with pytest.raises(servers.PasswordMissing, match=r"MLFLOW_TRACKING_URI to http://\*\*\*@127.0.0.1:9 with"):
        servers.address("http://***@127.0.0.1:9")


def test_passwords_are_masked_wherever_they_stand(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hidden")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "abc.def")
    text = "API request to postgresql://u:pw@host/db?password=x&sslmode=require failed: Bearer abc.def, hidden, a@b"
    masked = "API request to postgresql://***@host/db?password=***&sslmode=require failed: Bearer ***, ***, a@b"
    assert servers.masked(text) == masked
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////home/me@work/a.db")
    assert servers.present_server() == "sqlite:////home/me@work/a.db"


def test_run_for_a_mistyped_server_is_redirected_or_dropped(repository, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    first, second = record(), record("evaluate")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    third = record("export")
    said = said_by_sync(capsys)
    assert said[0].startswith(
        f"{repository}/.distillery/pending/{first}: for {NOBODY}, which MLFLOW_TRACKING_URI does not"
    )
    assert said[-2:] == [f"1 of 3 runs synced; 2 stay in {repository}/.distillery/pending", "1"]
    assert [run.data.tags["distillery.record"] for run in runs(repository)] == [third]
    with pytest.raises(SystemExit) as ended:
        sync.main(["--drop", "nothing"])
    assert ended.value.code.startswith("sync: nothing: no run with this name waits")
    assert f"found: {first}, {second}, {NOBODY}" in ended.value.code
    assert said_by_sync(capsys, "--drop", first)[0] == f"{first} dropped"
    assert said_by_sync(capsys, "--to", "sqlite:///mlflow.db", NOBODY) == ["1 of 1 runs synced", "0"]
    assert [run.data.tags["distillery.record"] for run in runs(repository)] == [second, third]


def test_next_stages_runs_do_not_wait_for_a_server_that_was_asked_just_now(repository, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    lost = record()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    asks = sync.Sync()
    asks.send()
    assert list(asks._resting) == [("server", NOBODY)]
    seconds = asks._resting["server", NOBODY][0] - sync.time.monotonic()
    assert 200 < seconds <= sync.OTHER_PAUSE_SECONDS
    later = sync.Sync()
    later.leave_alone()
    assert 200 < later._resting["server", NOBODY][0] - sync.time.monotonic() <= sync.OTHER_PAUSE_SECONDS
    asked_at = (run_log.pending() / lost / run_log.ERROR).stat().st_mtime_ns
    record()
    later.send()
    assert len(runs(repository)) == 1
    assert (run_log.pending() / lost / run_log.ERROR).stat().st_mtime_ns == asked_at


def test_warning_is_printed_once_per_run_of_dvc(repository, monkeypatch, capsys):
    monkeypatch.setenv("DVC_STAGE", "distill")
    (run_log.pending() / "1-broken").mkdir(parents=True)
    (run_log.pending() / "1-broken/log.jsonl").write_text("damaged\n")
    (run_log.pending() / "1-broken/error.txt").write_text("JSONDecodeError")
    for warnings in (1, 0):
        record()
        assert capsys.readouterr().err.count("warning: distill: MLflow cannot be reached or refuses a run") == warnings
    monkeypatch.delenv("DVC_STAGE")
    record()
    assert "JSONDecodeError" in capsys.readouterr().err


def test_deleted_experiment_is_restored_and_told(repository, capsys):
    record()
    said_by_sync(capsys)
    client = client_of(repository)
    client.delete_experiment(client.get_experiment_by_name("distillery").experiment_id)
    record()
    said = said_by_sync(capsys)
    assert said[0].startswith("the experiment distillery was deleted in MLflow, and is restored")
    assert len(runs(repository)) == 2


def test_deleted_run_stays_and_says_how_to_mend_it(repository, capsys):
    name = record()
    folder = run_log.pending() / name
    shutil.copytree(folder, repository / "kept")
    said_by_sync(capsys)
    (found,) = runs(repository)
    state = {"run_id": found.info.run_id, "experiment_id": found.info.experiment_id, "position": 0, "ended": False}
    first = (repository / "kept/log.jsonl").read_bytes().index(b"\n") + 1
    (repository / "kept/sent.json").write_text(json.dumps(state | {"position": first}))
    shutil.move(repository / "kept", folder)
    client_of(repository).delete_run(found.info.run_id)
    other = record("evaluate")
    said = said_by_sync(capsys)
    assert f"`mlflow runs restore --run-id {found.info.run_id}`" in said[0]
    assert said[-2].startswith("1 of 2 runs synced")
    assert not (run_log.pending() / other).exists()
    client_of(repository).restore_run(found.info.run_id)
    assert said_by_sync(capsys) == ["1 of 1 runs synced", "0"]


def test_long_parameters_and_odd_names_arrive(repository, capsys):
    names = [
        "recall.50%",
        "f1.a//b",
        "f1.a/b",
        "é (1)",
        "x" * 300 + "a",
        "x" * 300 + "b",
        "/tmp",
        "c:\\d",
        "two\nlines",
    ]
    long = "/".join(["folder"] * 2000)
    parameters = {f"distill.p{number}": number for number in range(150)} | {"prepare.dataset": long, "a%b": 1}
    record("distill", parameters, {name: number for number, name in enumerate(names)})
    assert said_by_sync(capsys) == ["1 of 1 runs synced", "0"]
    (found,) = runs(repository)
    assert sorted(found.data.metrics.values()) == list(range(len(names)))
    assert found.data.metrics["recall.50_x25_"] == 0
    assert found.data.metrics["f1.a/b"] == 2
    assert len(found.data.params) == 152
    assert found.data.params["prepare.dataset"].endswith("… (whole in parameters.json)")
    assert len(found.data.params["prepare.dataset"]) == 6000
    (kept,) = repository.glob("mlartifacts/*/artifacts/parameters.json")
    assert json.loads(kept.read_text())["prepare.dataset"] == long


def test_every_name_becomes_one_that_mlflow_takes():
    draw = random.Random(0)
    signs = string.printable + "äßÀ漢字é€¢½ ​\u2028😀" + "/." * 20
    names = {"".join(draw.choices(signs, k=draw.randint(1, 12))) for _ in range(2000)} | {".", "..", "../a", "a/."}
    for name in names:
        _validate_metric_name(entry_name(name))
    assert len({entry_name(name) for name in names}) == len(names)
    assert entry_name("seed_0/val_accuracy") == "seed_0/val_accuracy"


def test_stages_of_one_run_of_dvc_share_a_parent_run(repository, monkeypatch, capsys):
    """The process that started this one stands for DVC."""
    monkeypatch.setenv("DVC_STAGE", "distill")
    record("distill", {"distill.temperature": 4.0}, {"loss": 1.0}, fails=True)
    said_by_sync(capsys)
    (parent,) = runs(repository, filter_string="tags.`distillery.repro` LIKE '%'")
    assert (parent.info.run_name, parent.info.status) == ("workspace", "FAILED")
    headline = {"gain": {"points": 0.5}, "distilled": {"accuracy": 0.9, "log_loss": 0.3}}
    name = record("evaluate", {"distill.temperature": 4.0, "student.epochs": 3}, headline)
    shutil.copytree(run_log.pending() / name, repository / "again")
    for _ in range(2):  # the second time as after a power cut, from the beginning
        said_by_sync(capsys)
        evaluation, failed, parent = by_name(repository, "workspace/evaluate", "workspace/distill", "workspace")
        assert parent.info.status == "FAILED"
        assert parent.data.params == {"distill.temperature": "4.0", "student.epochs": "3"}
        assert parent.data.metrics == {"gain.points": 0.5, "distilled.accuracy": 0.9}
        for child in (failed, evaluation):
            assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        if (repository / "again").exists():
            shutil.move(repository / "again", run_log.pending() / name)
    experiment = client_of(repository).get_experiment_by_name("distillery")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


KEY = "from pipeline.tracking.repro import repro_key; print(repro_key())"
DVC = """
import subprocess, sys
python = [sys.executable, "-c", sys.argv[1]]
for command in (["sh", "-c", '"$0" -c "$2"; true', *python], python):  # as DVC starts a stage, and as some shells do
    print(subprocess.run(command, env={"DVC_STAGE": "distill"}, capture_output=True, text=True, check=True).stdout)
"""


def test_key_of_a_run_of_dvc_is_that_of_its_process():
    """Two commands of one process share it, with a shell in between or without; those of another process do not."""

    def keys(program: str) -> list[str]:
        command = [sys.executable, "-c", program, KEY]
        return subprocess.run(
            command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
        ).stdout.split()

    first, second = keys(DVC), keys(DVC)
    assert len(first) == len(second) == 2
    assert first[0] == first[1] != second[0] == second[1]
    assert keys(KEY) == []
