"""The space of a search: what the command line may say, what it refuses in one line, and the settings drawn from it."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, clone, run
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState

from distillery.data.errors import InputError
from experiments import search
from experiments.search_space import Choices, Range, Space, draw, parse_dimension, read_tree, stages_again
from pipeline.params import fields, schema

TREE = read_tree(ROOT / "presets/mnist.yaml")
KNOWN = dict(fields(schema()))
TEMPERATURE, EPOCHS, FOLDS = "distill.temperature", "student.epochs", "distill.folds"
SCALARS = st.one_of(st.booleans(), st.none(), st.integers(-99, 99), st.sampled_from(["kd", "dkd", "a-b", "x.py"]))


@settings(deadline=None)
@given(st.floats(0.001, 500), st.floats(0.001, 500), st.booleans())
def test_range_of_numbers_is_read_as_it_is_written(one, other, log):
    low, high = sorted((one, other))
    dimension = parse_dimension(f"{TEMPERATURE}={low}..{high}{' log' if log else ''}", KNOWN)
    assert dimension == Range(TEMPERATURE, low, high, log)
    assert dimension.distribution == FloatDistribution(low, high, log=log)
    for value in np.linspace(low, high, 7):
        tidy = dimension.tidy(float(value))
        assert low <= tidy <= high
        width = value * math.log(high / low) if log else high - low
        assert abs(tidy - value) <= width / 1000 + 1e-12


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(0, 20), st.integers(1, 9))
def test_range_of_whole_numbers_has_exactly_its_points(low, count, step):
    high = low + count * step
    dimension = parse_dimension(f"{EPOCHS}={low}..{high} step {step}", KNOWN)
    assert dimension.points == list(range(low, high + 1, step))
    assert dimension.distribution == IntDistribution(low, high, step=step)
    assert all(isinstance(value, int) for value in dimension.points)


@settings(deadline=None)
@given(st.lists(SCALARS, min_size=1, max_size=6, unique_by=repr))
def test_choices_are_read_as_yaml_reads_them(values):
    text = ",".join(json.dumps(value) if not isinstance(value, str) else value for value in values)
    assert parse_dimension(f"distill.method={text}", KNOWN) == Choices("distill.method", tuple(values))


def test_points_of_decimal_steps_are_the_numbers_that_one_writes():
    dimension = parse_dimension("distill.alpha=0..0.6 step 0.1", KNOWN)
    assert dimension.points == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    space = Space(["distill.alpha=0..0.6 step 0.1"], TREE)
    drawn = {draw(space, "random", 0, number, [], "maximize")["distill.alpha"] for number in range(40)}
    assert drawn == set(dimension.points)
    assert dimension.has(0.3)
    assert not dimension.has(0.1 + 0.2)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["distill.temperatur=1..2"], "distill.temperatur: unknown parameter; did you mean distill.temperature?"),
        (["temperature=1..2"], "temperature: unknown parameter; did you mean distill.temperature?"),
        (["student.jitter=1..3"], "student.jitter: unknown parameter; it is called student.max_shift now"),
        (["distill.temperature=5..2"], "distill.temperature: found '5..2'; the range is empty: 5 is above 2"),
        (["distill.alpha=0..1 log"], "distill.alpha: found '0..1 log'; with log both ends must be above 0"),
        (["distill.alpha=0..1 step 0"], "distill.alpha: found '0..1 step 0'; a step must be above 0"),
        (["distill.temperature=1..9 log step 2"], "log and step exclude each other"),
        (["distill.temperature=1..20 step 3"], "steps of 3 from 1 do not end at 20"),
        (["distill.alpha=0..1 step 1e-30"], "distill.alpha: found '0..1 step 1e-30'; the step is too small"),
        (["distill.folds=0..5"], "distill.folds=1: distill.folds: found 1; accepted: 0 for no"),
        (["distill.temperature=0..2"], "distill.temperature=0.0: distill.temperature: found 0.0; input should be"),
        (["distill.alpha=0.5,1.5"], "distill.alpha=1.5: distill.alpha: found 1.5; input should be less than or equal"),
        (
            ["distill.method=kd,foo"],
            "distill.method=foo: distill.method: found 'foo'; accepted: at, crd, dist, dkd, kd",
        ),
        (["distill.method=1..3"], "distill.method: takes no numbers; accepted: values with commas"),
        (["student.epochs=1.5..4"], "student.epochs: found '1.5..4'; the parameter takes whole numbers"),
        (["distill.temperature=1..x"], "distill.temperature: found '1..x'; accepted: a..b"),
        (["distill.temperature=[1,2],3"], "distill.temperature: found '[1,2],3'; accepted: a..b"),
        (["distill.temperature"], "'distill.temperature': is not key=values; accepted: a..b"),
        (["distill.temperature=2,2.0"], "distill.temperature: a value stands twice in '2,2.0'"),
        (["distill.alpha=0..1", "distill.alpha=0,1"], "distill.alpha: stands twice in the space"),
        (["distill.dkd.beta=1..8"], "distill.dkd.beta: has no effect on the distilled students; accepted"),
        (["evaluate.sheet_images=1..5"], "evaluate.sheet_images: has no effect on the distilled students"),
        (["prepare.seed=1..4"], "prepare.seed: is no setting to search: its trials would be compared on other images"),
        (["student.seeds=1,2"], "student.seeds: is no setting to search"),
        (["student.views=1,5"], "student.views=1: student.views: found 1; student.max_shift"),
        (["student.views=1,5", "student.max_shift=0,2"], "student.views=1 student.max_shift=2: student.views: found 1"),
    ],
)
def test_mistake_is_one_line_that_says_what_is_accepted(texts, message):
    with pytest.raises(InputError) as raised:
        Space(texts, TREE)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("keys", "stages"),
    [
        (["distill.temperature"], ["distill"]),
        (["student.learning_rate"], ["distill"]),
        (["student.augment.crop"], ["transfer", "distill"]),
        (["transfer.top_classes"], ["transfer", "distill"]),
        (["train_teacher.dropout", "distill.alpha"], ["train_teacher", "transfer", "distill"]),
    ],
)
def test_stages_that_trials_run_again_are_those_of_their_parameters(keys, stages):
    assert stages_again(keys, Space(["distill.alpha=0,1"], TREE).params({})) == stages


def test_nested_and_missing_sections_are_set():
    tree = {key: value for key, value in TREE.items() if key != "transfer"}
    tree["student"] = {key: value for key, value in tree["student"].items() if key != "augment"}
    space = Space(["student.augment.crop=0.5..1", "transfer.top_classes=2,5"], tree)
    params = space.params({"student.augment.crop": 0.7, "transfer.top_classes": 5})
    assert (params.student.augment.crop, params.transfer.top_classes) == (0.7, 5)
    assert space.present == {"student.augment.crop": 1.0, "transfer.top_classes": None}
    assert "augment" not in tree["student"]


def test_what_a_parameter_is_now_may_be_a_mapping():
    tree = TREE | {"train_teacher": TREE["train_teacher"] | {"classes": {"dog": ["n02085620"]}}}
    space = Space(["train_teacher.classes=null", "distill.alpha=0,1"], tree)
    assert space.present["train_teacher.classes"] == {"dog": ["n02085620"]}
    assert not space.has(space.present)


def test_trial_with_parameters_that_are_not_accepted_together_is_another_setting(study):
    found = study("s", "random")
    found.space = Space(["distill.folds=0..30"], TREE)
    seed = next(seed for seed in range(999) if draw(found.space, "random", seed, 1, [], "maximize") == {FOLDS: 1})
    found.seed = seed
    valid, invalid = found.add(), found.add()
    assert found.params(valid).distill.folds == 0
    with pytest.raises(InputError, match=r"distill.folds=1: distill.folds: found 1"):
        found.params(invalid)
    assert found.same(invalid) is None


def test_grid_has_every_setting_once_in_an_order_of_the_seed():
    space = Space(["distill.temperature=1,2,4", "distill.alpha=0..1 step 0.5"], TREE)
    grid = space.grid(0)
    assert sorted(map(str, grid)) == sorted({str(one) for one in grid})
    assert len(grid) == 9
    assert grid == space.grid(0)
    assert grid != space.grid(1)
    with pytest.raises(InputError, match=r"distill\.alpha: a grid needs values"):
        Space(["distill.alpha=0..1"], TREE).grid(0)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Return a function that opens a study of a space in this folder, again after an interruption."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(search, "SEARCHES", tmp_path)
    texts = ["distill.temperature=1..20 log", "distill.alpha=0,0.1,0.5", "distill.method=kd,dkd"]
    space = Space(texts, TREE)

    def opened(name: str = "s", sampler: str = "tpe", *more: str) -> search.Study:
        arguments = search.command_line().parse_args([*texts, "--sampler", sampler, *more])
        (tmp_path / name).mkdir(exist_ok=True)
        found = search.Study(name, space, [], arguments)
        found.open()
        return found

    return opened


def objective(setting: dict) -> float:
    return 0.9 - 0.01 * abs(math.log(setting["distill.temperature"] / 5)) - 0.02 * setting["distill.alpha"]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_interrupted_study_draws_what_an_uninterrupted_one_draws(study, sampler):
    """Interrupted after each trial was begun, and again after it was done."""
    whole = study("whole", sampler)
    for _ in range(16):
        trial = whole.add()
        whole.tell(trial, TrialState.COMPLETE, objective(trial.params))
    for _ in range(16):
        study("parts", sampler).add()
        (trial,) = (one for one in study("parts", sampler).optuna.get_trials() if one.state == TrialState.RUNNING)
        study("parts", sampler).tell(trial, TrialState.COMPLETE, objective(trial.params))
    parts = study("parts", sampler).optuna.get_trials()
    assert [one.params for one in parts] == [one.params for one in whole.optuna.get_trials()]
    assert len({str(one.params) for one in parts}) > 10


def test_half_a_line_that_a_power_cut_left_is_dropped(study, tmp_path):
    first = study()
    first.tell(first.add(), TrialState.COMPLETE, 0.5)
    journal = tmp_path / "s/study.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 4, "worker')
    again = study()
    assert [one.value for one in again.optuna.get_trials()] == [0.5]
    again.tell(again.add(), TrialState.FAIL, None)
    assert [one.state.name for one in study().optuna.get_trials()] == ["COMPLETE", "FAIL"]


def test_settings_that_differ_in_another_methods_parameter_are_the_same(study):
    space = Space(["distill.method=kd,dkd", "distill.dkd.beta=1,2"], TREE)
    found = study("s", "random", "--seed", "3")
    found.space = space
    seen = {}
    for _ in range(12):
        trial = found.add()
        key = str(trial.params) if trial.params["distill.method"] == "dkd" else "kd"
        same = found.same(trial)
        assert (same.number if same else None) == seen.get(key)
        seen.setdefault(key, trial.number)
        found.tell(trial, TrialState.COMPLETE, 0.5)


def test_trial_behind_the_median_of_five_others_is_pruned(study):
    def is_behind(found: search.Study, means: list[float]) -> tuple[bool, search.FrozenTrial]:
        driver = search.Search(found, 9, None, [], "k")
        trial = found.add()
        return driver._is_behind(trial, means), trial

    for more, pruned in (((), True), (("--no-pruning",), False)):
        found = study(f"pruning-{pruned}", "random", *more)
        for value in (0.90, 0.91, 0.92, 0.93, 0.94):
            behind, trial = is_behind(found, [value, value])
            assert not behind
            found.tell(trial, TrialState.COMPLETE, value)
        assert is_behind(found, [0.915, 0.93])[0] is pruned
        assert is_behind(found, [0.925, 0.93])[0] is False


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["distill.alpha=0..1", "--sampler", "grid"], "distill.alpha: a grid needs values: give the range a step"),
        (["distill.alpha=0..1", "--trials", "0"], "--trials: found 0; accepted: 1 and more"),
        (["distill.alpha=0..1", "--workers", "0"], "--workers: found 0; accepted: 1 and more"),
        (["distill.alpha=0..1", "--name", "a/b"], "--name: found 'a/b'; accepted: letters, digits, - and _"),
        (["distill.alpha=2..1"], "distill.alpha: found '2..1'; the range is empty: 2 is above 1"),
    ],
)
def test_mistake_in_the_command_is_found_before_any_work(monkeypatch, words, message):
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError) as raised:
        search.check(search.command_line().parse_args(words))
    assert message in str(raised.value)


def test_command_without_commit_repository_or_optuna_says_so(tmp_path):
    words = ("python", "-m", "experiments.search", "distill.alpha=0,1")
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("pipeline", "distillery", "experiments", "stages", "architectures", "datasets", "methods"):
        (folder / name).symlink_to(ROOT / name)
    answer = run(folder, *words, check=False)
    assert answer.returncode == 1
    assert answer.stderr.startswith("search: dvc.yaml: not found in ")
    for name in ("params.yaml", "dvc.yaml"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    (folder / ".dvc").mkdir()
    answer = run(folder, *words, check=False, GIT_CEILING_DIRECTORIES=str(tmp_path))
    assert "not a git repository" in answer.stderr
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    answer = run(folder, *words, check=False)
    assert (
        answer.stderr == "search: this repository has no commit yet; experiments need one: git add -A && git commit\n"
    )
    without = "import sys; sys.modules['optuna'] = None; import runpy; runpy.run_module('experiments.search')"
    answer = run(folder, sys.executable, "-c", without, check=False)
    assert (answer.returncode, answer.stderr) == (
        1,
        "search: Optuna is not installed; pip install -r requirements/search.txt\n",
    )
    assert not (folder / ".distillery").exists()


def test_name_of_another_search_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "clone"
    folder.mkdir()
    clone(folder)
    monkeypatch.chdir(folder)
    own = {"space": ["a"], "seed": 0}
    search.open_folder("mine", own).release()
    search.open_folder("mine", own).release()
    lock = search.open_folder("mine", own)
    with pytest.raises(InputError, match="mine: another process works at this search"):
        search.open_folder("mine", own)
    lock.release()
    with pytest.raises(InputError, match=r"is the name of another search \(other: seed\); choose another name"):
        search.open_folder("mine", own | {"seed": 1})
    assert Path(".distillery/searches/mine").is_dir()
