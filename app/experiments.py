"""Every experiment that DVC knows, one row each: the workspace, the commits, the experiments."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from distillery.data.errors import InputError
from pipeline.flat import flat

DVC_SECONDS = 120
METRICS = (  # of metrics/evaluate.json
    "teacher.accuracy",
    "distilled.accuracy",
    "scratch.accuracy",
    "gain.points",
    "gain.ci_low",
    "gain.ci_high",
    "gain.p",
    "gain_over_same_recipe.points",
    "compression.parameters",
    "compression.bytes",
)
SETTINGS = ("distill.method", "distill.temperature", "distill.alpha")
NAMES = ("prepare.dataset", "train_teacher.model", "student.model")  # paths, shown by the name of the file or folder
RESULT = (*NAMES, *SETTINGS, "student.seeds", *METRICS)  # what two states of the same experiment have in common
SIZES = ("student.parameters", "teacher.parameters")
WORKSPACE = "workspace"  # what DVC calls the files as they are now

Row = dict[str, Any]


def read_experiments() -> list[Row]:
    """Return the experiments of all commits that hold an evaluation, the newest first.

    Note: `dvc.api.exp_show` leaves out other branches, and gives times as text without the date.

    Raises:
        InputError: when DVC gives no answer, as outside Git; the text says why.
    """
    command = [sys.executable, "-m", "dvc", "exp", "show", "--all-commits", "--json"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=DVC_SECONDS, check=False)
        if answer.returncode:
            reason = answer.stderr.strip().splitlines() or ["without a message"]
            raise InputError(f"`dvc exp show` failed: {reason[-1]}")
        return experiment_rows(json.loads(answer.stdout))
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        raise InputError(f"`dvc exp show` gave no answer that can be read ({error})") from None


def experiment_rows(shown: Sequence[Mapping]) -> list[Row]:
    """Return one row per result: states with the same parameters and metrics are the same experiment.

    Args:
        shown: what `dvc exp show --json` prints: one dictionary per commit, the workspace first, with the commit's
            experiments in it.

    Returns:
        Rows, the newest first. An experiment gives the row its name, then the oldest of the commits; `now` is true of
        the row whose models and metrics are in the folder.
    """
    experiments = [
        _row(experiment["revs"][0], experiment["name"])
        for state in shown
        for experiment in state["experiments"] or []
        if experiment["revs"]
    ]
    commits = [_row(state, state["name"] or _commit(state["rev"])) for state in reversed(shown)]
    rows: dict[tuple, Row] = {}
    for row in filter(None, [*experiments, *commits]):  # the workspace comes last
        known = rows.setdefault(tuple(row[key] for key in RESULT), row)
        for key in ("now", *SIZES):
            known[key] = known[key] or row[key]
    return sorted(rows.values(), key=lambda row: row["created"] or datetime.max, reverse=True)


def _commit(rev: str) -> str:
    return rev if rev == WORKSPACE else f"commit {rev[:7]}"


def _row(state: Mapping, name: str) -> Row | None:
    """Return the row of a state of the repository; None where nothing was evaluated."""
    data = state["data"]
    if not data:  # the commit has no pipeline, or one that cannot be read
        return None
    metrics = _leaves(data["metrics"], "metrics/evaluate.json")
    if metrics.get("distilled.accuracy") is None:
        return None
    parameters = _leaves(data["params"], "params.yaml")
    student = metrics.get("compression.student_parameters")
    if student is None:  # an earlier commit
        student = _leaves(data["metrics"], "metrics/export.json").get("keras.parameters")
    seeds = parameters.get("student.seeds")
    compression = metrics.get("compression.parameters")
    return {
        "experiment": name,
        "created": data["timestamp"] and datetime.fromisoformat(data["timestamp"]),
        "now": state["rev"] == WORKSPACE,
        **_names(parameters),
        **{key: parameters.get(key) for key in SETTINGS},
        "student.seeds": str(list(range(seeds)) if isinstance(seeds, int) else seeds),
        **{key: metrics.get(key) for key in METRICS},
        "student.parameters": student,
        "teacher.parameters": student and compression and round(student * compression),
    }


def _names(parameters: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the names of data set and models; commits before the catalogues have other parameters for them."""
    paths = {key: parameters.get(key) for key in NAMES}
    if paths["prepare.dataset"] == "folder":
        paths["prepare.dataset"] = parameters.get("prepare.folder")
    if architecture := parameters.get("student.architecture"):
        paths["student.model"] = architecture
        if not str(paths["train_teacher.model"]).endswith(".keras"):
            paths["train_teacher.model"] = parameters.get("train_teacher.architecture")
    return {key: path and Path(path).name.removesuffix(".py").removesuffix(".keras") for key, path in paths.items()}


def _leaves(files: Mapping, name: str) -> dict[str, Any]:
    """Return everything in one of DVC's files by its full name; nothing of a file with an error in it."""
    return dict(flat((files.get(name) or {}).get("data") or {}))
