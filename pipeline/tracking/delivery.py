"""Carries journals to MLflow: no other module but `registry`, which this one calls, knows MLflow.

Run by the first stage of a `dvc repro` beside itself, it serves all that follow, and ends when DVC ends; a stage that
runs without DVC has its own. By hand, `python -m pipeline.tracking.delivery` delivers what an outage left behind.

An event may be delivered twice when a process dies at the wrong moment, and arrives once all the same: a run is found
again by the journal that it comes from, a metric by key, step and time, an artifact by its name, a model by its name.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
import uuid
from contextlib import redirect_stderr, redirect_stdout, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import filelock
import psutil

from distillery.data.files import write_json
from pipeline.resume import repository
from pipeline.tracking.journal import DIGEST_TAG, GAVE_UP, POLL_SECONDS, delivery_lock, is_free, outbox

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # MLflow's own values block for minutes
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

RETRY_SECONDS = 5.0
IDLE_SECONDS = 120.0  # without a stage, after which nobody is waited for: the next one starts another delivery
JOURNAL_TAG = "distillery.journal"
EXPERIMENT_KIND = "custom_model_development"  # opens on the views for training, not on those for language models


class Delivery:
    """Delivers one journal, in order, from where the last attempt stopped.

    Args:
        folder: the journal's folder in the outbox.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._state_path = folder / "delivered.json"
        self._state = {"lines": 0, "run_id": None, "experiment_id": None, "continues": False}
        if self._state_path.is_file():
            self._state |= json.loads(self._state_path.read_text(encoding="utf-8"))
        self._client = None
        self._former_images: set[str] | None = None

    def pending(self) -> list[dict]:
        """Events not yet delivered. A last line without its end was being written when its process died."""
        text = (self.folder / "journal.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.split("\n")[self._state["lines"] : -1]]

    def waits_for(self) -> Path | None:
        """The journal, not yet delivered, of a process that was stopped and whose run this one goes on with."""
        record = _first(self.folder).get("record")
        waiting = _waiting()
        for earlier in waiting[: waiting.index(self.folder)]:
            if record and _first(earlier).get("record") == record:
                return earlier
        return None

    def deliver(self) -> bool:
        """Deliver what is pending.

        Returns:
            Whether the run's end was among it.
        """
        for event in self.pending():
            getattr(self, f"_{event['kind']}")(event)
            self._state["lines"] += 1
            write_json(self._state_path, self._state)
            if event["kind"] == "end":
                return True
        return False

    def owner_lives(self) -> bool:
        return not is_free(self.folder / "owner.lock")

    def abandon(self) -> None:
        """The stage died without a word: its run, if it came so far as to have one, ends as killed."""
        if self._state["run_id"]:
            self._end({"status": "KILLED", "time": time.time_ns() // 1_000_000})

    # What follows delivers one kind of event each; an event's kind is the name of its method.

    def _start(self, event: dict) -> None:
        self._state["experiment_id"] = self._experiment(event["experiment"], event["tracking_uri"])
        found = self._mlflow().search_runs(
            [self._state["experiment_id"]], f"tags.`{JOURNAL_TAG}` = '{event['record']}'", max_results=1
        )
        if found:
            self._state |= {"run_id": found[0].info.run_id, "continues": event["record"] != self.folder.name}
            self._mlflow().update_run(self._state["run_id"], "RUNNING")
            return
        run = self._mlflow().create_run(
            self._state["experiment_id"],
            start_time=event["time"],
            run_name=event["run_name"],
            tags={key: value for key, value in event["tags"].items() if value} | {JOURNAL_TAG: event["record"]},
        )
        self._state["run_id"] = run.info.run_id

    def _params(self, event: dict) -> None:
        from mlflow.entities import Param

        params = [
            Param(key, json.dumps(value) if isinstance(value, list) else str(value))
            for key, value in event["values"].items()
        ]
        self._mlflow().log_batch(self._state["run_id"], params=params)

    def _metrics(self, event: dict) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(key, value, event["time"], event["step"]) for key, value in event["values"].items()]
        for first in range(0, len(metrics), 1000):  # the most that MLflow takes at once
            self._mlflow().log_batch(self._state["run_id"], metrics=metrics[first : first + 1000])

    def _tags(self, event: dict) -> None:
        for key, value in event["values"].items():
            self._mlflow().set_tag(self._state["run_id"], key, value)

    def _artifact(self, event: dict) -> None:
        with tempfile.TemporaryDirectory() as folder:  # under its own name
            named = shutil.copyfile(self.folder / event["file"], Path(folder) / event["name"])
            self._mlflow().log_artifact(self._state["run_id"], str(named), event["folder"] or None)

    def _json(self, event: dict) -> None:
        self._mlflow().log_dict(self._state["run_id"], event["tree"], event["name"])

    def _figure(self, event: dict) -> None:
        import numpy as np

        from distillery import figures

        name = event["name"] if event["step"] is None else self._name_in_series(event)
        if event["step"] is not None and f"images/{name}.png" in self._images():
            return
        with np.load(self.folder / event["arrays"], allow_pickle=False) as arrays:
            figure = getattr(figures, event["figure"])(**arrays, **event["data"])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.png"
            figures.save_figure(figure, path)
            if event["step"] is None:
                self._mlflow().log_artifact(self._state["run_id"], str(path), "figures")
            else:
                self._log_image(path)

    def _name_in_series(self, event: dict) -> str:
        """The name that `MlflowClient.log_image` gives a picture of a series, less its random part.

        The same picture always gets the same name, and so arrives once.
        """
        where = f"{event['name']}+step+{event['step']}+timestamp+{event['time']}"
        return f"{where}+{uuid.uuid5(uuid.NAMESPACE_URL, self._state['run_id'] + where)}"

    def _images(self) -> set[str]:
        """Pictures of series that the run had when this process came to it."""
        if self._former_images is None:
            former = self._mlflow().list_artifacts(self._state["run_id"], "images") if self._state["continues"] else []
            self._former_images = {image.path for image in former}
        return self._former_images

    def _log_image(self, path: Path) -> None:
        """What `MlflowClient.log_image` does, under the file's own name: the picture, and a small one before it."""
        from mlflow.tracking.multimedia import compress_image_size
        from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES
        from PIL import Image

        small = path.with_name(f"{path.stem}+compressed.webp")
        with Image.open(path) as image:
            compress_image_size(image.convert("RGB")).save(small)
        self._mlflow().log_artifact(self._state["run_id"], str(small), "images")
        self._mlflow().log_artifact(self._state["run_id"], str(path), "images")
        self._mlflow().set_tag(self._state["run_id"], MLFLOW_LOGGED_IMAGES, True)

    def _dataset(self, event: dict) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        about = event["description"]
        dataset = Dataset(
            name=about["name"],
            digest=about["digests"]["train"][:8],  # MLflow shows a short one; the profile has them whole
            source_type="local",
            source=json.dumps({"uri": about["source"]}),
            schema=json.dumps(
                {
                    "mlflow_tensorspec": {
                        "features": json.dumps([_tensor("uint8", [-1, *about["image_shape"]])]),
                        "targets": json.dumps([_tensor("int32", [-1])]),
                    }
                }
            ),
            profile=json.dumps({"sizes": about["sizes"], "sha256": about["digests"]}),
        )
        self._mlflow().log_inputs(
            self._state["run_id"], [DatasetInput(dataset, [InputTag("mlflow.data.context", event["context"])])]
        )

    def _model(self, event: dict) -> None:
        logged = self._mlflow().search_logged_models(
            [self._state["experiment_id"]],
            f"name = '{event['name']}' AND source_run_id = '{self._state['run_id']}'",
        )
        if not any(model.status == "READY" for model in logged):
            self._log_model(event)
        self._mlflow().set_tag(self._state["run_id"], f"{DIGEST_TAG}.{event['digest']}", event["name"])

    def _log_model(self, event: dict) -> str:
        """Log a `.keras` file as a model of the Keras flavor: the model's id."""
        import mlflow
        import numpy as np
        from mlflow.models import Model
        from mlflow.models.signature import ModelSignature
        from mlflow.types import Schema, TensorSpec

        mlflow.set_tracking_uri(self._uri())  # a journal for another server may have been delivered in between
        mlflow.set_experiment(experiment_id=self._state["experiment_id"])  # else the model lands in `Default`
        return Model.log(
            artifact_path=None,
            name=event["name"],
            flavor=_KerasFile,
            flavor_name="keras",
            run_id=self._state["run_id"],
            tags={DIGEST_TAG: event["digest"]},
            keras_file=self.folder / event["file"],
            signature=ModelSignature(
                inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, *event["image_shape"]), "pixels")]),
                outputs=Schema([TensorSpec(np.dtype("float32"), (-1, event["classes"]), "logits")]),
            ),
        ).model_id

    def _registration(self, event: dict) -> None:
        import numpy as np

        from pipeline.tracking import registry

        run_id, digest = self._state["run_id"], event["digest"]
        with tempfile.TemporaryDirectory() as folder:
            answers = shutil.copyfile(self.folder / event["right"], Path(folder) / Path(registry.ANSWERS).name)
            self._mlflow().log_artifact(run_id, str(answers), str(Path(registry.ANSWERS).parent))
        logged = self._mlflow().search_logged_models(
            [self._state["experiment_id"]], f"tags.`{DIGEST_TAG}` = '{digest}'"
        )
        ready = [model.model_id for model in logged if model.status == "READY"]
        # It was logged by `distill`, unless that ran elsewhere, or DVC took its result from the cache.
        model_id = ready[0] if ready else self._log_model(event | {"name": "student"})
        with filelock.FileLock(repository() / ".distillery" / "registry.lock"):  # two experiments that end at once
            version = registry.register(
                self._mlflow(), event["name"], model_id, run_id, digest, event["test_digest"], event["card"]
            )
            verdict = registry.challenge(self._mlflow(), version, np.load(self.folder / event["right"]))
        link = f"[{version.name} version {version.version}](#/models/{version.name}/versions/{version.version})"
        self._mlflow().set_tag(run_id, "distillery.verdict", verdict)
        self._mlflow().set_tag(run_id, "mlflow.note.content", f"Registered as {link}.\n\n{verdict}")

    def _made_by(self, event: dict) -> None:
        links = []
        for word, digest in event["digests"].items():
            runs = self._mlflow().search_runs(
                [self._state["experiment_id"]],
                f"tags.`{DIGEST_TAG}.{digest}` LIKE '%'",
                order_by=["attributes.start_time DESC"],
                max_results=1,
            )
            if runs:
                run = runs[0].info
                self._mlflow().set_tag(self._state["run_id"], f"distillery.run.{word}", run.run_id)
                links.append(f"- {word}: [{run.run_name}](#/experiments/{run.experiment_id}/runs/{run.run_id})")
        if links:
            note = "The models of this run were made by\n\n" + "\n".join(links)
            self._mlflow().set_tag(self._state["run_id"], "mlflow.note.content", note)

    def _end(self, event: dict) -> None:
        self._mlflow().set_terminated(self._state["run_id"], event["status"], event["time"])

    def _mlflow(self):
        if self._client is None:
            import mlflow

            mlflow.set_tracking_uri(self._uri())  # by which MLflow finds models, whatever the client
            self._client = mlflow.MlflowClient(self._uri())
        return self._client

    def _uri(self) -> str:
        return _first(self.folder)["tracking_uri"] or f"sqlite:///{repository()}/mlflow.db"

    def _experiment(self, name: str, tracking_uri: str) -> str:
        """The experiment's id. Making the local database and the experiment is no matter for two processes at once."""
        with filelock.FileLock(repository() / ".distillery" / "experiment.lock"):
            found = self._mlflow().get_experiment_by_name(name)
            if found is not None:
                return found.experiment_id
            # A local artifact location is stored as it is given: it must not be that of a temporary clone.
            here = None if tracking_uri else (repository() / "mlartifacts").resolve().as_uri()
            return self._mlflow().create_experiment(
                name, artifact_location=here, tags={"mlflow.experimentKind": EXPERIMENT_KIND}
            )


class _KerasFile:
    """Makes an MLflow model of the Keras flavor from a `.keras` file.

    `mlflow.keras.log_model` would import Keras and write the model anew: ten seconds, and other bytes than those that
    DVC keeps. What this writes is read by `mlflow.keras.load_model` and served by `mlflow models serve`.
    """

    @staticmethod
    def save_model(path: str, mlflow_model, keras_file: Path, signature) -> None:
        from mlflow import pyfunc
        from mlflow.utils.environment import _mlflow_conda_env, _PythonEnv

        data = Path(path) / "data"
        data.mkdir(parents=True)
        shutil.copyfile(keras_file, data / "model.keras")
        (data / "keras_module.txt").write_text("keras", encoding="utf-8")
        requirements = [f"{name}=={version(name)}" for name in ("mlflow", "keras", "tensorflow", "numpy")]
        mlflow_model.signature = signature
        mlflow_model.add_flavor(
            "keras", data="data", keras_version=version("keras"), keras_backend="tensorflow", save_exported_model=False
        )
        pyfunc.add_to_model(
            mlflow_model, loader_module="mlflow.keras", conda_env="conda.yaml", python_env="python_env.yaml"
        )
        mlflow_model.model_size_bytes = keras_file.stat().st_size
        mlflow_model.save(str(Path(path) / "MLmodel"))
        (Path(path) / "requirements.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
        _mlflow_conda_env(path=str(Path(path) / "conda.yaml"), additional_pip_deps=requirements[1:])
        _PythonEnv.current().to_yaml(str(Path(path) / "python_env.yaml"))


def _tensor(dtype: str, shape: list[int]) -> dict[str, Any]:
    return {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}}


def _waiting() -> list[Path]:
    """The journals in the outbox, the oldest first."""
    return sorted(path.parent for path in outbox().glob("*/journal.jsonl"))


def _remove(folder: Path) -> None:
    """Remove a journal that was delivered: first what makes it one, so that nobody takes what is left for a journal."""
    (folder / "journal.jsonl").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _first(folder: Path) -> dict:
    """A journal's first event, its start; empty where its process died while writing it."""
    with open(folder / "journal.jsonl", encoding="utf-8") as journal:
        line = journal.readline()
    return json.loads(line) if line.endswith("\n") else {}


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def follow(folder: Path, catch_up: bool = False) -> bool:
    """Deliver a journal while its stage writes it, until its end.

    Args:
        folder: the journal's.
        catch_up: whether to deliver first, now and after every failure, what an outage left behind.

    Returns:
        Whether all of it arrived. While the server fails, it is asked again every few seconds as long as the stage
        runs, and once more after its end.
    """
    delivery, in_order, failed_at = Delivery(folder), False, None
    while True:
        owner_lives = delivery.owner_lives()  # before looking: what it wrote before it died is then seen
        if failed_at is None or not owner_lives or time.monotonic() - failed_at > RETRY_SECONDS:
            try:
                if catch_up and not in_order:
                    deliver_waiting(before=folder.name)
                if not in_order and (earlier := delivery.waits_for()):
                    if not is_free(earlier / "delivery.lock"):
                        time.sleep(POLL_SECONDS)  # it is being delivered
                        continue
                    raise RuntimeError(f"the beginning of the same run waits in {earlier}")
                in_order = True
                if delivery.deliver():
                    break
                failed_at = None
                if not owner_lives:
                    delivery.abandon()
                    break
            except Exception as error:  # whatever MLflow, its database, network or disk raises: the record is kept
                print(_reason(error), flush=True)
                if not owner_lives:
                    return False
                in_order, failed_at = False, time.monotonic()
        time.sleep(POLL_SECONDS)
    _remove(folder)
    return True


def deliver_waiting(before: str | None = None) -> tuple[int, int]:
    """Deliver the journals of stages that are no longer running, the oldest first.

    Args:
        before: only journals older than the one of this name, and none after one that could not be delivered: while a
            server is down, a stage does not ask it once for each of them.

    Returns:
        How many were delivered, and how many are left because they could not be.
    """
    delivered = left = 0
    for folder in _waiting():
        if before is not None and (folder.name >= before or left):
            break
        try:
            with filelock.FileLock(folder / "delivery.lock").acquire(blocking=False):
                if not (folder / "journal.jsonl").is_file():
                    _remove(folder)  # delivered meanwhile, and made anew by the lock
                elif not Delivery(folder).owner_lives():
                    arrived = follow(folder)
                    delivered, left = delivered + arrived, left + (not arrived)
        except (filelock.Timeout, FileNotFoundError):
            continue  # another process delivers it, or did
        except Exception as error:  # one that cannot be read, or another user's: the others are delivered all the same
            print(f"{folder}: {_reason(error)}", flush=True)
            left += 1
    return delivered, left


def deliver_live(folder: Path) -> None:
    """Deliver the journal of a stage that runs. Where it has to stay in the outbox, a file in it says so."""
    try:
        with (
            filelock.FileLock(folder / "delivery.lock"),
            open(folder / "delivery.log", "a", encoding="utf-8") as log,
            redirect_stdout(log),
            redirect_stderr(log),
        ):
            if not (folder / "journal.jsonl").is_file():
                _remove(folder)
            elif not follow(folder, catch_up=True):
                (folder / GAVE_UP).touch()
    except FileNotFoundError:
        pass  # another process delivered it
    except Exception as error:  # one that cannot be read, or a full disk: the next stages are served all the same
        print(f"{folder}: {_reason(error)}", flush=True)
        with suppress(OSError):
            (folder / GAVE_UP).touch()


def serve(pipeline: int) -> None:
    """Deliver the journals of a pipeline's stages, one after the other, until nobody runs stages any more.

    Args:
        pipeline: number of the process that runs them.
    """
    tried: set[Path] = set()
    used = time.monotonic()
    goes_on = True
    while goes_on and time.monotonic() - used < IDLE_SECONDS:
        goes_on = _runs(pipeline)  # before looking: the last stage's journal is then seen
        for folder in _waiting():
            if folder not in tried and _belongs_to(folder, pipeline):
                tried.add(folder)
                deliver_live(folder)
                used = time.monotonic()
        time.sleep(POLL_SECONDS)


def _belongs_to(folder: Path, pipeline: int) -> bool:
    """Whether a stage of this pipeline writes the journal; not one that was given up, by an earlier process perhaps."""
    try:
        return _first(folder).get("pipeline") == pipeline and not (folder / GAVE_UP).is_file()
    except (OSError, ValueError):  # delivered meanwhile by another process; or it cannot be read
        return False


def _runs(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def main(arguments: list[str]) -> int:
    """Deliver what waits.

    Args:
        arguments: the folder of a journal that is being written, and the number of the process that runs this stage and
            the next ones, where there is one. None: only what is left in the outbox.
    """
    if not arguments:
        delivered, left = deliver_waiting()
        print(f"{delivered} of {delivered + left} records delivered" + (f"; {left} stay in {outbox()}" if left else ""))
        return int(left > 0)
    folder, *pipeline = arguments
    if not pipeline:
        _prepare()
        deliver_live(Path(folder))
        return 0
    lock = delivery_lock(int(pipeline[0]))
    with filelock.FileLock(lock):
        _prepare()
        serve(int(pipeline[0]))
        lock.unlink(missing_ok=True)
    return 0


def _prepare() -> None:
    """Import what is slow now, while the stage imports TensorFlow on another core, and not at its end.

    All of it: a temporary experiment's folder, from which this came, is gone before the last record arrives.
    """
    import mlflow.models  # noqa: F401

    from distillery import figures  # noqa: F401
    from pipeline.tracking import registry  # noqa: F401

    os.chdir(repository())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
