"""What a stage that was stopped leaves behind, found again by the next run of exactly the same work."""

import hashlib
import itertools
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import filelock
from ruamel.yaml import YAML

from distillery.data.files import file_digest

LIBRARIES = ("keras", "tensorflow", "jax", "torch", "numpy", "scikit-learn")  # on which results depend
KEPT_DAYS = 30  # what nobody came back for in this time is removed


def repository() -> Path:
    """The folder for what outlives a run. A queued experiment works in a temporary clone; DVC_ROOT is its parent."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd())


@contextmanager
def unfinished_work(stage: str, parameters: Mapping[str, Any]) -> Iterator[Path]:
    """The folder in which a stage keeps what it needs to go on from, should it be stopped.

    It is the folder that an earlier run of the same work left, if one was stopped, and belongs to this process alone:
    of two that do the same work at the same time, each gets its own. It is removed when the block ends well.

    Args:
        stage: its name in `dvc.yaml`.
        parameters: all parameters, flat, `{"distill.temperature": 4.0}`.
    """
    place = repository() / ".distillery" / "resume"
    place.mkdir(parents=True, exist_ok=True)
    name = f"{stage}-{work_digest(stage, parameters)[:24]}"
    with filelock.FileLock(place / "folders.lock"):  # nobody removes a folder while another takes it
        _remove_forgotten(place)
        left = sorted(place.glob(f"{name}.*"))
        new = (place / f"{name}.{number}" for number in itertools.count(1))
        folder, owner = next(taken for folder in itertools.chain(left, new) if (taken := _take(folder)))
    finished = False
    try:
        yield folder
        finished = True
    finally:
        with filelock.FileLock(place / "folders.lock"):
            owner.release()
            if finished:
                shutil.rmtree(folder)


def _take(folder: Path) -> tuple[Path, filelock.FileLock] | None:
    """The folder, made where it is missing, and its lock; None where a living process has it."""
    folder.mkdir(exist_ok=True)
    owner = filelock.FileLock(folder / "owner.lock")  # freed by the system however the process ends
    try:
        owner.acquire(blocking=False)
    except filelock.Timeout:
        return None
    for half_written in folder.glob(".*"):  # by a process that was killed
        half_written.unlink()
    return folder, owner


def work_digest(stage: str, parameters: Mapping[str, Any]) -> str:
    """A digest of all that a stage's result depends on: what `dvc.yaml` names, and the versions of the libraries.

    Args:
        stage: its name in `dvc.yaml`.
        parameters: all parameters, flat.
    """
    declared = YAML(typ="safe", pure=True).load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    deps = [re.sub(r"\$\{(.+?)\}", lambda key: str(parameters[key[1]]), dep) for dep in declared["deps"]]
    work = {
        "stage": stage,
        "parameters": {
            key: value
            for key, value in parameters.items()
            if any(key == named or key.startswith(f"{named}.") for named in declared["params"])
        },
        "deps": {dep: _content(Path(dep)) for dep in deps},
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "versions": {
            package: _version(package) for package in ("keras", "tensorflow", "jax", "torch", "numpy", "scikit-learn")
        },
    }
    return hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()


def _content(path: Path) -> Any:
    """A file's digest; of a folder, those of the JSON files in which the pipeline describes its arrays by digests."""
    if path.is_dir():
        return {file.name: file_digest(file) for file in sorted(path.glob("*.json"))}
    return file_digest(path) if path.is_file() else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _remove_forgotten(place: Path) -> None:
    for folder in (path for path in place.iterdir() if path.is_dir()):
        if time.time() - folder.stat().st_mtime > KEPT_DAYS * 24 * 3600 and (taken := _take(folder)):
            taken[1].release()
            shutil.rmtree(folder)
