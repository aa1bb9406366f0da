"""A stage's run as the stage records it: lines of a file in `.distillery/pending/`, which `sync` sends to MLflow.

Training never waits for MLflow. A stage appends events to its run log and starts `pipeline.tracking.sync` in the
background if no such process runs. What cannot be sent stays pending for the next stage, or for
`python -m pipeline.tracking.sync`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from distillery.data.files import atomic_write, file_digest
from distillery.data.prepared import DatasetInfo
from distillery.export.preprocessing import described
from distillery.learning.metrics import by_class_name, per_class_accuracy
from pipeline.flat import flat
from pipeline.resume import repository
from pipeline.tracking.repro import TRIAL, repro_key
from pipeline.tracking.servers import masked, present_server

if TYPE_CHECKING:  # these modules import Keras
    from distillery.learning.checkpoint import Epoch
    from distillery.students.results import MeanEpoch

LOG, SENT, WRITER_LOCK, ERROR = "log.jsonl", "sent.json", "writer.lock", "error.txt"
NOTICES, WARNED = "notices.txt", "warned.json"
SERIES_CLASSES = 100  # with more, nobody can read a confusion matrix per epoch, and the logs become large


def pending() -> Path:
    """Return the folder of the runs that are not yet in MLflow, one folder per run."""
    return repository() / ".distillery" / "pending"


def pending_runs() -> list[Path]:
    """Return the folders of the pending runs, oldest first."""
    return sorted(path.parent for path in pending().glob(f"*/{LOG}"))


def start_of(folder: Path) -> dict[str, Any]:
    """Return the first event of a pending run; an empty one if its process died while writing it."""
    with open(folder / LOG, encoding="utf-8") as log:
        line = log.readline()
    return json.loads(line) if line.endswith("\n") else {}


def notify(line: str) -> None:
    """Say something to the user once: sync has no terminal, so the next stage prints it, or a sync by hand."""
    with open(repository() / ".distillery" / NOTICES, "a", encoding="utf-8") as notices:
        notices.write(f"{masked(line)}\n")


def take_notices() -> list[str]:
    """Return what sync has to say, line by line, and leave nothing of it."""
    path = repository() / ".distillery" / NOTICES
    taken = path.with_name(f"{os.getpid()}-{NOTICES}")
    try:
        path.rename(taken)
    except FileNotFoundError:
        return []
    lines = taken.read_text(encoding="utf-8").splitlines()
    taken.unlink()
    return lines


def sync_lock() -> Path:
    """Return the lock that the one process holds that talks to MLflow for this repository."""
    return repository() / ".distillery" / "sync.lock"


def is_free(lock: Path) -> bool:
    """Return whether no process holds a lock."""
    try:
        with FileLock(lock).acquire(blocking=False):
            return True
    except Timeout:
        return False


def start_sync() -> subprocess.Popen | None:
    """Start `sync` in the background if it does not run yet. It works in the repository, not in a temporary clone."""
    if not is_free(sync_lock()):
        return None
    # For its owner alone: what a library prints when it fails may hold the address of a server, password and all.
    with open(_sync_output(), "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as output:
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.tracking.sync", "--background"],
            cwd=repository(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C ends the stage; sync must still send that it was stopped
        )


def _sync_output() -> Path:
    return repository() / ".distillery" / "sync.log"


class RunLog:
    """The log of one MLflow run. Use it as a context manager: leaving it ends the run.

    Args:
        stage: the stage's name.
        parameters: of the run, flat, `{"distill.temperature": 4.0}`.
        resume_folder: where a stopped stage left what it resumes from; the stage then continues its MLflow run.
        start: what a run that is no stage's has otherwise in its first event: `run_name`; `record`, by which the run
            is found and continued; `repro`, that of the run above it; `tags`.
    """

    def __init__(
        self,
        stage: str,
        parameters: Mapping[str, Any],
        resume_folder: Path | None = None,
        start: Mapping[str, Any] | None = None,
    ):
        self._stage = stage
        self._folder = pending() / f"{time.time_ns()}-{uuid.uuid4().hex[:8]}"
        self._folder.mkdir(parents=True)
        self._writer = FileLock(self._folder / WRITER_LOCK)  # the system frees it however the process ends
        self._writer.acquire()  # before there is a log, so that nobody takes the writer for dead
        self._log = open(self._folder / LOG, "ab", buffering=0)  # noqa: SIM115, closed when the run ends
        self._files = 0
        experiment = os.environ.get("DVC_EXP_NAME")
        run = {
            "run_name": f"{experiment or 'workspace'}/{stage}",
            "experiment": os.environ.get("MLFLOW_EXPERIMENT_NAME") or "distillery",
            "tracking_uri": present_server(),
        }
        self._repro = (start or {}).get("repro") or repro_key()
        record = self._record(resume_folder, run | dict(parameters))
        tags = {
            "distillery.stage": stage,
            "distillery.dvc_experiment": experiment or "",
            "distillery.dvc_baseline": os.environ.get("DVC_EXP_BASELINE_REV") or "",
            "mlflow.source.name": f"stages/{stage}.py",
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": _commit(),
        }
        self._write("start", **{"record": record, **run, "repro": self._repro, "tags": tags, **(start or {})})
        self._write("parameters", values=dict(parameters))
        self._warned, self._sync = False, None
        self._warn_if_sync_failed()
        self._sync = start_sync()

    def _record(self, resume_folder: Path | None, run: Mapping[str, Any]) -> str:
        """Return the name by which sync finds the MLflow run: that of the log with which the run began.

        It continues in the same experiment, on the same server and with the same parameters only, since MLflow accepts
        no other value of a parameter. Else a new run gets all epochs, also those of before. A stage of a trial has one
        run, also when DVC was killed after the stage had ended and before it kept what the stage made.
        """
        digest = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()
        if trial := os.environ.get(TRIAL):
            return f"{trial}-{self._stage}-{digest[:16]}"
        if resume_folder is None:
            return self._folder.name
        record = resume_folder / f"record-{digest[:16]}.txt"
        if not record.is_file():
            with atomic_write(record) as temporary:
                temporary.write_text(self._folder.name, encoding="utf-8")
        return record.read_text(encoding="utf-8")

    def metrics(self, values: Mapping[str, Any], step: int = 0, time: int | None = None) -> None:
        """Log metrics; those of a nested dictionary get the names that DVC gives them, `gain.points`.

        Args:
            values: by name.
            step: the epoch.
            time: milliseconds since 1970, now by default. MLflow keeps one metric per name, step and time.
        """
        self._write("metrics", values=dict(flat(values)), step=step, **_at(time))

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        self._write("tags", values=dict(values))

    def artifact(self, path: str | Path, folder: str = "") -> None:
        """Log a file as it is now."""
        self._write("artifact", file=self._keep(path), folder=folder)

    def table(self, name: str, tree: Any) -> None:
        """Log a JSON file."""
        self._write("table", name=name, tree=tree)

    def figure(self, function: str, name: str, step: int | None = None, time: int | None = None, **data: Any) -> None:
        """Log a figure. Sync draws it, so that no stage waits for matplotlib.

        Args:
            function: of `distillery.figures`.
            name: of the file, without ending; with a step, of the series of images.
            step: the epoch, for an image of a series.
            time: when the epoch ended, as for `metrics`.
            data: the function's arguments: arrays, or what JSON holds.
        """
        arrays = {key: value for key, value in data.items() if isinstance(value, np.ndarray)}
        rest = {key: value for key, value in data.items() if key not in arrays}
        file = self._new_file("arrays.npz")
        np.savez(self._folder / file, **arrays)
        self._write("figure", function=function, name=name, step=step, arrays=file, data=rest, **_at(time))

    def dataset(self, info: DatasetInfo, context: str) -> None:
        """Log the data set, identified by its digests, as the run's input."""
        self._write("dataset", info=asdict(info), context=context)

    def model(self, path: str | Path, name: str, digest: str, info: DatasetInfo) -> None:
        """Log a Keras file as it is now, and tag the run with its SHA-256 digest, by which `made_by` finds the run."""
        self._write("model", **self._model(path, name, digest, info))

    def register(
        self,
        path: str | Path,
        name: str,
        digest: str,
        card: Sequence[str],
        correct: np.ndarray,
        info: DatasetInfo,
    ) -> None:
        """Register a Keras file, as it is now, in MLflow's model registry.

        Args:
            path: the `.keras` file.
            name: of the registered model.
            digest: SHA-256 of the file.
            card: its model card, section by section.
            correct: bool, (n,): which test images it classifies correctly.
            info: of the data set.
        """
        file = self._new_file("right.npy")  # its name in the registry
        np.save(self._folder / file, correct)
        model = self._model(path, name, digest, info)
        test = {"test_digest": info.digests["test"], "most_frequent": max(info.class_counts["test"].values())}
        self._write("register", card=list(card), correct=file, **test, **model)

    def made_by(self, digests: Mapping[str, str]) -> None:
        """Link the runs that logged the models with these digests.

        Args:
            digests: SHA-256 of a model's file, by the model's role.
        """
        self._write("made_by", digests=dict(digests))

    def epoch(
        self, number: int, ended: int, metrics: Mapping[str, float], confusion: np.ndarray, classes: Sequence[str]
    ) -> None:
        """Log the metrics and the confusion matrix (classes, classes) of an epoch that ended so many ms after 1970."""
        self.metrics(metrics, step=number, time=ended)
        if len(classes) <= SERIES_CLASSES:
            title = f"Validation, epoch {number}"
            picture = {"confusion": confusion, "classes": list(classes), "title": title}
            self.figure("confusion_matrix", "confusion_over_epochs", step=number, time=ended, **picture)

    def student_epoch(self, seed: int, epoch: Epoch, mean: MeanEpoch | None, classes: Sequence[str]) -> None:
        """Log an epoch of the student of a seed and, when all students have had it, the mean over the seeds."""
        own = {f"seed_{seed}/{name}": value for name, value in epoch.metrics.items()}
        self.metrics(own, step=epoch.number, time=epoch.ended)
        if mean:
            self.epoch(mean.number, mean.ended, mean.metrics, mean.confusion, classes)

    def training_result(
        self,
        name: str,
        confusion: np.ndarray,
        info: DatasetInfo,
        curves: str | Path,
        model: str | Path | None,
        digest: str | None = None,
    ) -> None:
        """Log what a training ended with.

        Args:
            name: of the model in MLflow.
            confusion: on the validation images, (classes, classes).
            info: of the data set.
            curves: the file with the metrics of every epoch.
            model: the model's file, or the folder of a teacher from elsewhere; None where there is none.
            digest: its SHA-256; None: that of the file.
        """
        classes, accuracy = list(info.classes), per_class_accuracy(confusion)
        self.table("per_class_accuracy.json", by_class_name(accuracy, classes))
        self.table("confusion_matrix.json", {"classes": classes, "rows_are_labels": confusion.tolist()})
        picture = {"confusion": confusion, "classes": classes, "title": "Validation, best epoch"}
        self.figure("confusion_matrix", "confusion_matrix", **picture)
        bars = {"accuracy": {name: accuracy.tolist()}, "classes": classes, "where": "validation set"}
        self.figure("per_class_accuracy", "per_class_accuracy", **bars)
        self.artifact(curves, "curves")
        if model is not None:
            self.model(model, name, digest or file_digest(model), info)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, kind, error, traceback) -> None:
        killed = kind is not None and issubclass(kind, KeyboardInterrupt | SystemExit)  # Ctrl-C; SIGTERM
        self.end("FINISHED" if kind is None else "KILLED" if killed else "FAILED")

    def end(self, status: str) -> None:
        """End the run: FINISHED, KILLED or FAILED."""
        try:
            self._write("end", status=status)
            kept = (path for path in self._folder.glob("files/**/*") if path.is_file())
            for path in (self._folder / LOG, *kept):  # outlives a power cut, too
                with open(path, "rb") as file:
                    os.fsync(file.fileno())
        except OSError:
            if status == "FINISHED":
                raise
            # Else the user reads why the stage ended. Sync marks a run without an end as killed.
        finally:
            self._log.close()
            self._writer.release()
        self._warn_if_sync_failed()
        if self._sync is None or self._sync.poll() is not None:
            start_sync()  # the sync of an earlier stage was killed meanwhile, perhaps

    def _warn_if_sync_failed(self) -> None:
        """Print what sync has to say, and warn that runs wait, and why: once per stage, and once per run of DVC."""
        for line in take_notices():
            print(f"note: {self._stage}: MLflow: {line}", file=sys.stderr)
        reasons = []
        for path in sorted(pending().glob(f"*/{ERROR}")):
            with suppress(OSError):  # sent at this moment
                reasons.append(path.read_text(encoding="utf-8"))
        if not reasons and self._sync is not None and (self._sync.poll() or 0) > 0:  # it crashed
            reasons = _sync_output().read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        if new := self._not_yet_warned_of([masked(reason) for reason in reasons]):
            print(
                f"warning: {self._stage}: MLflow cannot be reached or refuses a run; runs are kept in {pending()} "
                f"({new[0]}); `python -m pipeline.tracking.sync` sends them, or says what to do",
                file=sys.stderr,
            )

    def _not_yet_warned_of(self, reasons: list[str]) -> list[str]:
        path = repository() / ".distillery" / WARNED
        if self._warned or not reasons:
            return []
        self._warned = True
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # the first warning; or a power cut, and the user is warned once more
            known = {}
        told = known.get(self._repro, [])
        with suppress(OSError):  # a full disk
            path.write_text(json.dumps({self._repro: sorted({*told, *reasons})}), encoding="utf-8")
        return [reason for reason in reasons if not self._repro or reason not in told]

    def _write(self, event: str, **values: Any) -> None:
        values = {"event": event, "time": time.time_ns() // 1_000_000, **values}
        line = (json.dumps(values, ensure_ascii=False) + "\n").encode()
        whole = self._log.tell()
        try:
            while line:
                line = line[self._log.write(line) :]
        except OSError as error:
            self._log.truncate(whole)  # nobody could read what follows half a line
            error.filename = str(self._folder / LOG)
            raise

    def _model(self, path: str | Path, name: str, digest: str, info: DatasetInfo) -> dict[str, Any]:
        interface = {"classes": list(info.classes), "preprocessing": described(info)}
        return {"file": self._keep(path), "name": name, "digest": digest, **interface}

    def _keep(self, path: str | Path) -> str:
        file = self._new_file(Path(path).name)
        (shutil.copytree if Path(path).is_dir() else shutil.copyfile)(path, self._folder / file)
        return file

    def _new_file(self, name: str) -> str:
        self._files += 1
        file = f"files/{self._files:04d}/{name}"
        (self._folder / file).parent.mkdir(parents=True)
        return file


def _at(time: int | None) -> dict[str, int]:
    return {} if time is None else {"time": time}


def _commit() -> str:
    """Return the commit that the stage runs on; empty outside Git, and without Git."""
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return answer.stdout.strip()
