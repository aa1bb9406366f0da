"""The setting that a search recommends, against computations of its own; its table and its figure."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from PIL import Image
from scipy import stats

from experiments.search_result import Tried, conclusion, importances, is_worse, recommend, result_table, write_result
from experiments.search_space import Space, draw, read_tree

TREE = read_tree(ROOT / "presets/mnist.yaml")
SPACE = Space(["distill.temperature=1..20 log", "distill.alpha=0,0.1,0.5", "distill.method=kd,dkd"], TREE)
PRESENT = {"distill.temperature": 4.0, "distill.alpha": 0.1, "distill.method": "kd"}


def tried(number: int, answers: np.ndarray, state: str = "complete", **setting) -> Tried:
    names = {"temperature": "distill.temperature", "alpha": "distill.alpha", "method": "distill.method"}
    whole = PRESENT | {names[key]: value for key, value in setting.items()}
    if state != "complete":
        return Tried(number, "", whole, state, "why")
    return Tried(number, f"s-{number:04d}", whole, state, "", float(answers.mean()), answers)


def lower_end(apart: np.ndarray, level: float) -> float:
    """The two-way analysis of variance, from its mean squares: Searle, Casella & McCulloch, chapter 4."""
    seeds, images = apart.shape
    long = pd.DataFrame(
        [(seed, image, apart[seed, image]) for seed, image in np.ndindex(apart.shape)],
        columns=["seed", "image", "value"],
    )
    mean = long["value"].mean()
    by_seed, by_image = (long.groupby(name)["value"].mean() for name in ("seed", "image"))
    of_image = seeds * ((by_image - mean) ** 2).sum() / (images - 1)
    if seeds == 1:
        return mean - stats.t.ppf(level, images - 1) * np.sqrt(of_image / images)
    of_seed = images * ((by_seed - mean) ** 2).sum() / (seeds - 1)
    fitted = long["seed"].map(by_seed) + long["image"].map(by_image) - mean
    of_rest = ((long["value"] - fitted) ** 2).sum() / ((seeds - 1) * (images - 1))
    parts = np.array([of_seed, of_image, of_rest]) / (seeds * images)
    variance = max(parts[0] + parts[1] - parts[2], parts[0], parts[1])
    freedom = np.array([seeds - 1, images - 1, (seeds - 1) * (images - 1)])
    return mean - stats.t.ppf(level, variance**2 / (parts**2 / freedom).sum()) * np.sqrt(variance)


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_worse_is_what_an_analysis_of_variance_says(seeds):
    random = np.random.default_rng(seeds)
    found = set()
    for shift in np.linspace(-0.01, 0.2, 25):
        apart = (
            random.normal(shift, 0.1, (seeds, 1)) + random.normal(0, 0.5, (1, 60)) + random.normal(0, 1, (seeds, 60))
        )
        for comparisons in (1, 9):
            expected = lower_end(apart, 1 - 0.05 / comparisons) > 0
            assert is_worse(apart, comparisons) == expected
            found.add(expected)
    assert found == {True, False}


def test_settings_that_are_left_hold_the_best_in_95_of_100_searches():
    """All settings are equal, so that any may be called the best: the first is left out in at most one of 20."""
    random = np.random.default_rng(0)
    searches, missed = 600, 0
    for _ in range(searches):
        images, seeds = random.normal(0, 1, (1, 1, 80)), random.normal(0, 0.1, (8, 3, 1))
        answers = (images + seeds + random.normal(0, 1, (8, 3, 80)) > -1).astype(float)
        found = recommend(
            [tried(n, one, temperature=n + 1.0) for n, one in enumerate(answers)], "val_accuracy", SPACE, PRESENT
        )
        missed += 0 not in found.alike
    assert missed / searches < 0.05 + 3 * np.sqrt(0.05 * 0.95 / searches)


def test_simplest_has_fewest_changes_then_is_nearest_then_has_the_lower_values():
    answers = np.random.default_rng(0).random((3, 50)).round()
    settings = [
        {"temperature": 8.0, "alpha": 0.5},
        {"temperature": 2.0, "method": "dkd"},
        {"temperature": 8.0},
        {"temperature": 5.0},
        {"temperature": 3.2},  # as far from 4 as 5 is, on a logarithmic scale
        {"alpha": 0.5},
    ]
    for order in itertools.permutations(range(6), 6):
        trials = [tried(number, answers, **settings[index]) for number, index in enumerate(order)]
        found = recommend(trials, "val_accuracy", SPACE, PRESENT)
        assert found.alike == set(range(6))
        assert found.trial.setting == PRESENT | {"distill.temperature": 3.2}
        assert found.best.number == 0
    unchanged = tried(9, answers)
    assert recommend([*trials, unchanged], "val_accuracy", SPACE, PRESENT).trial is unchanged


def test_a_loss_is_better_where_it_is_lower():
    random = np.random.default_rng(0)
    losses = random.gamma(1, 0.1, (4, 200))
    trials = [tried(number, losses + more) for number, more in enumerate((0.02, 0.0, 0.01))]
    found = recommend(trials, "val_loss", SPACE, PRESENT)
    assert (found.best.number, found.alike) == (1, {1})
    assert recommend(trials, "val_accuracy", SPACE, PRESENT).best.number == 0


def test_trials_that_are_not_complete_are_never_recommended(tmp_path):
    worse = np.zeros((2, 40))
    trials = [tried(0, worse, "failed"), tried(1, worse, "pruned"), tried(2, worse, temperature=9.0)]
    assert recommend(trials[:2], "val_accuracy", SPACE, PRESENT) is None
    assert recommend(trials, "val_accuracy", SPACE, PRESENT).trial.number == 2
    table = result_table(trials, recommend(trials, "val_accuracy", SPACE, PRESENT), "val_accuracy")
    assert list(table.state) == ["failed", "pruned", "complete"]
    assert list(table.recommended) == [False, False, True]
    paths = write_result(tmp_path, trials[:2], None, "val_accuracy", SPACE, {"name": "s"})
    assert [path.name for path in paths] == ["search.csv", "search.json"]


def test_one_seed_is_said_to_show_no_spread():
    random = np.random.default_rng(0)
    for seeds, said in ((1, "one seed shows no spread"), (3, "the best of many looks better than it is")):
        trials = [tried(number, random.random((seeds, 30)).round()) for number in range(3)]
        found = recommend(trials, "val_accuracy", SPACE, PRESENT)
        lines = "\n".join(conclusion(found, trials, "val_accuracy", PRESENT))
        assert said in lines
        assert ("±" in lines) == (seeds > 1)
        assert "(as in params.yaml)" in lines


def search(count: int, metric: str) -> list[Tried]:
    """Trials in which the temperature decides, and alpha does not matter."""
    random = np.random.default_rng(0)
    found = []
    for number in range(count):
        setting = draw(SPACE, "random", 0, number, [], "maximize")
        far = abs(np.log(setting["distill.temperature"] / 5))
        answers = (random.random((3, 300)) < 0.97 - 0.1 * far).astype(float)
        answers = answers if metric == "val_accuracy" else 0.1 + 0.1 * far + 0.01 * random.random((3, 300))
        found.append(Tried(number, f"s-{number:04d}", setting, "complete", "", float(answers.mean()), answers))
    return found


@pytest.mark.parametrize("metric", ["val_accuracy", "val_loss"])
def test_table_json_and_figure_hold_the_trials(tmp_path, metric):
    trials = search(14, metric)
    found = recommend(trials, metric, SPACE, PRESENT)
    paths = write_result(tmp_path, trials, found, metric, SPACE, {"name": "s", "seed": 0})
    table = pd.read_csv(paths[0])
    np.testing.assert_allclose(table[metric], [one.value for one in trials])
    np.testing.assert_allclose(table[f"{metric}_std"], [np.std(one.answers.mean(axis=1), ddof=1) for one in trials])
    assert set(table.trial[table.alike]) == found.alike
    tree = json.loads(paths[1].read_text())
    assert tree["result"]["setting"] == found.trial.setting
    assert [one["setting"] for one in tree["trials"]] == [one.setting for one in trials]
    with Image.open(paths[2]) as picture:
        assert min(picture.size) > 300
    important = importances(trials, metric, SPACE)
    assert max(important, key=important.get) == "distill.temperature"
    assert importances(trials[:9], metric, SPACE) == {}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("student.weight_decay=1e-5..1e-1 log", (1e-4, 1e-2)),  # it is 0 now
        ("student.augment.mixup=0.1..1 log", (0.2, 0.5)),
        ("transfer.top_classes=2..9", (2, 7)),  # null
        ("student.input_size=16..32", (20, 24)),  # auto
    ],
)
def test_recommends_though_the_present_value_has_no_place_in_the_range(text, values):
    space, key = Space([text], TREE), text.partition("=")[0]
    answers = np.random.default_rng(0).normal(0.9, 0.1, (3, 50))
    trials = [
        Tried(number, f"s-{number}", {key: value}, "complete", "", 0.9, answers) for number, value in enumerate(values)
    ]
    found = recommend(trials, "val_accuracy", space, space.present)
    assert found.trial.setting == {key: values[0]}
    assert conclusion(found, trials, "val_accuracy", space.present)
