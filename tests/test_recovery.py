"""What a killed DVC leaves behind, and `python -m pipeline recover`."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, environment, processes, run, stages_run
from test_reliability import kill_everything_of

from distillery.data.errors import InputError
from pipeline import recovery

ME = ("-c", "user.name=t", "-c", "user.email=t@example.com")


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def project(tmp_path) -> Path:
    """A repository with a commit, and the folders that DVC makes."""
    for name in ("dvc.yaml", "dvc.lock", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    git(tmp_path, "init", "--quiet", "--initial-branch=work")
    git(tmp_path, "add", "--all")
    git(tmp_path, *ME, "commit", "--quiet", "--message=one")
    (tmp_path / ".dvc/tmp/exps").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("name", ["rwlock", "exps/rwlock"])
@pytest.mark.parametrize(
    "text", ["", '{"write": {"/a', '{"write": {"/a": {"pid": 1, "cmd": "dvc repro"}}, "read": {}}']
)
def test_locks_of_processes_that_are_gone_are_removed(project, name, text):
    path = project / ".dvc/tmp" / name
    path.write_text(text)
    assert list(recovery._locks(project)) == [f"removed .dvc/tmp/{name}: locks of a process that is gone"]
    assert not path.exists()


def test_gits_locks_are_removed_and_a_free_rwlock_stays(project):
    (project / ".dvc/tmp/rwlock").write_text('{"write": {}}')
    (project / ".git/refs/exps").mkdir()
    for name in ("index.lock", "refs/exps/stash.lock"):
        (project / ".git" / name).touch()
    assert len(list(recovery._locks(project))) == 2
    assert list(project.rglob(".git/**/*.lock")) == []
    assert (project / ".dvc/tmp/rwlock").exists()


def test_a_head_that_dvc_detached_is_put_back_on_its_branch(project):
    head = git(project, "rev-parse", "HEAD")
    for _ in range(2):  # killed twice
        git(project, "checkout", "--quiet", "--detach", head)
        git(project, "checkout", "--quiet", head)
    assert list(recovery._head(project)) != []
    assert git(project, "symbolic-ref", "HEAD") == "refs/heads/work"
    assert list(recovery._head(project)) == []


def test_a_head_that_the_user_detached_stays(project):
    git(project, "tag", "v1")
    git(project, "checkout", "--quiet", "v1")
    assert list(recovery._head(project)) == []
    git(project, "checkout", "--quiet", "work")
    git(
        project,
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.com",
        "commit",
        "--quiet",
        "--allow-empty",
        "-m",
        "two",
    )
    git(project, "checkout", "--quiet", git(project, "rev-parse", "v1"))
    assert list(recovery._head(project)) == []  # the branch has gone on


@pytest.mark.parametrize("part", [0, 0.3, 0.6])
def test_half_a_lock_file_is_restored(project, part):
    path, whole = project / "dvc.lock", (ROOT / "dvc.lock").read_text(encoding="utf-8")
    assert list(recovery._lock_file(project)) == []
    path.write_text(whole[: whole.index("    cmd:", int(part * len(whole)))] if part else "", encoding="utf-8")
    assert len(list(recovery._lock_file(project))) == 1
    assert path.read_text(encoding="utf-8") == whole


def test_records_of_runs_that_were_begun_are_removed(tmp_path):
    for name in ("aa/aa1", "bb/bb2", "cc/cc3"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    (tmp_path / "runs/bb/bb2/.half.tmp").touch()
    (tmp_path / "runs/cc/cc3/whole").touch()
    assert len(list(recovery._run_cache(tmp_path))) == 2
    assert [path.name for path in tmp_path.glob("runs/*/*")] == ["cc3"]


def test_only_dvcs_temporary_files_are_removed(project, monkeypatch):
    monkeypatch.chdir(ROOT)
    (project / "models").mkdir()
    for name in (".tN0aEX9tdRo0nLyHrWX93g.tmp", "models/.ynisnTkrxZSNyyITLtMKMQ.tmp", ".mine.tmp"):
        (project / name).touch()
    assert len(list(recovery._temporary_files(project))) == 2
    assert (project / ".mine.tmp").exists()


def test_nothing_is_mended_while_dvc_works(project, monkeypatch):
    monkeypatch.chdir(project)
    program = project / "dvc"
    program.write_text("import time; time.sleep(60)")
    with subprocess.Popen([sys.executable, str(program), "repro"], cwd=project) as process:
        try:
            with pytest.raises(InputError, match=rf"process {process.pid} works here: .*dvc repro; wait for it"):
                recovery.recover()
        finally:
            process.kill()


@pytest.mark.long
def test_a_killed_experiment_is_recovered_from_by_one_command(pipeline, tmp_path):
    """Git is on no branch while `dvc exp run` works; locks, records and databases may be half written."""
    folder = Path(shutil.copytree(pipeline, tmp_path / "killed", symlinks=True))
    run(folder, "git", "reset", "--quiet", "--hard")
    command = ["dvc", "exp", "run", "-S", "distill.temperature=9.0"]
    process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not processes(folder, b"pipeline\0distill"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "works here" in run(folder, "python", "-m", "pipeline", "recover", check=False).stderr
    process.kill()
    process.wait()
    kill_everything_of(folder)
    assert run(folder, "git", "symbolic-ref", "--quiet", "HEAD", check=False).returncode == 1
    (folder / ".dvc/tmp/rwlock").write_text('{"write": {"/')
    assert "JSON structure is corrupted" in run(folder, "dvc", "repro", check=False).stderr
    (folder / ".git/index.lock").touch()
    (folder / "dvc.lock").write_text("")
    (folder / ".dvc/cache/runs/ab/abcd").mkdir(parents=True)
    said = run(folder, "python", "-m", "pipeline", "recover").stdout
    for words in ("removed .dvc/tmp/rwlock", "index.lock", "restored dvc.lock", "abcd", "on branch main", "dvc repro"):
        assert words in said
    run(folder, "git", "checkout", "HEAD", "params.yaml")
    assert stages_run(run(folder, "dvc", "repro")) == []
    assert run(folder, "git", "status", "--porcelain").stdout == ""
    run(folder, *command)
    assert run(folder, "python", "-m", "pipeline", "recover").stdout.startswith("nothing was left behind\n")


@pytest.mark.long
def test_a_database_that_cannot_be_read_is_made_anew(pipeline, tmp_path):
    folder = Path(shutil.copytree(pipeline, tmp_path / "no database", symlinks=True))
    run(folder, "git", "reset", "--quiet", "--hard")
    place = run(folder, "dvc", "doctor").stdout.split("Repo.site_cache_dir: ")[1].split()[0]
    databases = list(Path(place).rglob("*.db"))
    assert databases
    for path in databases:
        path.write_bytes(b"no database " * 500)
    assert "not a database" in run(folder, "dvc", "status", check=False).stderr
    assert "DVC makes its database of hashes anew" in run(folder, "python", "-m", "pipeline", "recover").stdout
    assert stages_run(run(folder, "dvc", "repro")) == []
