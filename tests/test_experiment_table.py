"""The table of experiments, from what DVC prints."""

import pytest
from pages import enter

from app.experiment_table import model_points
from app.experiments import experiment_rows, read_experiments
from distillery.data.errors import InputError


def dvc_state(rev: str, name: str | None, temperature: float, accuracy: float, seeds=2, **more) -> dict:
    params = {
        "prepare": {"dataset": "datasets/mnist.py"},
        "train_teacher": {"model": "my/net.v2.keras"},
        "student": {"model": "architectures/dense_128.py", "seeds": seeds},
        "distill": {"method": "kd", "temperature": temperature, "kd": {}},
    }
    metrics = {role: {"accuracy": accuracy} for role in ("teacher", "distilled", "scratch")}
    metrics["compression"] = {"parameters": 2.5} | ({"student_parameters": 100} if rev == "workspace" else {})
    return {
        "rev": rev,
        "name": name,
        "data": {
            "timestamp": None if rev == "workspace" else "2026-01-02T03:04:05",
            "params": {"params.yaml": {"data": params}},
            "metrics": {
                "metrics/evaluate.json": {"data": metrics},
                "metrics/export.json": {"data": {"keras": {"parameters": 100}}},
                "metrics/timing.json": {"error": {"msg": "damaged"}},
            },
        },
        "experiments": None,
    } | more


def test_experiment_rows_states_with_one_result_are_one_row():
    experiment = {"name": "hot", "revs": [dvc_state("c" * 40, "hot", 8, 0.97)]}
    without_export = dvc_state("b" * 40, None, 4, 0.95)
    del without_export["data"]["metrics"]["metrics/export.json"]
    rows = experiment_rows(
        [
            dvc_state("workspace", None, 8, 0.97, seeds=[0, 1]),
            dvc_state("a" * 40, "main", 4.0, 0.95, experiments=[experiment, {"name": "queued", "revs": None}]),
            without_export,  # the same results
            {"rev": "d" * 40, "name": None, "data": None, "experiments": None},  # no pipeline yet
            dvc_state("e" * 40, None, 4, None),  # never evaluated
        ]
    )
    assert [(row["experiment"], row["now"], row["distill.temperature"]) for row in rows] == [
        ("hot", True, 8),
        ("commit bbbbbbb", False, 4),
    ]
    assert rows[0]["student.seeds"] == "[0, 1]"
    names = [rows[0][key] for key in ("prepare.dataset", "train_teacher.model", "student.model")]
    assert names == ["mnist", "net.v2", "dense_128"]
    points = model_points(rows)
    assert points["Parameters"].tolist() == [250, 100, 100] * 2
    assert points["Accuracy (%)"].tolist() == pytest.approx([97] * 3 + [95] * 3)


def test_experiment_rows_workspace_without_commit_is_first():
    rows = experiment_rows([dvc_state("workspace", None, 2, 0.9), dvc_state("a" * 40, "main", 4, 0.95)])
    assert [(row["experiment"], row["now"]) for row in rows] == [("workspace", True), ("main", False)]


def test_experiment_rows_older_parameters_have_names():
    state = dvc_state("a" * 40, "main", 4, 0.95)
    state["data"]["params"]["params.yaml"]["data"] = {
        "prepare": {"dataset": "folder", "folder": "/my/flowers.v2"},
        "train_teacher": {"model": "stages/learning/architectures.py", "architecture": "cnn"},
        "student": {"architecture": "dense_128", "seeds": 2},
    }
    (row,) = experiment_rows([state])
    assert [row[key] for key in ("prepare.dataset", "train_teacher.model", "student.model")] == [
        "flowers.v2",
        "cnn",
        "dense_128",
    ]


def test_read_experiments_outside_git_raises_input_error(tmp_path, monkeypatch):
    enter(monkeypatch, tmp_path)
    with pytest.raises(InputError, match=r"`dvc exp show` failed: .+"):
        read_experiments()
    assert list(tmp_path.iterdir()) == []
