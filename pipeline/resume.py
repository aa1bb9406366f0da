"""What a stopped stage leaves behind, found again by the next run of exactly the same work."""

import hashlib
import itertools
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from distillery.data.files import file_digest
from pipeline.stages import stage_deps, stage_parameters

LIBRARIES = ("keras", "tensorflow", "jax", "torch", "numpy", "scikit-learn")  # on which results depend
RETENTION_DAYS = 30


def repository() -> Path:
    """Return the folder of what outlives a run: of a queued experiment, in its temporary clone, that is DVC_ROOT."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd())


@contextmanager
def resume_directory(stage: str, parameters: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the folder in which a stage keeps what it needs to go on from, should it be stopped.

    It is the folder that an earlier run of the same work left, if one was stopped, and belongs to this process alone:
    of two that do the same work at the same time, each gets its own. It is removed when the block ends well.

    Args:
        stage: its name in `dvc.yaml`.
        parameters: all parameters, flat, `{"distill.temperature": 4.0}`.
    """
    parent = repository() / ".distillery" / "resume"
    parent.mkdir(parents=True, exist_ok=True)
    name = f"{stage}-{stage_fingerprint(stage, parameters)[:24]}"
    with FileLock(parent / "folders.lock"):  # nobody removes a folder while another takes it
        _remove_expired(parent)
        left = sorted(parent.glob(f"{name}.*"))
        new = (parent / f"{name}.{number}" for number in itertools.count(1))
        folder, owner = next(taken for folder in itertools.chain(left, new) if (taken := _take(folder)))
    finished = False
    try:
        yield folder
        finished = True
    finally:
        with FileLock(parent / "folders.lock"):
            owner.release()
            if finished:
                shutil.rmtree(folder)


def _take(folder: Path) -> tuple[Path, FileLock] | None:
    """Return the folder, made where it is missing, and its lock; None where a living process has it."""
    folder.mkdir(exist_ok=True)
    owner = FileLock(folder / "owner.lock")  # freed by the system however the process ends
    try:
        owner.acquire(blocking=False)
    except Timeout:
        return None
    for half_written in folder.rglob(".*"):  # by a process that was killed
        half_written.unlink()
    return folder, owner


def stage_fingerprint(stage: str, parameters: Mapping[str, Any]) -> str:
    """Return a digest of all that a stage's result depends on: what `dvc.yaml` and parameters name, and versions.

    Args:
        stage: its name in `dvc.yaml`.
        parameters: all parameters, flat.
    """
    work = {
        "stage": stage,
        "parameters": stage_parameters(stage, parameters),
        "files": {name: _content(Path(name)) for name in {*stage_deps(stage, parameters), *named(stage, parameters)}},
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "versions": {package: _version(package) for package in LIBRARIES},
    }
    return hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()


def named(stage: str, parameters: Mapping[str, Any]) -> list[str]:
    """Return the files that a stage's parameters name. Not all are deps: DVC wants those to be there always.

    Args:
        stage: its name in `dvc.yaml`.
        parameters: all parameters, flat.
    """
    own = stage_parameters(stage, parameters).values()
    return [value for value in own if isinstance(value, str) and Path(value).is_file()]


def _content(path: Path) -> Any:
    """Return a file's digest; of a folder those of its files, but of arrays, whose digests are in its JSON files."""
    if path.is_dir():
        files = (file for file in sorted(path.rglob("*")) if file.suffix in (".py", ".json"))
        return {str(file.relative_to(path)): file_digest(file) for file in files}
    return file_digest(path) if path.is_file() else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _remove_expired(parent: Path) -> None:
    for folder in (path for path in parent.iterdir() if path.is_dir()):
        if time.time() - folder.stat().st_mtime > RETENTION_DAYS * 24 * 3600 and (taken := _take(folder)):
            taken[1].release()
            shutil.rmtree(folder)
