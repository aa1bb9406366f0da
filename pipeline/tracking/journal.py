"""What a stage records, written down at once and delivered to MLflow by a process of its own.

Training never waits for MLflow: a record is a line in a journal under `.distillery/outbox/`, and
`pipeline.tracking.delivery` carries it to the tracking server meanwhile: one process for all stages of a `dvc repro`,
since importing MLflow takes seconds. What cannot be delivered stays in the outbox for the next stage, or for
`python -m pipeline.tracking.delivery`.
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from filelock import FileLock, Timeout

from distillery.data.files import written_whole
from pipeline.resume import repository

DIGEST_TAG = "distillery.sha256"  # of a model's file: on a run that made it, a logged model, a registered version
PATIENCE_SECONDS = 30  # how long a finished stage waits for delivery while nothing arrives,
LIMIT_SECONDS = 120  # and how long in all
HURRY_SECONDS = 8  # how long one that was stopped or failed waits in all
POLL_SECONDS = 0.1
GAVE_UP = "gave_up"  # the file by which delivery tells a stage that its record stays in the outbox


def outbox() -> Path:
    """The folder of the journals that are not yet delivered, one folder each."""
    return repository() / ".distillery" / "outbox"


def delivery_lock(pipeline: int) -> Path:
    """What the process holds that delivers the journals of one pipeline.

    Args:
        pipeline: number of the process that runs the stages.
    """
    return repository() / ".distillery" / f"delivery-{pipeline}.lock"


def is_free(lock: Path) -> bool:
    """Whether no process holds a lock."""
    try:
        with FileLock(lock).acquire(blocking=False):
            return True
    except Timeout:
        return False


class Journal:
    """One stage's record, one MLflow run. Use it as a context manager: leaving it ends the run.

    Args:
        stage: the stage's name.
        experiment_parameters: all parameters, flat, `{"distill.temperature": 4.0}`.
        sections: the sections of `params.yaml` that the stage's result depends on; their parameters become the run's.
        resume_folder: where a stage that was stopped left what it goes on from: it then goes on with its MLflow run.
    """

    def __init__(
        self,
        stage: str,
        experiment_parameters: Mapping[str, Any],
        sections: Sequence[str],
        resume_folder: Path | None = None,
    ):
        self._stage = stage
        self._folder = outbox() / f"{time.time_ns()}-{uuid.uuid4().hex[:8]}"
        (self._folder / "files").mkdir(parents=True)
        self._owner = FileLock(self._folder / "owner.lock")  # freed by the system however the process ends
        self._owner.acquire()
        self._journal = open(self._folder / "journal.jsonl", "ab", buffering=0)  # noqa: SIM115, lives with the run
        self._files = 0
        experiment = os.environ.get("DVC_EXP_NAME")
        parameters = {key: value for key, value in experiment_parameters.items() if key.split(".")[0] in sections}
        run = {
            "run_name": f"{experiment or 'workspace'}/{stage}",
            "experiment": os.environ.get("MLFLOW_EXPERIMENT_NAME") or "distillery",
            "tracking_uri": os.environ.get("MLFLOW_TRACKING_URI") or "",
        }
        self._pipeline = _dvc()
        self._write(
            "start",
            stage=stage,
            pipeline=self._pipeline,
            record=self._folder.name if resume_folder is None else self._record(resume_folder, run | parameters),
            **run,
            tags={
                "distillery.stage": stage,
                "distillery.dvc_experiment": experiment or "",
                "distillery.dvc_baseline": os.environ.get("DVC_EXP_BASELINE_REV") or "",
                "mlflow.source.name": f"stages/{stage}.py",
                "mlflow.source.type": "LOCAL",
                "mlflow.source.git.commit": _commit(),
            },
        )
        self._write("params", values=parameters)
        self._delivery: subprocess.Popen | None = None
        if not self._delivery_lives():
            self._start_delivery()

    def _delivery_lives(self) -> bool:
        """Whether this stage's delivery runs, or that which an earlier stage of the same pipeline started."""
        if self._delivery is not None and self._delivery.poll() is None:
            return True
        return self._pipeline is not None and not is_free(delivery_lock(self._pipeline))

    def _start_delivery(self) -> None:
        pipeline = [] if self._pipeline is None else [str(self._pipeline)]
        with open(self._folder / "delivery.log", "a", encoding="utf-8") as log:
            self._delivery = subprocess.Popen(
                [sys.executable, "-m", "pipeline.tracking.delivery", str(self._folder), *pipeline],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C ends the stage; delivery must still record that it was ended
            )

    def _record(self, resume_folder: Path, run: Mapping[str, Any]) -> str:
        """The name by which delivery finds the MLflow run: that of the journal with which the run began.

        It goes on in the same experiment, on the same server and with the same parameters only, those too on which the
        result does not depend: MLflow takes no others. Elsewhere a new run gets all epochs, the former ones too.
        """
        digest = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()
        began = resume_folder / f"record-{digest[:16]}.txt"
        if not began.is_file():
            with written_whole(began) as temporary:
                temporary.write_text(self._folder.name, encoding="utf-8")
        return began.read_text(encoding="utf-8")

    def metrics(self, values: Mapping[str, Any], step: int = 0, time: int | None = None) -> None:
        """Log metrics; those of a nested dictionary get the names that DVC gives them, `gain.points`.

        Args:
            values: by name.
            step: the epoch.
            time: milliseconds since 1970; now, when left out. The same metric of the same step and time is logged once.
        """
        self._write("metrics", values=dict(flat(values)), step=step, **_at(time))

    def tags(self, values: Mapping[str, str]) -> None:
        self._write("tags", values=dict(values))

    def artifact(self, path: str | Path, folder: str = "") -> None:
        """Attach a file as it is now."""
        self._write("artifact", file=self._keep(path), name=Path(path).name, folder=folder)

    def table(self, name: str, tree: Any) -> None:
        """Attach a JSON artifact."""
        self._write("json", name=name, tree=tree)

    def figure(self, kind: str, name: str, step: int | None = None, time: int | None = None, **data: Any) -> None:
        """Attach a picture that delivery draws, so that no stage waits for matplotlib.

        Args:
            kind: a function of `distillery.figures`.
            name: artifact name without ending; with a step, the name of the image series.
            step: the epoch, for a picture that is one of a series.
            time: when the epoch ended, as for `metrics`.
            data: the function's arguments: arrays, or what JSON holds.
        """
        arrays = {key: value for key, value in data.items() if isinstance(value, np.ndarray)}
        rest = {key: value for key, value in data.items() if key not in arrays}
        file = self._new_file(".npz")
        np.savez(self._folder / file, **arrays)
        self._write("figure", figure=kind, name=name, step=step, arrays=file, data=rest, **_at(time))

    def dataset(self, description: Mapping[str, Any], context: str) -> None:
        """Link the data set, named by its digests, to the run."""
        self._write("dataset", description=dict(description), context=context)

    def model(self, path: str | Path, name: str, digest: str, image_shape: Sequence[int], classes: int) -> None:
        """Log a saved Keras model as it is now, and tag the run with its digest, by which `made_by` finds the run."""
        self._write(
            "model",
            file=self._keep(path),
            name=name,
            digest=digest,
            image_shape=list(image_shape),
            classes=classes,
        )

    def registration(
        self,
        path: str | Path,
        name: str,
        digest: str,
        *,
        card: Sequence[str],
        right: np.ndarray,
        test_digest: str,
        image_shape: Sequence[int],
        classes: int,
    ) -> None:
        """Register a saved Keras model in MLflow's model registry, as it is now.

        Args:
            path: the `.keras` file.
            name: of the registered model.
            digest: SHA-256 of the file.
            card: its model card, section by section.
            right: bool, (n,): which images of the test set it has right.
            test_digest: of the test set.
            image_shape: (height, width, channels).
            classes: number of logits.
        """
        answers = self._new_file(".npy")
        np.save(self._folder / answers, right)
        self._write(
            "registration",
            file=self._keep(path),
            name=name,
            digest=digest,
            card=list(card),
            right=answers,
            test_digest=test_digest,
            image_shape=list(image_shape),
            classes=classes,
        )

    def made_by(self, digests: Mapping[str, str]) -> None:
        """Link the runs that logged the models with these digests.

        Args:
            digests: a word for the link, and the digest of the model's file.
        """
        self._write("made_by", digests=dict(digests))

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind, error, traceback) -> None:
        killed = kind is not None and issubclass(kind, KeyboardInterrupt | SystemExit)  # Ctrl-C; SIGTERM
        status = "FINISHED" if kind is None else "KILLED" if killed else "FAILED"
        try:
            self._write("end", status=status)
        except OSError:
            if kind is None:
                raise
            # Else what is told is why the stage ended; of a journal without end, delivery says that it was killed.
        self._journal.close()
        self._owner.release()
        delivered = self._wait_for_delivery(hurry=kind is not None)
        if not delivered:
            self._synchronise()
            why = (
                "delivery goes on in the background" if delivered is None else _last_line(self._folder / "delivery.log")
            )
            print(
                f"warning: {self._stage}: its record is kept in {self._folder} and not yet in MLflow ({why}); "
                "the next stage delivers it, or `python -m pipeline.tracking.delivery`",
                file=sys.stderr,
            )

    def _wait_for_delivery(self, hurry: bool) -> bool | None:
        """Whether all arrived; None where delivery still goes on."""
        progress = self._folder / "delivered.json"
        began = progressed = time.monotonic()
        last = None
        while True:
            lives = self._delivery_lives()  # before looking: what it delivered before it ended is then seen
            if not (self._folder / "journal.jsonl").is_file():
                return True
            if (self._folder / GAVE_UP).is_file():
                return False
            if not lives:
                if self._delivery is not None:
                    return False
                self._start_delivery()  # that of an earlier stage was killed
            now = time.monotonic()
            if _modified(progress) != last:
                progressed, last = now, _modified(progress)
            if now - began > (HURRY_SECONDS if hurry else LIMIT_SECONDS) or now - progressed > PATIENCE_SECONDS:
                return None
            time.sleep(POLL_SECONDS)

    def _synchronise(self) -> None:
        """What waits outlives a power cut, too."""
        for path in (self._folder / "journal.jsonl", *self._folder.glob("files/*")):
            with suppress(FileNotFoundError), open(path, "rb") as file:  # delivered at this moment
                os.fsync(file.fileno())

    def _write(self, kind: str, **event: Any) -> None:
        event = {"kind": kind, "time": time.time_ns() // 1_000_000, **event}
        line = (json.dumps(event, ensure_ascii=False) + "\n").encode()
        whole = self._journal.tell()
        try:
            while line:
                line = line[self._journal.write(line) :]
        except OSError as error:
            self._journal.truncate(whole)  # of half a line nobody could read the rest
            error.filename = str(self._folder / "journal.jsonl")
            raise

    def _keep(self, path: str | Path) -> str:
        file = self._new_file(Path(path).suffix)
        shutil.copyfile(path, self._folder / file)
        return file

    def _new_file(self, suffix: str) -> str:
        self._files += 1
        return f"files/{self._files:04d}{suffix}"


def _at(time: int | None) -> dict[str, int]:
    return {} if time is None else {"time": time}


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The leaves of a nested dictionary, `("gain.points", 0.3)`: the names that DVC gives them."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _dvc() -> int | None:
    """The number of the process of DVC that runs this stage; None where it runs without, or that cannot be told.

    DVC gives the variable to what it runs, to the shell in between, too, and has not got it itself.
    """
    try:
        above = [] if "DVC_STAGE" not in os.environ else psutil.Process().parents()
        return next((process.pid for process in above if "DVC_STAGE" not in process.environ()), None)
    except psutil.Error:  # another user's
        return None


def _commit() -> str:
    """The commit that the stage runs on; empty outside Git."""
    answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return answer.stdout.strip()


def _modified(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _last_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1]
    except (OSError, IndexError):
        return "no reason given"
