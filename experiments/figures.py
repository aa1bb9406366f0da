"""Figures over several experiments: every preset's gain, and temperature against alpha."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from distillery.figures import COLOURS, GAIN, HEAT, LOSS

TICKS = (-20, -10, -5, -2, -1, -0.5, 0, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def gains(headlines: Mapping[str, Mapping]) -> Figure:
    """Accuracy of the three models of every preset, and what distilling gained with its interval.

    Args:
        headlines: by preset, what stands in `metrics/evaluate.json`.
    """
    names = list(headlines)[::-1]
    rows = np.arange(len(names))
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 0.55 * len(names) + 2.2), sharey=True, layout="constrained")
    for kind, marker in (("teacher", "o"), ("distilled", "s"), ("scratch", "D")):
        values = [100 * (1 - headlines[name][kind]["accuracy"]) for name in names]
        spread = [100 * headlines[name][kind].get("accuracy_std", 0) for name in names]
        left.errorbar(values, rows, xerr=spread, fmt=marker, color=COLOURS[kind], label=kind, markersize=8, capsize=3)
    left.set_xscale("log")
    _ticks(left)
    left.set_xlabel("errors on the test set (%)\nwhiskers: ± one standard deviation over seeds")
    left.set_yticks(rows, names)
    left.set_title("Errors")
    left.legend(loc="best")
    for row, name in zip(rows, names, strict=True):
        gain = headlines[name]["gain"]
        colour = GAIN if gain["ci_low"] > 0 else LOSS if gain["ci_high"] < 0 else "#777777"
        right.plot([gain["ci_low"], gain["ci_high"]], [row, row], color=colour, linewidth=3)
        right.plot(gain["points"], row, "o", color=colour, markersize=8)
        right.annotate(
            f"{gain['points']:+.2f}", (gain["points"], row), xytext=(0, 8), textcoords="offset points", ha="center"
        )
    right.axvline(0, color="black", linewidth=1)
    right.set_xscale("symlog", linthresh=1)
    right.margins(x=0.09)  # for the numbers at the edges
    _ticks(right)
    right.set_xlabel("gain of distilled over scratch (percentage points)\nbars: 95 % interval")
    right.set_title("What distilling gained")
    right.set_ylim(-0.6, len(names) - 0.3)
    figure.suptitle("Every preset, from its real run")
    return figure


def _ticks(axis: plt.Axes) -> None:
    """Round numbers where the axis has room for them; matplotlib itself marks powers of ten alone."""
    low, high = axis.get_xlim()
    places = [value for value in TICKS if low <= value <= high]
    axis.set_xticks(places, [f"{value:g}" for value in places])
    axis.set_xticks([], minor=True)


def temperature_and_alpha(rows: Sequence[Mapping[str, float]], title: str) -> Figure:
    """Heat maps of distillation's temperature against alpha: accuracy on validation, gain on the test set.

    Args:
        rows: one a pair, with temperature, alpha, val_accuracy and gain_points.
        title: the title.
    """
    temperatures, alphas = (sorted({row[key] for row in rows}) for key in ("temperature", "alpha"))
    figure, axes = plt.subplots(
        1, 2, figsize=(2 * (1.0 * len(temperatures) + 2.4), 0.7 * len(alphas) + 2.2), layout="constrained"
    )
    panels = (
        ("val_accuracy", 100, "accuracy on validation (%)", "{:.2f}"),
        ("gain_points", 1, "gain over scratch on the test set (points)", "{:+.2f}"),
    )
    for axis, (key, scale, label, form) in zip(axes, panels, strict=True):
        values = np.full((len(alphas), len(temperatures)), np.nan)
        for row in rows:
            values[alphas.index(row["alpha"]), temperatures.index(row["temperature"])] = scale * row[key]
        image = axis.imshow(values, cmap=HEAT, aspect="auto")
        middle = (np.nanmin(values) + np.nanmax(values)) / 2
        for row, column in np.argwhere(np.isfinite(values)):
            value = values[row, column]
            axis.text(
                column, row, form.format(value), ha="center", va="center", color="white" if value < middle else "black"
            )
        axis.set_xticks(range(len(temperatures)), [f"{value:g}" for value in temperatures])
        axis.set_yticks(range(len(alphas)), [f"{value:g}" for value in alphas])
        axis.grid(False)
        axis.set_xlabel("temperature")
        axis.set_ylabel("alpha (weight of the labels)")
        axis.set_title(label)
        figure.colorbar(image, ax=axis)
    figure.suptitle(title)
    return figure
