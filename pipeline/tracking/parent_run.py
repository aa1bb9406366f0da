"""The run above those of the stages: one per `dvc repro` or experiment, with all parameters and the headline metrics.

It is found by a tag, and made by whichever event comes first. So it is there once, however often an event is sent.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

REPRO_TAG = "distillery.repro"
RECORD_TAG = "distillery.record"  # of a run that has a log of its own
# What decides between experiments; the rest is in the runs of the stages.
HEADLINE = re.compile(
    r"(teacher|distilled|scratch|same_recipe)\.(accuracy|balanced_accuracy|macro_f1|errors)"
    r"|(gain(_over_same_recipe)?|compression|speedup)\..+"
)
OF_A_STAGE = ("distillery.stage", "mlflow.source.name")


class ParentRun:
    """The parent of a stage's run.

    Args:
        client: of the tracking server.
        experiment_id: the stage's.
        start: the first event of the stage's run log.
    """

    def __init__(self, client: MlflowClient, experiment_id: str, start: Mapping[str, Any]):
        self._client, self._experiment_id = client, experiment_id
        where = f"tags.`{REPRO_TAG}` = '{start['repro']}'"
        found = client.search_runs([experiment_id], where, max_results=1)
        self._run = found[0] if found else self._created(start)
        self._ends_itself = RECORD_TAG in self._run.data.tags  # a search, or a trial of one

    def _created(self, start: Mapping[str, Any]):
        tags = {key: value for key, value in start["tags"].items() if value and key not in OF_A_STAGE}
        return self._client.create_run(
            self._experiment_id,
            start_time=start["time"],
            run_name=start["tags"]["distillery.dvc_experiment"] or "workspace",
            tags=tags | {REPRO_TAG: start["repro"], "mlflow.source.name": "dvc.yaml"},
        )

    def adopt(self, run_id: str) -> None:
        """Take a stage's run, also one that began under another parent and continues under this one."""
        if not self._ends_itself:
            self._client.update_run(self._run.info.run_id, "RUNNING")
        self._client.set_tag(run_id, MLFLOW_PARENT_RUN_ID, self._run.info.run_id)

    def log_parameters(self, parameters: Sequence[Param]) -> None:
        """Log the parameters that no stage before had: MLflow refuses another value for good."""
        new = [one for one in parameters if one.key not in self._run.data.params]
        for first in range(0, len(new), 100):  # the most that MLflow takes at once
            self._client.log_batch(self._run.info.run_id, params=new[first : first + 100])

    def log_metrics(self, metrics: Sequence[Metric]) -> None:
        """Log those metrics that decide between experiments; those of epochs have a step, and are not the test's."""
        headline = [metric for metric in metrics if metric.step == 0 and HEADLINE.fullmatch(metric.key)]
        if headline:
            self._client.log_batch(self._run.info.run_id, metrics=headline)

    def end(self, time: int) -> None:
        """End with the worst status of the stages, until the next one starts."""
        if self._ends_itself:
            return
        where = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self._run.info.run_id}'"
        statuses = {run.info.status for run in self._client.search_runs([self._experiment_id], where)}
        worst = next((status for status in ("FAILED", "KILLED") if status in statuses), "FINISHED")
        self._client.set_terminated(self._run.info.run_id, worst, time)
