"""One run in MLflow, made from its log.

An event may be sent twice when a process dies at the wrong moment, and arrives once all the same: MLflow run, logged
model and version are found again, a metric is one per name, step and time, a file one per name, and an image of a
series is not sent when the run has one of its step and time.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

import mlflow
import numpy as np
from mlflow.entities import Dataset, DatasetInput, InputTag, LifecycleStage, Metric, Param
from mlflow.exceptions import MlflowException
from PIL import Image

from distillery import figures
from distillery.data.files import write_json
from pipeline.resume import repository
from pipeline.tracking import registry
from pipeline.tracking.checkout import ARTIFACTS, adopt_artifacts
from pipeline.tracking.entries import CUT, VALUE_LENGTHS, entry_name, entry_value
from pipeline.tracking.logged_model import DIGEST_TAG, log_model
from pipeline.tracking.parent_run import RECORD_TAG, ParentRun
from pipeline.tracking.run_log import LOG, SENT, notify, start_of
from pipeline.tracking.servers import DATABASE, LOCAL, address

KIND_TAG, EXPERIMENT_KIND = "mlflow.experimentKind", "custom_model_development"  # as MLflow calls training
# Note: the UI of MLflow 3.17 heeds its own switch alone, on "GenAI" at first, whatever kind an experiment has.
WHERE = (
    "[Open the runs](#/experiments/{}/runs?workflowType=machine_learning), "
    "or switch from *GenAI* to *Model training* at the top left."
)


class MlflowRun:
    """The MLflow run of one run log. What has been sent stands beside the log, and is not sent again.

    Args:
        folder: the pending run's.
    """

    def __init__(self, folder: Path):
        self._folder, self._state_path = folder, folder / SENT
        self._start = start_of(folder)
        self.record = self._start.get("record", "")
        self.server = self._start.get("tracking_uri", LOCAL)
        self._state: dict = {"position": 0, "run_id": None, "experiment_id": None, "ended": False}
        self._client: mlflow.MlflowClient | None = None
        self._images: set[str] | None = None
        self._parent: ParentRun | None = None

    def send(self) -> None:
        """Send what the log holds and MLflow has not got, in order."""
        if self._client is None:
            if self._state_path.is_file():
                self._state |= json.loads(self._state_path.read_text(encoding="utf-8"))
            self._client = _client(self.server)
            self._parent = self._parent_run()
        with open(self._folder / LOG, "rb") as log:
            log.seek(self._state["position"])
            for line in log:
                if not line.endswith(b"\n"):  # being written
                    break
                event = json.loads(line)
                _set_tracking_uri(address(self.server))
                self._send(event)
                self._state["position"] += len(line)
                write_json(self._state_path, self._state)

    def close(self) -> None:
        """Mark the run of a process that died without ending it as killed."""
        if self._state["run_id"] and not self._state["ended"]:
            self._end("KILLED", time.time_ns() // 1_000_000)

    def _parent_run(self) -> ParentRun | None:
        known = self._start.get("repro") and self._state["experiment_id"]
        return ParentRun(self._client, self._state["experiment_id"], self._start) if known else None

    def _send(self, event: dict) -> None:
        try:
            getattr(self, f"_send_{event['event']}")(event)
        except MlflowException as error:
            if "Current state is deleted" not in str(error):
                raise
            run_id = self._state["run_id"]
            raise ValueError(f"its run was deleted in MLflow; `mlflow runs restore --run-id {run_id}`") from error

    # Each of the following sends one kind of event.

    def _send_start(self, event: dict) -> None:
        self._state["experiment_id"] = self._experiment(event["experiment"])
        self._parent = self._parent_run()
        found = self._client.search_runs(
            [self._state["experiment_id"]], f"tags.`{RECORD_TAG}` = '{event['record']}'", max_results=1
        )
        if found:
            self._state["run_id"] = found[0].info.run_id
            self._client.update_run(self._state["run_id"], "RUNNING")
        else:
            run = self._client.create_run(
                self._state["experiment_id"],
                start_time=event["time"],
                run_name=event["run_name"],
                tags={key: value for key, value in event["tags"].items() if value} | {RECORD_TAG: event["record"]},
            )
            self._state["run_id"] = run.info.run_id
        if self._parent:
            self._parent.adopt(self._state["run_id"])

    def _experiment(self, name: str) -> str:
        if (found := self._client.get_experiment_by_name(name)) is None:
            # A local artifact location is stored as it is given: it must not be that of a temporary clone.
            location = (repository() / ARTIFACTS).resolve().as_uri() if self.server == LOCAL else None
            experiment_id, known = self._client.create_experiment(name, artifact_location=location), {}
        else:
            experiment_id, known = found.experiment_id, found.tags
            if found.lifecycle_stage == LifecycleStage.DELETED:
                self._client.restore_experiment(experiment_id)
                notify(f"the experiment {name} was deleted in MLflow, and is restored with its runs, to take new ones")
        tags = {KIND_TAG: EXPERIMENT_KIND, "mlflow.note.content": WHERE.format(experiment_id)}
        for key in tags.keys() - known.keys():
            self._client.set_experiment_tag(experiment_id, key, tags[key])
        return experiment_id

    def _send_parameters(self, event: dict) -> None:
        values = event["values"]
        items, sent = list(values.items()), []
        for first in range(0, len(items), 100):  # the most that MLflow takes at once
            sent += self._log_parameters(dict(items[first : first + 100]))
        if any(one.value.endswith(CUT) for one in sent):
            self._client.log_dict(self._state["run_id"], values, "parameters.json")
        if self._parent:
            self._parent.log_parameters(sent)

    def _log_parameters(self, values: dict) -> list[Param]:
        """Log parameters, with values as long as the server takes them, and return them."""
        for length, shorter in zip(VALUE_LENGTHS, (*VALUE_LENGTHS[1:], None), strict=True):
            parameters = [Param(entry_name(key), entry_value(value, length)) for key, value in values.items()]
            try:
                self._client.log_batch(self._state["run_id"], params=parameters)
                return parameters
            except MlflowException as error:
                too_long = shorter and any(len(one.value) > shorter for one in parameters)
                if error.error_code != "INVALID_PARAMETER_VALUE" or not too_long:
                    raise
        raise AssertionError("the shortest length either serves or raises")

    def _send_metrics(self, event: dict) -> None:
        metrics = [
            Metric(entry_name(key), value, event["time"], event["step"]) for key, value in event["values"].items()
        ]
        if self._parent:
            self._parent.log_metrics(metrics)
        for first in range(0, len(metrics), 1000):  # the most that MLflow takes at once
            self._client.log_batch(self._state["run_id"], metrics=metrics[first : first + 1000])

    def _send_tags(self, event: dict) -> None:
        for key, value in event["values"].items():
            self._client.set_tag(self._state["run_id"], key, value)

    def _send_artifact(self, event: dict) -> None:
        self._client.log_artifact(self._state["run_id"], str(self._folder / event["file"]), event["folder"] or None)

    def _send_table(self, event: dict) -> None:
        self._client.log_dict(self._state["run_id"], event["tree"], event["name"])

    def _send_figure(self, event: dict) -> None:
        run_id, name, step = self._state["run_id"], event["name"], event["step"]
        if step is not None and self._has_image(f"images/{name}+step+{step}+timestamp+{event['time']}+"):
            return
        with np.load(self._folder / event["arrays"], allow_pickle=False) as arrays:
            figure = getattr(figures, event["function"])(**arrays, **event["data"])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.png"
            figures.save_figure(figure, path)
            if step is None:
                self._client.log_artifact(run_id, str(path), "figures")
            else:
                with Image.open(path) as image:
                    self._client.log_image(run_id, image, key=name, step=step, timestamp=event["time"])

    def _has_image(self, prefix: str) -> bool:
        """Return whether the run had an image when this process came to it, or to it again after a failure."""
        if self._images is None:
            images = self._client.list_artifacts(self._state["run_id"], "images")
            self._images = {image.path for image in images if image.path.endswith(".png")}
        return any(image.startswith(prefix) for image in self._images)

    def _send_dataset(self, event: dict) -> None:
        info = event["info"]
        schema = {"features": _tensor("uint8", [-1, *info["image_shape"]]), "targets": _tensor("int32", [-1])}
        dataset = Dataset(
            name=info["name"],
            digest=info["digests"]["train"][:8],  # MLflow shows a short one; the profile has them whole
            source_type="local",
            source=json.dumps({"uri": info["source"]}),
            schema=json.dumps({"mlflow_tensorspec": schema}),
            profile=json.dumps({"sizes": info["sizes"], "sha256": info["digests"]}),
        )
        context = InputTag("mlflow.data.context", event["context"])
        self._client.log_inputs(self._state["run_id"], [DatasetInput(dataset, [context])])

    def _send_model(self, event: dict) -> None:
        self._log_model(event)
        self._client.set_tag(self._state["run_id"], f"{DIGEST_TAG}.{event['digest']}", event["name"])

    def _log_model(self, event: dict) -> str:
        interface = event["classes"], event["preprocessing"]
        file = self._folder / event["file"]
        return log_model(self._client, self._state["run_id"], event["name"], file, event["digest"], *interface)

    def _send_register(self, event: dict) -> None:
        run_id, digest, file = self._state["run_id"], event["digest"], self._folder / event["correct"]
        self._client.log_artifact(run_id, str(file), str(Path(registry.CORRECT).parent))
        logged = self._client.search_logged_models([self._state["experiment_id"]], f"tags.`{DIGEST_TAG}` = '{digest}'")
        ready = [model.model_id for model in logged if model.status == "READY"]
        # `distill` logged it, unless that ran elsewhere, or DVC took its result from the cache.
        model_id = ready[0] if ready else self._log_model(event | {"name": "student"})
        version = registry.register(
            self._client, event["name"], model_id, run_id, digest, event["test_digest"], event["card"]
        )
        verdict = registry.challenge(self._client, version, np.load(file), event["most_frequent"])
        link = f"[{version.name} version {version.version}](#/models/{version.name}/versions/{version.version})"
        self._client.set_tag(run_id, "distillery.verdict", verdict)
        self._client.set_tag(run_id, "mlflow.note.content", f"Registered as {link}.\n\n{verdict}")

    def _send_made_by(self, event: dict) -> None:
        links = []
        for role, digest in event["digests"].items():
            runs = self._client.search_runs(
                [self._state["experiment_id"]],
                f"tags.`{DIGEST_TAG}.{digest}` LIKE '%'",
                order_by=["attributes.start_time DESC"],
                max_results=1,
            )
            if runs:
                run = runs[0].info
                self._client.set_tag(self._state["run_id"], f"distillery.run.{role}", run.run_id)
                links.append(f"- {role}: [{run.run_name}](#/experiments/{run.experiment_id}/runs/{run.run_id})")
        if links:
            note = "The models of this run were made by\n\n" + "\n".join(links)
            self._client.set_tag(self._state["run_id"], "mlflow.note.content", note)

    def _send_end(self, event: dict) -> None:
        self._end(event["status"], event["time"])
        self._state["ended"] = True

    def _end(self, status: str, time: int) -> None:
        self._client.set_terminated(self._state["run_id"], status, time)
        if self._parent:
            self._parent.end(time)


def _client(server: str) -> mlflow.MlflowClient:
    """Return a client. It makes the local database under another name: killed meanwhile, MLflow could not open it."""
    path = repository() / DATABASE
    if server == LOCAL and not path.exists():
        new = repository() / ".distillery" / DATABASE
        new.unlink(missing_ok=True)
        uri = address(LOCAL).removesuffix(DATABASE) + f".distillery/{DATABASE}"
        mlflow.MlflowClient(uri).search_experiments(max_results=1)
        new.replace(path)
    if server == LOCAL and (done := adopt_artifacts()):
        notify(done)
    return mlflow.MlflowClient(address(server))


def _set_tracking_uri(uri: str) -> None:
    """Let MLflow's registry look models up there, whatever the client; MLFLOW_TRACKING_URI stays what the user set."""
    named = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if named is not None:
        os.environ["MLFLOW_TRACKING_URI"] = named


def answers(server: str) -> bool:
    """Return whether a tracking server answers a simple question."""
    try:
        mlflow.MlflowClient(address(server)).search_experiments(max_results=1)
    except Exception:
        return False
    return True


def is_denied(error: Exception) -> bool:
    """Return whether a server refuses a password."""
    return isinstance(error, MlflowException) and error.get_http_status_code() in (401, 403)


def _tensor(dtype: str, shape: list[int]) -> str:
    return json.dumps([{"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}}])
