"""Every experiment of the repository, those that DVC knows and those that MLflow knows, a row each."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from distillery.data.errors import InputError
from pipeline.params import TRAINED
from pipeline.resume import repository
from pipeline.tracking.journal import flat

DVC_SECONDS = 120
METRICS = (  # those of metrics/evaluate.json, under the names that DVC and MLflow give them
    "teacher.accuracy",
    "distilled.accuracy",
    "distilled.accuracy_std",
    "scratch.accuracy",
    "scratch.accuracy_std",
    "gain.points",
    "gain.ci_low",
    "gain.ci_high",
    "gain.mcnemar_p",
    "compression.parameters",
    "compression.bytes",
)
PARAMETERS = (
    "prepare.dataset",
    "train_teacher.model",
    "train_teacher.architecture",
    "student.architecture",
    "distill.method",
    "distill.temperature",
    "distill.alpha",
    "student.seeds",
)
WORKSPACE = "workspace"  # what DVC calls the files as they are now, and tracking a plain `dvc repro`
SIZES = ("teacher.parameters", "student.parameters")

Row = dict[str, Any]


def dvc_experiments() -> list[Row]:
    """The workspace, the commits and the experiments of all commits that hold an evaluation.

    Raises:
        InputError: when DVC cannot tell, as outside Git; the text says why.
    """
    command = [sys.executable, "-m", "dvc", "exp", "show", "--all-commits", "--json"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=DVC_SECONDS, check=False)
        if answer.returncode:
            raise InputError(f"`dvc exp show` failed: {_last_line(answer.stderr)}")
        return rows_of_dvc(json.loads(answer.stdout))
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        raise InputError(f"`dvc exp show` gave no answer that can be read ({error})") from None


def rows_of_dvc(shown: Sequence[Mapping]) -> list[Row]:
    """Rows from what `dvc exp show --json` prints, the workspace and the newest commits first.

    A commit that only repeats the results of an older one, as one of the README does, is no row of its own.

    Args:
        shown: a dictionary a commit, the workspace first; the commit's experiments in it.
    """
    rows, commits = [], []
    for state in shown:
        here = state["rev"] == WORKSPACE
        (rows if here else commits).append(_dvc_row(state, WORKSPACE if here else state["name"]))
        for experiment in state["experiments"] or []:
            rows += [_dvc_row(one, experiment["name"]) for one in (experiment["revs"] or [])[:1]]
    oldest = {_result(row): row for row in commits if row}  # the last one stays, the oldest
    return [row for row in [*rows, *oldest.values()] if row]


def _dvc_row(state: Mapping, name: str | None) -> Row | None:
    data = state["data"]
    if not data:  # the commit has no pipeline, or one that cannot be read
        return None
    metrics = _leaves(data["metrics"], "metrics/evaluate.json")
    if metrics.get("distilled.accuracy") is None:
        return None
    return _row(
        name or f"commit {state['rev'][:7]}",
        "DVC",
        data["timestamp"] and datetime.fromisoformat(data["timestamp"]),
        _leaves(data["params"], "params.yaml"),
        metrics,
        {},
    )


def _leaves(files: Mapping, name: str) -> dict[str, Any]:
    """Everything in one of DVC's files by its full name; nothing of a file with an error in it."""
    return dict(flat((files.get(name) or {}).get("data") or {}))


def mlflow_experiments() -> list[Row]:
    """The `evaluate` runs that came to their end, the newest first.

    Raises:
        InputError: when there is no tracking database, or it cannot be read; the text says why.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    database = repository() / "mlflow.db"
    if not uri and not database.is_file():  # MLflow would make an empty one
        raise InputError("mlflow.db: no such file; the first `dvc repro` makes it")
    import mlflow
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    import pipeline.tracking.delivery  # noqa: F401, bounds MLflow's patience: its own is minutes

    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "distillery"
    try:
        client = mlflow.MlflowClient(uri or f"sqlite:///{database}")
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            raise InputError(f"MLflow has no experiment named {name!r} yet; `dvc repro` makes it")
        sizes = {
            run.info.run_id: run.data.metrics["parameters"]
            for stage in ("train_teacher", "distill", "train_scratch")
            for run in _runs(client, experiment, stage)
            if "parameters" in run.data.metrics
        }
        return [
            _mlflow_row(run, sizes)
            for run in _runs(client, experiment, "evaluate")
            if "distilled.accuracy" in run.data.metrics
        ]
    except (MlflowException, SQLAlchemyError) as error:
        raise InputError(f"MLflow cannot be read ({' '.join(str(error).split())[:200]})") from None


def _runs(client, experiment, stage: str) -> Iterable:
    page = None
    while page is None or page.token:
        page = client.search_runs(
            [experiment.experiment_id],
            f"tags.`distillery.stage` = '{stage}' AND attributes.status = 'FINISHED'",
            order_by=["attributes.start_time DESC"],
            page_token=page and page.token,
        )
        yield from page


def _mlflow_row(run, sizes: Mapping[str, float]) -> Row:
    made_by = {kind: run.data.tags.get(f"distillery.run.{kind}") for kind in ("teacher", "distilled", "scratch")}
    found = {
        "teacher.parameters": sizes.get(made_by["teacher"]),
        "student.parameters": sizes.get(made_by["distilled"]) or sizes.get(made_by["scratch"]),
    }
    return _row(
        run.info.run_name.removesuffix("/evaluate"),
        "MLflow",
        datetime.fromtimestamp(run.info.start_time / 1000),
        run.data.params,
        run.data.metrics,
        found,
    )


def _row(name: str, where: str, created: datetime | None, parameters: Mapping, metrics: Mapping, sizes: Mapping) -> Row:
    return {
        "experiment": name,
        "recorded": where,
        "created": created,
        "now": name == WORKSPACE and where == "DVC",
        **{key: _parameter(key, parameters.get(key)) for key in PARAMETERS},
        "train_teacher.model": parameters.get("train_teacher.model") or TRAINED,  # at first there was nothing else
        **{key: metrics.get(key) for key in METRICS},
        **{key: sizes.get(key) for key in SIZES},
    }


def _parameter(key: str, value: Any) -> Any:
    """In one form: MLflow keeps all parameters as text, DVC what stands in the file: of seeds a list or their count."""
    if key == "student.seeds" and isinstance(value, int):
        value = list(range(value))
    if isinstance(value, list):
        return json.dumps(value)
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


def _result(row: Row) -> tuple:
    """What two records of one experiment have in common: the pipeline gives the same results whenever it runs."""
    return (
        *(row[key] for key in PARAMETERS),
        *(row[key] and round(row[key], 9) for key in METRICS),  # a database may keep fewer digits than a file
    )


def merged(dvc: Sequence[Row], mlflow: Sequence[Row]) -> list[Row]:
    """One row an experiment: records with the same parameters and results are the same experiment.

    Args:
        dvc: rows of DVC; the first of several with one result gives the row its name, unless that is the workspace's.
        mlflow: rows of MLflow.

    Returns:
        Rows, the newest first; what nobody dated is the workspace's, and comes before them. `recorded` names all who
        know the experiment; `now` is true of the one whose models and metrics lie in the folder.
    """
    rows: dict[tuple, Row] = {}
    for row in [*dvc, *mlflow]:
        key = _result(row)
        if key not in rows:
            rows[key] = dict(row)
            continue
        known = rows[key]
        if known["experiment"] == WORKSPACE:
            known["experiment"] = row["experiment"]
        if row["recorded"] not in known["recorded"]:
            known["recorded"] = f"{known['recorded']} + {row['recorded']}"
        for field in ("created", *SIZES):
            known[field] = known[field] or row[field]
    return sorted(rows.values(), key=lambda row: row["created"] or datetime.max, reverse=True)


def with_sizes(rows: Sequence[Row], known: Mapping[tuple[str, str], int]) -> list[Row]:
    """Fill in how many parameters the models have where only another row, or nobody but the models themselves, tells.

    On one data set, an architecture always has as many parameters. Several data sets may be called `folder`, and a
    teacher of one's own has no architecture: of these, nothing is concluded.

    Args:
        rows: as `merged` gives them.
        known: by data set and architecture, parameters.
    """
    known = dict(known)
    for row in rows:
        known |= {key: row[size] for size, key in _architectures(row).items() if row[size]}
    return [row | {size: row[size] or known.get(key) for size, key in _architectures(row).items()} for row in rows]


def _architectures(row: Row) -> dict[str, tuple[str, str]]:
    """By name of a number of parameters, the data set and the architecture that determine it."""
    dataset = row["prepare.dataset"]
    if dataset == "folder":
        return {}
    student = {"student.parameters": (dataset, row["student.architecture"])}
    if row["train_teacher.model"] != TRAINED:
        return student
    return student | {"teacher.parameters": (dataset, row["train_teacher.architecture"])}


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "without a message"
