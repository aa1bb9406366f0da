"""Figures over several experiments: every preset's gain, and temperature against alpha."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from distillery.figures import COLOURS, GAIN, HEAT, LOSS, MARKERS, UNDECIDED, new_figure, own_style, text_colours

TICKS = (-50, -20, -10, -5, -2, -1, -0.5, 0, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
PANELS = {  # of the heat maps: factor, title, format of the numbers
    "val_accuracy": (100, "accuracy on validation (%)", ".2f"),
    "gain_points": (1, "gain over the same recipe on the test set (points)", "+.2f"),
}
CELL = 0.62, 0.36  # inches, of a heat map


def gains(headlines: Mapping[str, Mapping]) -> Figure:
    """Draw the errors of the three models of every preset, and what distilling gained with its interval.

    Args:
        headlines: by preset, what stands in `metrics/evaluate.json`.
    """
    rows = np.arange(len(headlines))
    with own_style():
        title = "Every preset, from its real run"
        figure = new_figure((9.6, 0.5 * len(rows)), left=1.4, bottom=0.95, top=0.6, title=title)
        left, right = figure.subplots(1, 2, sharey=True, gridspec_kw={"wspace": 0.06})
        _draw_errors(left, headlines)
        for row, headline in zip(rows, headlines.values(), strict=True):
            _draw_gain(right, row, headline["gain"])
        right.axvline(0, color="black", linewidth=1)
        right.set_xscale("symlog", linthresh=1)
        right.margins(x=0.09)  # for the numbers at the edges
        right.set_xlabel("gain over plain training (percentage points)\nlines: 95 % interval")
        right.set_title("What distilling gained")
        left.set_yticks(rows, list(headlines))
        left.set_ylim(len(rows) - 0.4, -0.7)  # the first preset on top
        for axis in (left, right):
            _ticks(axis)
        handles = [
            Line2D([], [], color=COLOURS[role], marker=MARKERS[role], linestyle="", label=role) for role in MARKERS
        ]
        figure.legend(handles=handles, loc="lower center", ncols=3)
    return figure


def _draw_errors(axis: Axes, headlines: Mapping[str, Mapping]) -> None:
    """Draw a point per model, one below the other: equal errors would hide each other."""
    several = False
    for place, role in zip((-0.22, 0, 0.22), MARKERS, strict=True):
        for row, headline in enumerate(headlines.values()):
            errors, spread = 100 * (1 - headline[role]["accuracy"]), 100 * headline[role].get("accuracy_std", 0)
            axis.plot(errors, row + place, MARKERS[role], color=COLOURS[role], markersize=6)
            if spread > 0:
                several = True
                axis.errorbar(errors, row + place, xerr=spread, fmt="none", ecolor=COLOURS[role], capsize=3)
    axis.set_xscale("log")
    axis.set_xlabel(
        "errors on the test set (%)" + ("\nwhiskers: ± one standard deviation over seeds" if several else "")
    )
    axis.set_title("Errors")


def _draw_gain(axis: Axes, row: int, gain: Mapping[str, float]) -> None:
    colour = GAIN if gain["ci_low"] > 0 else LOSS if gain["ci_high"] < 0 else UNDECIDED
    axis.plot([gain["ci_low"], gain["ci_high"]], [row, row], color=colour, linewidth=3)
    axis.plot(gain["points"], row, "o", color=colour, markersize=8)
    place = {"xytext": (0, 7), "textcoords": "offset points", "ha": "center", "fontsize": 8}
    axis.annotate(f"{gain['points']:+.2f}", (gain["points"], row), **place)


def _ticks(axis: Axes) -> None:
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
    columns, lines = frame.temperature.nunique(), frame.alpha.nunique()
    size = 2 * max(CELL[0] * columns, 3.2) + 0.2, max(CELL[1] * lines, 0.9)
    with own_style(title=title) as labels:
        figure = new_figure(size, left=0.7, bottom=0.5, top=0.6, title=labels.title)
        axes = figure.subplots(1, 2, sharey=True, gridspec_kw={"wspace": 0.06})
        for axis, (key, (factor, label, form)) in zip(axes, PANELS.items(), strict=True):
            _draw_heat(axis, factor * frame.pivot_table(index="alpha", columns="temperature", values=key), form)
            axis.set(xlabel="temperature", title=label)
        axes[0].set_ylabel("alpha (weight of the labels)")
    return figure


def _draw_heat(axis: Axes, values: pd.DataFrame, form: str) -> None:
    """Draw a table's numbers on their colours; a pair that is missing is white."""
    table = values.to_numpy()
    spread = max(np.nanmax(table) - np.nanmin(table), 1e-9)
    scale = Normalize(np.nanmin(table), np.nanmin(table) + spread)
    axis.imshow(table, cmap=HEAT, norm=scale, aspect="auto")
    axis.grid(visible=False)
    shades = text_colours(matplotlib.colormaps[HEAT](scale(table))[..., :3])
    for row, column in np.argwhere(~np.isnan(table)):
        number, shade = format(table[row, column], form), shades[row, column]
        axis.text(column, row, number, ha="center", va="center", color=shade, fontsize=8)
    axis.set_xticks(range(len(values.columns)), [f"{value:g}" for value in values.columns])
    axis.set_yticks(range(len(values.index)), [f"{value:g}" for value in values.index])
