"""Sheets of images. All of a sheet's images share one pair of axes, in inches: axes are what takes time to draw."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from distillery.figures.style import FAINT, colour, new_figure, own_style

SIDE = 0.95  # of an image
LEFT_TO_RIGHT = "\u200e"  # invisible
HEAD, FOOT = 0.45, 0.4  # above and below the images


def sheet(
    images: np.ndarray,
    labels: Sequence[int],
    probabilities: Mapping[str, np.ndarray],
    classes: Sequence[str],
    shown: int = 3,
) -> Figure:
    """Draw a sheet of images with the label and every model's most probable classes.

    Args:
        images: uint8, (n, height, width, channels).
        labels: (n,).
        probabilities: by model, (n, classes).
        classes: names.
        shown: how many classes are shown per model.
    """
    columns, width, line, track = 4, 3.2, 0.15, 0.5
    height = max(SIDE, (len(probabilities) * (shown + 0.5)) * line) + 0.35
    bars: list[tuple[float, float, float, str]] = []  # from, to, place, colour
    title = "Instructive test images: teacher correct and student wrong, disagreements, least sure"
    with own_style(classes) as names:
        figure, axis = _empty_sheet(columns * width, -(-len(images) // columns) * height, title)
        for position, (image, label) in enumerate(zip(images, labels, strict=True)):
            row, column = divmod(position, columns)
            left, top = column * width + 0.1, row * height + 0.2
            axis.text(left, top - 0.06, f"label: {names.names[label]}", fontsize=8)
            _draw_image(axis, image, left, top)
            start, place = left + SIDE + 0.1, top + line / 2
            for model, values in probabilities.items():
                for best in np.argsort(values[position], kind="stable")[::-1][:shown]:
                    part = float(values[position][best])
                    bars += [(start, start + track, place, FAINT), (start, start + track * part, place, colour(model))]
                    # The mark keeps a name that is written from right to left behind its percentage.
                    text = f"{LEFT_TO_RIGHT}{100 * part:.0f} %{' ✓' if best == label else ''} {names.names[best]}"
                    axis.text(start + track + 0.06, place, text, va="center", fontsize=7)
                    place += line
                place += line / 2
        begin, end, places, colours = zip(*bars, strict=True)
        axis.hlines(places, begin, end, colors=colours, linewidth=5)
        handles = [Patch(color=colour(model), label=model) for model in probabilities]
        figure.legend(handles=handles, loc="lower center", ncols=len(handles))
        figure.text(0.01, 0.02, names.note, fontsize=8)
    return figure


def sample_sheet(
    images: np.ndarray, labels: Sequence[int], classes: Sequence[str], title: str, columns: int = 10
) -> Figure:
    """Draw a grid of images under their labels.

    Args:
        images: uint8, (n, height, width, channels).
        labels: (n,).
        classes: names.
        title: the title.
        columns: images in a row.
    """
    width, height = SIDE + 0.2, SIDE + 0.3
    with own_style(classes, title) as names:
        figure, axis = _empty_sheet(columns * width, -(-len(images) // columns) * height, names.title)
        for position, (image, label) in enumerate(zip(images, labels, strict=True)):
            row, column = divmod(position, columns)
            left, top = column * width + 0.1, row * height + 0.2
            axis.text(left + SIDE / 2, top - 0.06, names.names[label], ha="center", fontsize=7)
            _draw_image(axis, image, left, top)
        figure.text(0.01, 0.02, names.note, fontsize=8)
    return figure


def _empty_sheet(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """Return a figure whose axes are in inches from the upper left corner, with room above and below."""
    figure = new_figure((width, height), left=0, bottom=FOOT, top=HEAD, right=0, title=title)
    axis = figure.subplots()
    axis.set_frame_on(False)
    axis.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    axis.set_autoscale_on(False)
    return figure, axis


def _draw_image(axis: Axes, image: np.ndarray, left: float, top: float) -> None:
    """Draw an image, the longer side as long as a square's."""
    height, width = SIDE * np.array(image.shape[:2]) / max(image.shape[:2])
    pixels = image[..., 0] if image.shape[-1] == 1 else image
    extent = (left, left + width, top + height, top)
    axis.imshow(pixels, cmap="gray_r", vmin=0, vmax=255, extent=extent, aspect="auto")
