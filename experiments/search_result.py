"""What a search ends with: the setting to take, its table and its figure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import optuna
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from scipy.special import stdtrit

from distillery.data.files import write_json
from distillery.data.tables import write_table
from distillery.evaluation.comparison import standard_error
from distillery.figures import HEAT, new_figure, own_style, save_figure
from distillery.learning.metrics import spread
from experiments.search_space import Dimension, Range, Setting, Space

RISK = 0.05  # of leaving the best setting out of those that cannot be told from it
HIGHER_IS_BETTER = {"val_accuracy": True, "val_loss": False}
FACTORS = {"val_accuracy": 100, "val_loss": 1}
TITLES = {"val_accuracy": "accuracy on validation images (%)", "val_loss": "loss on validation images (nats)"}
IMPORTANCE_TRIALS = 10  # fewer say nothing of a parameter's importance
PANEL, ACROSS = (3.1, 2.3), 3  # inches; panels beside each other
LOOKS = {  # of a trial: colour of Okabe & Ito's palette, marker, size
    "recommended": ("#D55E00", "*", 13),
    "not told from the best": ("#0072B2", "o", 6),
    "worse": ("#777777", "x", 5),
}


@dataclass(frozen=True)
class Tried:
    """A trial that is over.

    Attributes:
        number: of the trial.
        name: of its DVC experiment; empty where it has none: it is not complete, or repeats another trial.
        setting: the values of the parameters that vary.
        state: `complete`, `pruned` or `failed`.
        reason: why it is not complete, or which trial it repeats.
        value: the metric, a mean over the seeds; None where it is not complete.
        answers: of each seed's student on each validation image, (seeds, n): 1 for correct, or the loss.
    """

    number: int
    name: str
    setting: Setting
    state: str
    reason: str = ""
    value: float | None = None
    answers: np.ndarray | None = field(default=None, repr=False)

    @property
    def by_seed(self) -> list[float]:
        """The metric of each seed's student."""
        return [] if self.answers is None else self.answers.mean(axis=1).tolist()


@dataclass(frozen=True)
class Recommendation:
    """The setting to take.

    Attributes:
        best: the trial with the best value.
        alike: those that cannot be told from it, itself among them, by their number.
        trial: the simplest of those.
    """

    best: Tried
    alike: set[int]
    trial: Tried


def recommend(tried: Sequence[Tried], metric: str, space: Space, present: Setting) -> Recommendation | None:
    """Return the setting to take: the simplest of those that cannot be told from the best.

    The best of many trials is best by luck, too. So each is compared with it, image by image and seed by seed, with the
    error of `distillery.evaluation.comparison.standard_error`. A setting is worse where the lower end of the one-sided
    interval of its distance from the best, Student's t, is above 0. With m others each interval has the level
    1 - 0.05 / m: the settings that are left hold the best of those tried with a probability of at least 95 % (multiple
    comparisons with the best: Hsu 1981, doi 10.1214/aos/1176345582; the bound is Bonferroni's).

    The simplest is the one with the fewest parameters that differ from those in `params.yaml`; of several the nearest,
    each parameter measured as part of its range, and of a logarithm's where the range has one; then that with the lower
    values; then the earlier trial.

    Args:
        tried: trials that are over.
        metric: `val_accuracy` or `val_loss`.
        space: of the search.
        present: the values of the parameters now.

    Returns:
        None where no trial is complete.
    """
    complete = completed(tried)
    if not complete:
        return None
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    best = max(complete, key=lambda one: (sign * one.value, -one.number))
    others = {one.number: sign * (best.answers - one.answers) for one in complete if one is not best}
    alike = {number for number, apart in others.items() if not is_worse(apart, len(others))} | {best.number}
    order = {one.key: number for number, one in enumerate(space.dimensions)}

    def simplicity(one: Tried) -> tuple:
        changes, far = space.distance(one.setting, present)
        values = [
            (value is not None, value) if isinstance(value, int | float) else (False, 0)
            for value in (one.setting[key] for key in order)
        ]
        return changes, round(far, 9), values, one.number

    return Recommendation(best, alike, min((one for one in complete if one.number in alike), key=simplicity))


def completed(tried: Sequence[Tried]) -> list[Tried]:
    """Return the trials that are complete and repeat no other."""
    return [one for one in tried if one.state == "complete" and one.name]


def is_worse(apart: np.ndarray, comparisons: int) -> bool:
    """Return whether a setting is worse than the best one, at the level of one of so many comparisons.

    Args:
        apart: how much better the best one is, (seeds, n), paired by seed and image.
        comparisons: with the best one.
    """
    error, degrees = standard_error(apart)
    mean = float(apart.mean())
    return mean - (float(stdtrit(degrees, 1 - RISK / comparisons)) * error if error > 0 else 0.0) > 0


def shown_value(value: float, metric: str) -> str:
    """Return a value of the metric with its unit."""
    return f"{100 * value:.2f} %" if metric == "val_accuracy" else f"{value:.4f} nats"


def shown_setting(setting: Mapping[str, Any]) -> str:
    """Return a setting as the command line takes it."""
    return " ".join(f"{key}={_text(value)}" for key, value in setting.items())


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower().replace("none", "null")
    return f"{value:g}" if isinstance(value, float) else str(value)


def conclusion(found: Recommendation, tried: Sequence[Tried], metric: str, present: Setting) -> list[str]:
    """Return what a person is told at the end, line by line."""
    trial, best = found.trial, found.best
    seeds, images = trial.answers.shape
    std = f" ± {shown_value(spread(trial.by_seed), metric)} over {seeds} seeds" if seeds > 1 else ", one seed"
    now = " (as in params.yaml)" if trial.setting == present else ""
    lines = [
        f"recommended: {shown_setting(trial.setting)}{now}",
        f"    {metric} {shown_value(trial.value, metric)}{std}, {images:,} validation images, trial {trial.number}",
    ]
    if best is not trial:
        lines.append(
            f"    best of all: {shown_setting(best.setting)}: {shown_value(best.value, metric)}, not told apart"
        )
    complete = len(completed(tried))
    if others := len(found.alike) - 1:
        lines.append(
            f"    {len(found.alike)} of {complete} settings cannot be told from the best; of these it is the simplest:"
            " the nearest to params.yaml"
        )
    elif complete > 1:
        lines.append(f"    the {complete - 1} others are worse, with 95 % confidence for all together")
    if seeds == 1:
        lines.append("    one seed shows no spread: another seed may order the settings otherwise; see student.seeds")
    elif others or complete > 1:
        lines.append("    the best of many looks better than it is; the test set, not yet opened, tells by how much")
    return lines


def result_table(tried: Sequence[Tried], found: Recommendation | None, metric: str) -> pd.DataFrame:
    """Return a row per trial: its number, experiment, state, setting, metric, and what is recommended."""
    rows = []
    for one in tried:
        by_seed = one.by_seed
        rows.append(
            {"trial": one.number, "experiment": one.name, "state": one.state}
            | one.setting
            | {
                metric: one.value,
                f"{metric}_std": spread(by_seed) if len(by_seed) > 1 else None,
                "alike": found is not None and one.number in found.alike,
                "recommended": found is not None and one.number == found.trial.number,
                "reason": one.reason,
            }
        )
    return pd.DataFrame(rows)


def write_result(
    folder: Path,
    tried: Sequence[Tried],
    found: Recommendation | None,
    metric: str,
    space: Space,
    about: Mapping[str, Any],
) -> list[Path]:
    """Write `search.csv`, `search.json` and, where a trial is complete, `search.png`, and return their paths.

    Args:
        folder: of the search.
        tried: trials that are over.
        found: the recommendation.
        metric: `val_accuracy` or `val_loss`.
        space: of the search.
        about: the search: its name, space, sampler, seed.
    """
    paths = [folder / "search.csv", folder / "search.json"]
    write_table(paths[0], result_table(tried, found, metric))
    trials = [
        {
            "trial": one.number,
            "experiment": one.name or None,
            "state": one.state,
            "reason": one.reason,
            "setting": one.setting,
            metric: one.value,
            "by_seed": one.by_seed,
        }
        for one in tried
    ]
    chosen = found and {
        "recommended": found.trial.number,
        "best": found.best.number,
        "alike": sorted(found.alike),
        "setting": found.trial.setting,
    }
    write_json(paths[1], dict(about) | {"result": chosen, "trials": trials})
    if found:
        paths.append(folder / "search.png")
        save_figure(search_figure(tried, found, metric, space, about["name"]), paths[-1])
    return paths


def importances(tried: Sequence[Tried], metric: str, space: Space) -> dict[str, float]:
    """Return how much of the metric's variance each parameter explains; nothing where there are too few trials."""
    complete = completed(tried)
    varied = [one.key for one in space.dimensions if len({repr(trial.setting[one.key]) for trial in complete}) > 1]
    if len(complete) < IMPORTANCE_TRIALS or len(varied) < 2 or len({one.value for one in complete}) < 2:
        return {}
    study = optuna.create_study(direction="maximize" if HIGHER_IS_BETTER[metric] else "minimize")
    for one in complete:
        study.add_trial(
            optuna.trial.create_trial(params=one.setting, distributions=space.distributions, value=one.value)
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return optuna.importance.get_param_importances(study, evaluator=evaluator, params=varied)


def search_figure(tried: Sequence[Tried], found: Recommendation, metric: str, space: Space, name: str) -> Figure:
    """Draw each parameter against the metric; of several also all together, and how much each matters."""
    complete = completed(tried)
    several, important = len(space.dimensions) > 1, importances(tried, metric, space)
    extra = int(several) + int(bool(important))
    across = 2 if len(space.dimensions) == 4 else min(ACROSS, max(len(space.dimensions), extra))
    rows = math.ceil(len(space.dimensions) / across)
    lines = rows + bool(extra)
    wide = 1.5 if across == 1 else 1.0  # room for the legend
    size = (wide * PANEL[0] * across + 0.9 * (across - 1), PANEL[1] * lines + 0.95 * (lines - 1))
    title = f"{name}: {len(complete)} settings"
    with own_style(title=title) as labels:
        figure = new_figure(size, left=0.8, bottom=1.05, top=0.5, right=0.35, title=labels.title)
        spaces = {"wspace": 0.9 / PANEL[0], "hspace": 0.95 / PANEL[1]}
        grid = figure.add_gridspec(lines, across, **spaces)
        for number, dimension in enumerate(space.dimensions):
            axis = figure.add_subplot(grid[divmod(number, across)])
            _draw_slice(axis, dimension, complete, found, metric)
            if number % across == 0:
                axis.set_ylabel(TITLES[metric])
        if several:
            left = figure.add_subplot(grid[rows, : across - bool(important)])
            _draw_parallel(figure, left, space, complete, found, metric)
        if important:
            _draw_importances(figure.add_subplot(grid[rows, across - 1]), important)
        handles = [
            Line2D([], [], color=colour, marker=marker, markersize=min(size, 10), linestyle="", label=look)
            for look, (colour, marker, size) in LOOKS.items()
        ]
        figure.legend(handles=handles, loc="lower center", ncols=3)
    return figure


def _look(one: Tried, found: Recommendation) -> str:
    if one.number == found.trial.number:
        return "recommended"
    return "not told from the best" if one.number in found.alike else "worse"


def _draw_slice(
    axis: Axes, dimension: Dimension, complete: Sequence[Tried], found: Recommendation, metric: str
) -> None:
    """Draw the metric of every trial against a parameter; whiskers are one standard deviation over the seeds."""
    places = _places(dimension)
    several = False
    for one in sorted(complete, key=lambda trial: _look(trial, found) == "recommended"):  # on top
        colour, marker, size = LOOKS[_look(one, found)]
        by_seed = one.by_seed
        std = spread(by_seed) if len(by_seed) > 1 else 0.0
        several |= len(by_seed) > 1
        axis.errorbar(
            places(one.setting[dimension.key]),
            FACTORS[metric] * one.value,
            yerr=FACTORS[metric] * std,
            fmt=marker,
            color=colour,
            markersize=size,
            elinewidth=1,
            capsize=2,
        )
    note = "\nwhiskers: ± one standard deviation over seeds" if several else ""
    axis.set_xlabel(f"{dimension.key}{note}")
    if isinstance(dimension, Range):
        if dimension.log:
            _log_axis(axis)
        axis.set_xlim(*_wider(dimension))
    else:
        axis.set_xticks(range(len(dimension.choices)), [_text(value) for value in dimension.choices])
        axis.set_xlim(-0.5, len(dimension.choices) - 0.5)


def _wider(dimension: Range) -> tuple[float, float]:
    """Return the ends of an axis on which the whole range and its markers have room."""
    low, high = dimension.low, dimension.high
    if low == high:
        return (0.9 * low, 1.1 * high) if dimension.log else (low - 0.5, high + 0.5)
    if dimension.log:
        return low * (low / high) ** 0.05, high * (high / low) ** 0.05
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def _log_axis(axis: Axes) -> None:
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def _places(dimension: Dimension):
    """Return where a value stands on its axis: a number at itself, a choice at its place in the list."""
    if isinstance(dimension, Range):
        return lambda value: value
    return dimension.choices.index


def _height(dimension: Dimension, value: Any) -> float:
    """Return where a value stands between 0 and 1."""
    if isinstance(dimension, Range):
        return dimension.distance(value, dimension.low)
    return dimension.choices.index(value) / max(1, len(dimension.choices) - 1)


def _draw_parallel(
    figure: Figure, axis: Axes, space: Space, complete: Sequence[Tried], found: Recommendation, metric: str
) -> None:
    """Draw a line per trial through its values, in the color of its metric; the recommended one is dashed."""
    values = np.array([FACTORS[metric] * one.value for one in complete])
    scale = Normalize(values.min(), max(values.max(), values.min() + 1e-9))
    colours = matplotlib.colormaps[HEAT if HIGHER_IS_BETTER[metric] else HEAT.removesuffix("_r")]
    for one, value in sorted(zip(complete, values, strict=True), key=lambda pair: pair[0] is found.trial):
        heights = [_height(dimension, one.setting[dimension.key]) for dimension in space.dimensions]
        axis.plot(heights, color=colours(scale(value)), linewidth=1.5, alpha=0.9)
        if one is found.trial:
            colour, marker, size = LOOKS["recommended"]
            axis.plot(heights, color=colour, marker=marker, markersize=size - 3, linewidth=2, linestyle="--")
    for place, dimension in enumerate(space.dimensions):
        axis.axvline(place, color="black", linewidth=0.8)
        ends = (dimension.low, dimension.high) if isinstance(dimension, Range) else dimension.choices
        for value in ends:
            where = (place, _height(dimension, value))
            ground = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8}
            place_of = {"xytext": (5, 0), "textcoords": "offset points", "va": "center", "fontsize": 8}
            axis.annotate(_text(value), where, **place_of, bbox=ground, zorder=5)
    names = [one.key.replace(".", ".\n", 1) if len(space.dimensions) > 3 else one.key for one in space.dimensions]
    axis.set_xticks(range(len(names)), names)
    axis.set_yticks([])
    axis.grid(visible=False)
    axis.set_xlim(-0.1, 1.25 * (len(names) - 1))  # room for the last ones' numbers
    axis.set_ylim(-0.07, 1.07)
    axis.set_title("All parameters of each trial")
    figure.colorbar(matplotlib.cm.ScalarMappable(scale, colours), ax=axis, label=TITLES[metric], pad=0.02)


def _draw_importances(axis: Axes, important: Mapping[str, float]) -> None:
    names = list(important)[::-1]
    axis.barh(range(len(names)), [100 * important[name] for name in names], color="#56B4E9")
    axis.set_yticks([])
    for place, name in enumerate(names):  # in the bar's place: names are long
        axis.annotate(name, (0, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axis.set_xlim(0, 100)
    axis.set_xlabel("part of the metric's variance (%)")
    axis.set_title("Importance (fANOVA)")
