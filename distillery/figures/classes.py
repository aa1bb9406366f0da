"""Figures with a row per class; of many classes, those that matter."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from distillery.figures.labels import Labels, width
from distillery.figures.style import GAIN, LOSS, annotated, colour, marker, new_figure, own_style

ROWS = 30  # the most that are drawn: more cannot be read, and stand in metrics/per_class.json
NAME_SIZE = 8  # points
PARTS = ("#4D4D4D", "#E69F00", "#56B4E9")  # of a data set


def per_class_accuracy(
    accuracy: Mapping[str, Sequence[float]],
    classes: Sequence[str],
    where: str = "test set",
    intervals: Mapping[str, np.ndarray] | None = None,
) -> Figure:
    """Draw the accuracy per class of each model as points, one row per class, the hardest class on top.

    Args:
        accuracy: by model, one value per class, 0 to 1; a class without images, NaN for every model, is not drawn.
        classes: names.
        where: on which images.
        intervals: by model, (2, classes): the ends of 95 % intervals, which are drawn where they are given.
    """
    values = 100 * np.array([list(row) for row in accuracy.values()], dtype=float)
    drawn = np.flatnonzero(~np.isnan(values).all(axis=0))
    order = drawn[np.argsort(np.nanmean(values[:, drawn], axis=0), kind="stable")]
    shown = order[:ROWS]
    values = values[:, shown]
    part = "per class" if len(shown) == len(order) else f"of the {ROWS} hardest of {len(order):,} classes"
    with own_style(classes) as labels:
        figure, axis, rows = _rows(labels, shown, f"Accuracy {part}")
        # One below the other: equal accuracies would hide each other.
        places = np.linspace(-0.24, 0.24, len(accuracy)) if len(accuracy) > 1 else [0]
        for model, row, place in zip(accuracy, values, places, strict=True):
            if intervals:
                axis.hlines(rows + place, *(100 * intervals[model][:, shown]), color=colour(model), lw=1, alpha=0.6)
            axis.plot(row, rows + place, marker(model), color=colour(model), markersize=4.5)
        axis.margins(x=0.06)
        axis.xaxis.set_major_locator(MaxNLocator(6))
        note = "; lines: 95 % intervals" if intervals else ""
        axis.set_xlabel(annotated(f"accuracy on the {where} (%){note}", labels))
        handles = [
            Line2D([], [], color=colour(model), marker=marker(model), linestyle="", label=model) for model in accuracy
        ]
        _legend(figure, handles)
    return figure


def per_class_gain(gain: Sequence[float], classes: Sequence[str]) -> Figure:
    """Draw what distillation gained in each class over training from scratch, the largest gain on top.

    Args:
        gain: percentage points, one value per class; NaN for a class without images, which is not drawn.
        classes: names.
    """
    gain = np.asarray(gain, dtype=float) + 0.0  # no gain is 0, never -0
    drawn = np.flatnonzero(~np.isnan(gain))
    order = drawn[np.argsort(gain[drawn], kind="stable")[::-1]]
    shown = _both_ends(order)
    values = gain[shown]
    part = "per class" if len(shown) == len(order) else f"top and bottom {ROWS // 2} of {len(order):,} classes"
    with own_style(classes) as labels:
        figure, axis, rows = _rows(labels, shown, f"Gain of distilling over training from scratch, {part}")
        bars = axis.barh(rows, values, height=0.7, color=[GAIN if value >= 0 else LOSS for value in values])
        axis.bar_label(bars, [f"{value:+.2f}" for value in values], padding=3, fontsize=8)
        axis.axvline(0, color="black", linewidth=1)
        low, high = min(0, float(values.min(initial=0))), max(0, float(values.max(initial=0)))
        room = 0.18 * max(high - low, 0.1)  # for the numbers
        axis.set_xlim(low - room, high + room)
        axis.xaxis.set_major_locator(MaxNLocator(6))
        axis.set_xlabel(annotated("accuracy gained on the test set (percentage points)", labels))
    return figure


def class_balance(counts: Mapping[str, Sequence[int]], classes: Sequence[str]) -> Figure:
    """Draw the number of images per class in each part of the data set.

    Args:
        counts: by part (train, validation, test), one value per class.
        classes: names.
    """
    images = np.array(list(counts.values()))
    shown = np.arange(len(classes))
    if len(classes) > ROWS:
        shown = _both_ends(np.argsort(images.sum(axis=0), kind="stable")[::-1])
    part = "" if len(shown) == len(classes) else f", the largest and smallest {ROWS // 2} of {len(classes):,}"
    with own_style(classes) as labels:
        figure, axis, rows = _rows(labels, shown, f"Images per class{part}")
        left = np.zeros(len(shown))
        for part, values, shade in zip(counts, images[:, shown], PARTS, strict=False):
            axis.barh(rows, values, left=left, color=shade, label=part, height=0.7)
            left += values
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axis.set_xlabel(annotated("images", labels))
        _legend(figure, axis.get_legend_handles_labels()[0])
    return figure


def _both_ends(order: np.ndarray) -> np.ndarray:
    """Return the first and the last of sorted classes where there are too many rows."""
    return order if len(order) <= ROWS else np.concatenate([order[: ROWS // 2], order[-ROWS // 2 :]])


def _rows(labels: Labels, shown: np.ndarray, title: str) -> tuple[Figure, Axes, np.ndarray]:
    """Return a figure with a row per class, the first on top, and the rows' places."""
    names = [labels.names[number] for number in shown]
    left = 0.4 + NAME_SIZE / 72 * max(map(width, names))
    figure = new_figure(
        (6.3 - left, 0.22 * max(len(names), 3)), left, bottom=0.95 if labels.note else 0.8, top=0.4, title=title
    )
    axis = figure.subplots()
    axis.set_yticks(range(len(names)), names, fontsize=NAME_SIZE)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.grid(axis="y", visible=False)
    axis.set_ylabel("class")
    return figure, axis, np.arange(len(names))


def _legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """Put the legend where it covers nothing."""
    figure.legend(handles=handles, loc="lower center", ncols=len(handles))
