"""Figures over several experiments: every preset's gain, and temperature against alpha."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from distillery.figures import COLOURS, GAIN, HEAT, LOSS

TICKS = (-20, -10, -5, -2, -1, -0.5, 0, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
MARKERS = {"teacher": "o", "distilled": "s", "scratch": "D"}
UNDECIDED = "#777777"
PANELS = {  # of the heat maps: factor, title, format of the numbers
    "val_accuracy": (100, "accuracy on validation (%)", ".2f"),
    "gain_points": (1, "gain over scratch on the test set (points)", "+.2f"),
}


def gains(headlines: Mapping[str, Mapping]) -> Figure:
    """Draw the errors of the three models of every preset, and what distilling gained with its interval.

    Args:
        headlines: by preset, what stands in `metrics/evaluate.json`.
    """
    names = list(headlines)[::-1]
    rows = np.arange(len(names))
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 0.55 * len(names) + 2.2), sharey=True, layout="constrained")
    for role, marker in MARKERS.items():
        errors = [100 * (1 - headlines[name][role]["accuracy"]) for name in names]
        spread = [100 * headlines[name][role].get("accuracy_std", 0) for name in names]
        left.errorbar(errors, rows, xerr=spread, fmt=marker, color=COLOURS[role], label=role, markersize=8, capsize=3)
    left.set(xscale="log", xlabel="errors on the test set (%)\nwhiskers: ± one standard deviation over seeds")
    left.set_yticks(rows, names)
    left.set_title("Errors")
    left.legend(loc="best")
    for row, name in zip(rows, names, strict=True):
        _draw_gain(right, row, headlines[name]["gain"])
    right.axvline(0, color="black", linewidth=1)
    right.set_xscale("symlog", linthresh=1)
    right.margins(x=0.09)  # for the numbers at the edges
    right.set_xlabel("gain of distilled over scratch (percentage points)\nbars: 95 % interval")
    right.set_title("What distilling gained")
    right.set_ylim(-0.6, len(names) - 0.3)
    for axis in (left, right):
        _ticks(axis)
    figure.suptitle("Every preset, from its real run")
    return figure


def _draw_gain(axis: plt.Axes, row: int, gain: Mapping[str, float]) -> None:
    colour = GAIN if gain["ci_low"] > 0 else LOSS if gain["ci_high"] < 0 else UNDECIDED
    axis.plot([gain["ci_low"], gain["ci_high"]], [row, row], color=colour, linewidth=3)
    axis.plot(gain["points"], row, "o", color=colour, markersize=8)
    place = {"xytext": (0, 8), "textcoords": "offset points", "ha": "center"}
    axis.annotate(f"{gain['points']:+.2f}", (gain["points"], row), **place)


def _ticks(axis: plt.Axes) -> None:
    """Set round numbers where the axis has room for them; matplotlib itself marks powers of ten alone."""
    low, high = axis.get_xlim()
    places = [value for value in TICKS if low <= value <= high]
    axis.set_xticks(places, [f"{value:g}" for value in places])
    axis.set_xticks([], minor=True)


def temperature_and_alpha(rows: Sequence[Mapping[str, float]], title: str) -> Figure:
    """Draw heat maps of distillation's temperature against alpha: accuracy on validation, gain on the test set.

    Args:
        rows: one per pair, with temperature, alpha, val_accuracy and gain_points.
        title: the title.
    """
    frame = pd.DataFrame(rows)
    size = 2 * (frame.temperature.nunique() + 2.4), 0.7 * frame.alpha.nunique() + 2.2
    figure, axes = plt.subplots(1, 2, figsize=size, layout="constrained")
    for axis, (key, (factor, label, form)) in zip(axes, PANELS.items(), strict=True):
        values = factor * frame.pivot_table(index="alpha", columns="temperature", values=key)
        sns.heatmap(
            values,
            ax=axis,
            cmap=HEAT,
            annot=True,
            fmt=form,
            xticklabels=[f"{value:g}" for value in values.columns],
            yticklabels=[f"{value:g}" for value in values.index],
        )
        axis.tick_params(axis="y", rotation=0)
        axis.set(xlabel="temperature", ylabel="alpha (weight of the labels)", title=label)
    figure.suptitle(title)
    return figure
