"""Confusion matrices: errors in colour, what is correct in grey."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure

from distillery.figures.labels import Labels, width
from distillery.figures.style import HEAT, annotated, new_figure, own_style, text_colours

CORRECT = "#E0E0E0"  # the diagonal
COUNTED_CLASSES = 20  # with more, the numbers in the cells give way to colour
NAMED_CLASSES = 36  # with more, every second, third, … class is named
BAR = 0.85  # inches for the bar with the colours' scale
CELLS = 250  # the most that are drawn along a side; with more classes, neighbours share a cell


def confusion_matrix(confusion: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """Draw one confusion matrix, coloured by the part of each class, with counts where they can be read.

    Args:
        confusion: int, (classes, classes), row the label.
        classes: names.
        title: the title.
    """
    with own_style(classes) as labels:
        return _draw_matrices({title: confusion}, labels)


def confusion_matrices(confusions: Mapping[str, np.ndarray], classes: Sequence[str]) -> Figure:
    """Draw the confusion matrices of several models side by side, on one colour scale.

    Args:
        confusions: by model, int, (classes, classes), row the label.
        classes: names.
    """
    titles = {
        f"{model}: {int(confusion.sum() - np.trace(confusion)):,} of {int(confusion.sum()):,} wrong": confusion
        for model, confusion in confusions.items()
    }
    with own_style(classes) as labels:
        return _draw_matrices(titles, labels, "Confusion on the test set")


def _draw_matrices(confusions: Mapping[str, np.ndarray], labels: Labels, title: str = "") -> Figure:
    """Draw matrices by title; those of one figure share the scale, the names at the left and the bar at the right."""
    shown = range(0, len(labels.names), -(-len(labels.names) // NAMED_CLASSES))
    names = [labels.names[number] for number in shown]
    size = 8 if len(labels.names) <= COUNTED_CLASSES else 6
    longest = size / 72 * max(map(width, names))
    side = float(np.clip(0.2 * len(names) + 1.6, 2.4, 4.0))
    upright = longest <= 0.8 * side / len(names)
    below = (size / 72 if upright else longest) + (0.5 if labels.note else 0.35)
    area = side * len(confusions), side
    figure = new_figure(area, 0.4 + longest, below, top=0.6 if title else 0.35, right=BAR, title=title)
    axes = figure.subplots(1, len(confusions), squeeze=False, sharey=True, gridspec_kw={"wspace": 0.04})[0]
    parts = {model: _error_parts(confusion) for model, confusion in confusions.items()}
    scale = Normalize(0, max(1.0, *(float(values.max()) for values in parts.values())))
    for axis, (model, confusion) in zip(axes, confusions.items(), strict=True):
        _draw_cells(axis, confusion, parts[model], scale)
        axis.set_title(model)
        axis.set_xlabel(annotated("prediction", labels) if axis is axes[0] else "prediction")
        axis.set_xticks(shown, names, fontsize=size, rotation=0 if upright else 90)
    axes[0].set_yticks(shown, names, fontsize=size)
    axes[0].set_ylabel("label")
    _draw_bar(figure, axes[-1], scale)
    return figure


def _draw_bar(figure: Figure, axis: Axes, scale: Normalize) -> None:
    """Draw the colours' scale beside an axis, as high as this."""
    place = axis.get_position()
    inch = 1 / figure.get_figwidth()
    bar = figure.add_axes((place.x1 + 0.12 * inch, place.y0, 0.12 * inch, place.height))
    figure.colorbar(ScalarMappable(scale, HEAT), cax=bar, label="errors: part of the true class (%)")
    bar.grid(visible=False)


def _error_parts(confusion: np.ndarray) -> np.ndarray:
    """Return the percentage of each label's images that went to each wrong class; 0 on the diagonal."""
    images = confusion.sum(axis=1, keepdims=True)
    parts = 100 * np.divide(confusion, images, out=np.zeros(confusion.shape), where=images > 0)
    np.fill_diagonal(parts, 0)
    return parts


def _draw_cells(axis: Axes, confusion: np.ndarray, parts: np.ndarray, scale: Normalize) -> None:
    """Draw the cells as one picture: no error is white, and beside a good classifier's diagonal, errors look alike."""
    classes = len(parts)
    per_cell = -(-classes // CELLS)
    if per_cell > 1:  # the worst of those that share a cell: a mean would hide it
        starts = np.arange(0, classes, per_cell)
        parts = np.maximum.reduceat(np.maximum.reduceat(parts, starts, axis=0), starts, axis=1)
    colours = matplotlib.colormaps[HEAT](scale(parts))[..., :3]
    diagonal = np.eye(len(parts), dtype=bool)
    colours[diagonal & (parts == 0)] = to_rgb(CORRECT)
    colours[~diagonal & (parts == 0)] = 1
    axis.imshow(colours, extent=(-0.5, classes - 0.5, classes - 0.5, -0.5), interpolation="nearest", aspect="auto")
    axis.grid(visible=False)
    if classes > COUNTED_CLASSES:
        return
    shades = text_colours(colours)
    for row, column in np.argwhere(confusion > 0):
        text = f"{confusion[row, column]:g}"
        size = 8 if classes <= 10 and len(text) < 4 else 6.5 if classes <= 14 else 5
        axis.text(column, row, text, ha="center", va="center", color=shades[row, column], fontsize=size)
