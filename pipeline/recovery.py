"""What a DVC that was killed leaves behind, found and mended: `python -m pipeline recover`."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
from ruamel.yaml import YAML, YAMLError

from distillery.data.errors import InputError
from distillery.data.files import atomic_write
from pipeline.stages import out_folders

TEMPORARY = re.compile(r"\.[\w-]{22}\.tmp")  # what DVC calls the files with which it tries links
COMMIT = re.compile(r"[0-9a-f]{40}")


def recover() -> None:
    """Make DVC and Git usable again after a kill: stale locks, half-written files, a detached HEAD.

    Nothing that you wrote and no output is touched; what is removed or restored is listed. Where DVC or a stage still
    runs in the project, nothing happens.
    """
    project = Path.cwd()
    _refuse_while_in_use(project)
    cache = project / (_dvc(project, "cache", "dir").stdout.strip() or ".dvc/cache")
    done = [*_locks(project), *_head(project), *_lock_file(project), *_run_cache(cache), *_temporary_files(project)]
    done += _state_database(project)
    for line in done or ["nothing was left behind"]:
        print(line)
    if _git(project, "rev-parse", "--verify", "--quiet", "refs/stash").returncode == 0:
        print("`git stash list` has entries: DVC puts uncommitted changes there while it prepares an experiment")
    if _git(project, "diff", "--quiet", "HEAD", "--", "params.yaml").returncode == 1:
        print("params.yaml differs from the last commit; to take that back: git checkout HEAD params.yaml")
    print("go on with: dvc repro")


def _refuse_while_in_use(project: Path) -> None:
    for process in psutil.process_iter(["cwd", "cmdline"]):
        words, cwd = process.info["cmdline"] or [], process.info["cwd"]
        dvc = any(Path(word).name == "dvc" for word in words[:3])  # its program, by Python or not, or `-m dvc`
        if not (dvc or words[1:3] == ["-m", "pipeline"]) or process.pid == os.getpid():
            continue
        if cwd and Path(cwd).is_relative_to(project):
            raise InputError(f"process {process.pid} works here: {' '.join(words[1:])}; wait for it, or end it first")


def _locks(project: Path) -> Iterator[str]:
    """Remove what processes that are gone have locked. The files of locks themselves are freed by the system."""
    for path in (project / ".dvc/tmp/rwlock", project / ".dvc/tmp/exps/rwlock"):
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            free = isinstance(held, dict) and not any(held.values())
        except FileNotFoundError:
            continue
        except ValueError:  # half a file
            free = False
        if not free:
            path.unlink()
            yield f"removed {path.relative_to(project)}: locks of a process that is gone"
    git = _git(project, "rev-parse", "--absolute-git-dir").stdout.strip()
    if not git:
        return
    for path in (Path(git) / "index.lock", Path(git) / "HEAD.lock", *Path(git).glob("refs/exps/**/*.lock")):
        if path.is_file():
            path.unlink()
            yield f"removed {path}: Git's lock, left by DVC"


def _head(project: Path) -> Iterator[str]:
    """Put Git back on the branch from which `dvc exp run` took it: a commit made on no branch is easily lost."""
    head = _git(project, "rev-parse", "--verify", "--quiet", "HEAD").stdout.strip()
    if not head or _git(project, "symbolic-ref", "--quiet", "HEAD").returncode == 0:
        return
    for moved in _git(project, "reflog", "show", "--format=%gs", "HEAD").stdout.splitlines():
        words = moved.removeprefix("checkout: moving from ").split(" to ")
        if moved == words[0] or not COMMIT.fullmatch(words[-1]):
            return  # not DVC's
        if not COMMIT.fullmatch(words[0]):
            branch = f"refs/heads/{words[0]}"
            if _git(project, "rev-parse", "--verify", "--quiet", branch).stdout.strip() == head:
                _git(project, "symbolic-ref", "-m", "pipeline recover", "HEAD", branch)
                _git(project, "reset", "--quiet")
                yield f"put Git back on branch {words[0]}: a killed `dvc exp run` had left it on none"
            return


def _lock_file(project: Path) -> Iterator[str]:
    """Take the last commit's dvc.lock where a half is left of it, which DVC refuses or reads as one that is empty."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA  # imported for this command alone
    from voluptuous import Invalid

    path = project / "dvc.lock"
    try:
        COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")))
        return
    except FileNotFoundError:
        return
    except (YAMLError, Invalid, ValueError):
        pass
    committed = _git(project, "show", "HEAD:./dvc.lock")
    if committed.returncode:
        path.unlink()
        yield "removed dvc.lock: half a file; DVC's cache has what ran"
        return
    with atomic_write(path) as temporary:
        temporary.write_text(committed.stdout, encoding="utf-8")
    yield "restored dvc.lock from the last commit: half a file; DVC's cache has what ran since"


def _run_cache(cache: Path) -> Iterator[str]:
    """Remove records of runs that were begun: DVC fails at an empty folder ("join() argument must be str")."""
    for folder in (cache / "runs").glob("*/*"):
        for path in folder.glob("*.tmp"):  # names that begin with a dot, too
            path.unlink()
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            yield f"removed {folder}: a record of a run that was begun"


def _temporary_files(project: Path) -> Iterator[str]:
    for folder in {project, *(project / name for name in out_folders())}:
        for path in folder.glob(".*.tmp"):
            if TEMPORARY.fullmatch(path.name):
                path.unlink()
                yield f"removed {path.relative_to(project)}: DVC's"


def _state_database(project: Path) -> Iterator[str]:
    """Have DVC make its database of file hashes anew where it cannot read it; its place depends on a file's time."""
    answer = _dvc(project, "status")
    btime = project / ".dvc/tmp/btime"
    if "database" in answer.stderr and btime.is_file():
        btime.unlink()
        yield "DVC makes its database of hashes anew: it could not be read"


def _git(project: Path, *words: str) -> subprocess.CompletedProcess:
    try:
        return subprocess.run(["git", *words], cwd=project, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # a machine without Git
        return subprocess.CompletedProcess(words, 127, "", "")


def _dvc(project: Path, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "dvc", *words]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
