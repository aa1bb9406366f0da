"""The scripts behind RESULTS.md."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import SMALL, run

from distillery.data.errors import InputError
from distillery.data.files import read_json
from distillery.evaluation.comparison import mean_accuracy_interval
from experiments import grid, page
from experiments import run as presets
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


def test_a_stage_from_the_cache_keeps_the_record_of_the_run_that_made_its_outputs(tmp_path, monkeypatch):
    folder = tmp_path / "clone"
    for name in ("metrics/evaluate.json", "params.yaml", "models/answers.npz"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@localhost")
    run(folder, "git", "init", "--quiet")
    run(folder, *git, "commit", "--quiet", "--allow-empty", "--message", "a")
    monkeypatch.setattr(presets, "RESULTS", tmp_path / "results")

    def kept(teacher: str, seconds: dict[str, float], not_run: list[str]) -> dict:
        stages = {"train_teacher": {"outs": [{"md5": teacher}]}, "distill": {"outs": [{"md5": "b"}]}}
        (folder / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
        presets.keep("preset", folder, "dvc repro", seconds, not_run)
        return read_json(tmp_path / "results/preset/run.json")["stages"]

    first = kept("a", {"train_teacher": 60.0, "distill": 20.0}, [])
    assert first["train_teacher"]["seconds"] == 60
    again = kept("a", {"distill": 21.0}, ["train_teacher"])
    assert again["train_teacher"] == first["train_teacher"]
    assert again["distill"]["seconds"] == 21
    assert kept("of another preset", {"distill": 22.0}, ["train_teacher"])["train_teacher"] is None


@pytest.mark.parametrize(
    ("metric", "goal", "value", "ends", "text"),
    [
        ("teacher.errors", {"at_most": 67}, 60.0, (54.0, 66.5), "≤ 67: reached"),
        ("teacher.errors", {"at_most": 67}, 64.0, (50.0, 81.7), "≤ 67: at the edge"),
        ("teacher.errors", {"at_most": 67}, 67.0, (67.0, 67.0), "≤ 67: at the edge"),
        ("teacher.errors", {"at_most": 67}, 67.3333, (50.0, 84.0), "≤ 67: at the edge, missed by 0.333"),
        ("teacher.accuracy", {"at_least": 0.88}, 0.8699, (0.86, 0.8798), "≥ 88.00 %: **missed by 1.01 points**"),
        ("gain.points", {"at_least": 1.5}, 2.0, (1.4, 2.6), "≥ +1.50: at the edge"),
        ("gain.points", {"at_least": 1.5}, 2.0, (1.6, 2.4), "≥ +1.50: reached"),
    ],
)
def test_goal_is_reached_only_where_its_bound_is_outside_the_interval(metric, goal, value, ends, text):
    assert page.goal_text(metric, goal, value, ends) == text


def test_intervals_of_the_page_are_those_of_the_answers():
    labels = np.arange(200) % 4
    random = np.random.default_rng(0)
    students = np.where(random.random((3, 200)) < 0.9, labels, (labels + 1) % 4)
    answers = {"labels": labels, "distilled": students, "distilled_corrected": students, "omitted": np.array([3])}
    low, high = mean_accuracy_interval(students == labels)
    metrics = {"gain.points": 1.0, "gain.ci_low": 0.5, "gain.ci_high": 1.5}
    assert page.interval("gain.points", metrics, answers) == (0.5, 1.5)
    assert page.interval("distilled.accuracy", metrics, answers) == (low, high)
    assert page.interval("distilled.errors", metrics, answers) == pytest.approx((200 * (1 - high), 200 * (1 - low)))
    of_threes = mean_accuracy_interval((students == labels)[:, labels == 3])
    ends = page.interval("omitted.distilled.errors_corrected", metrics, answers)
    assert ends == pytest.approx((50 * (1 - of_threes[1]), 50 * (1 - of_threes[0])))
    assert page.interval("compression.parameters", metrics, answers) is None


def experiment(name: str, temperature: float, alpha: float, metrics: bool = True) -> dict:
    accuracy = {"accuracy": 0.9, "errors": 100}
    files = {
        "metrics/distill.json": {"data": {"val_accuracy": 0.95, "val_accuracy_std": 0.01}},
        "metrics/evaluate.json": {"data": {"distilled": accuracy, "gain_over_same_recipe": {"points": temperature}}},
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


def test_pairs_that_are_not_accepted_are_named_before_any_runs():
    grid.check(ROOT, {"distill.temperature": [1, 4], "distill.alpha": [0, 0.5]}, ["student.epochs=2"])
    with pytest.raises(InputError, match=r"distill.temperature=1 distill.alpha=2: distill.alpha: found 2"):
        grid.check(ROOT, {"distill.temperature": [1, 4], "distill.alpha": [0.5, 2]}, [])
    with pytest.raises(InputError, match=r"--set: found 'student.seeds=\[0,1'"):
        grid.check(ROOT, {"distill.temperature": [1], "distill.alpha": [0.5]}, ["student.seeds=[0,1"])
    with pytest.raises(InputError, match=r"student.epochs: found 0"):
        grid.check(ROOT, {"distill.temperature": [1], "distill.alpha": [0.5]}, ["student.epochs=0"])


def test_every_preset_has_an_original():
    assert set(preset_names()) <= set(ORIGINALS)
    for original in ORIGINALS.values():
        assert {*original["original"], *original["goals"]} <= set(page.TITLES)


@pytest.mark.parametrize("name", RESULTS)
def test_committed_result_has_the_parameters_of_its_preset(name, project):
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


def test_search_for_a_recipe_begins_with_the_students_own(shared_run, tmp_path):
    clone = Path(shutil.copytree(shared_run, tmp_path / "clone", symlinks=True))
    (clone / "presets/small.yaml").write_text(yaml.safe_dump(SMALL))
    command = (sys.executable, "-m", "experiments.plain_recipe", "small", "--folder", ".", "--trials", "2")
    section = run(clone, *command).stdout.partition("train_scratch:\n")[2]
    kept = read_json(clone / "results/small/plain_recipe.json")
    best = kept["trials"][kept["best"] - 1]
    assert len(kept["trials"]) == 2
    assert best["val_accuracy"] == max(trial["val_accuracy"] for trial in kept["trials"])
    assert yaml.safe_load(section)["label_smoothing"] == best["label_smoothing"]
    same = read_json(clone / "metrics/train_scratch.json")["same_recipe"]
    scores = {name: kept["trials"][0][name] for name in ("val_accuracy", "val_balanced_accuracy", "val_loss")}
    assert scores == pytest.approx({name: same[name] for name in scores}, rel=1e-5)
