"""The scripts behind RESULTS.md."""

from pathlib import Path

import pytest

from experiments import page
from experiments.figures import temperature_and_alpha
from experiments.grid import pairs
from experiments.run import stage_times
from pipeline.params import load_params
from pipeline.presets import preset_names

ROOT = Path(__file__).resolve().parent.parent
ORIGINALS = page.read_yaml(page.ORIGINALS)
RESULTS = sorted(path.parent.name for path in (ROOT / "results").glob("*/run.json"))


def test_stage_times_are_the_seconds_between_dvcs_lines():
    lines = [
        "Stage 'prepare' didn't change, skipping",
        "Stage 'train_teacher' is cached - skipping run, checking out outputs",
        "Running stage 'transfer':",
        "> python -m pipeline transfer",
        "Updating lock file 'dvc.lock'",
        "Running stage 'evaluate':",
        "figures",
    ]
    ticks = iter(range(100))
    seconds, not_run = stage_times(lines, clock=lambda: next(ticks))
    assert seconds == {"transfer": 1, "evaluate": 1}
    assert not_run == ["prepare", "train_teacher"]


@pytest.mark.parametrize(
    ("metric", "goal", "value", "text"),
    [
        ("teacher.errors", {"at_most": 67}, 67.0, "≤ 67: reached"),
        ("teacher.errors", {"at_most": 67}, 67.3333, "≤ 67: **missed by 0.333**"),
        ("teacher.accuracy", {"at_least": 0.88}, 0.8799, "≥ 88.00 %: **missed by 0.01 points**"),
        ("gain.ci_low", {"above": 0}, 0.0, "> +0.00: **missed by 0**"),
        ("gain.points", {"at_least": 1.5}, 2.0, "≥ +1.50: reached"),
    ],
)
def test_goal_text_says_reached_or_missed_by_how_much(metric, goal, value, text):
    assert page.goal_text(metric, goal, value) == text


def experiment(name: str, temperature: float, alpha: float, metrics: bool = True) -> dict:
    accuracy = {"accuracy": 0.9, "errors": 100}
    files = {
        "metrics/distill.json": {"data": {"val_accuracy": 0.95, "val_accuracy_std": 0.01}},
        "metrics/evaluate.json": {"data": {"distilled": accuracy, "gain": {"points": temperature}}},
    }
    params = {"params.yaml": {"data": {"distill": {"temperature": temperature, "alpha": alpha}}}}
    return {"name": name, "revs": [{"data": {"metrics": files, "params": params} if metrics else None}]}


def test_pairs_takes_the_grids_experiments_once_each():
    shown = [
        {"experiments": None},
        {"experiments": [experiment("grid-2", 4.0, 0.1), experiment("grid-1", 2.0, 0.1), experiment("mine", 4.0, 0.1)]},
    ]
    rows = pairs(shown)
    assert [(row["temperature"], row["gain_points"]) for row in rows] == [(2.0, 2.0), (4.0, 4.0)]
    temperature_and_alpha(rows, "title")
    with pytest.raises(SystemExit, match="stands twice"):
        pairs([*shown, {"experiments": [experiment("grid-3", 2.0, 0.1)]}])
    with pytest.raises(SystemExit, match="grid-4 has no metrics"):
        pairs([{"experiments": [experiment("grid-4", 2.0, 0.1, metrics=False)]}])


def test_every_preset_has_an_original():
    assert set(preset_names()) <= set(ORIGINALS)
    for original in ORIGINALS.values():
        assert {*original["original"], *original["goals"]} <= set(page.TITLES)


@pytest.mark.parametrize("name", RESULTS)
def test_committed_result_has_the_parameters_of_its_preset(name):
    assert not page.stale(name)
    load_params(ROOT / f"results/{name}/params.yaml")


def test_result_of_other_parameters_is_stale(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "RESULTS", tmp_path)
    for name in ("mnist", "own"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "params.yaml").write_text("student: {epochs: 5, batch_size: 512}\n")
        assert not page.stale(name)  # made without the other parameters, with their defaults
        (tmp_path / name / "params.yaml").write_text("student: {epochs: 6, batch_size: 512}\n")
        assert page.stale(name) == (name == "mnist")


def test_results_page_is_current(tmp_path, monkeypatch):
    before = (ROOT / "RESULTS.md").read_text()
    monkeypatch.setattr(page, "PAGE", tmp_path / "RESULTS.md")
    monkeypatch.setattr(page, "PICTURES", tmp_path)
    page.main()
    assert (tmp_path / "RESULTS.md").read_text() == before
