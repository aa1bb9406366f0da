"""Colours, fonts and sizes of every figure, and the file that it becomes."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from distillery.data.files import atomic_write
from distillery.figures.labels import Labels, make_labels

# Okabe & Ito's palette, told apart by people with any colour vision; a colour and a marker per role in every figure.
COLOURS = {"teacher": "#0072B2", "distilled": "#D55E00", "scratch": "#009E73"}
MARKERS = {"teacher": "o", "distilled": "s", "scratch": "D"}
OTHER, OTHER_MARKER = "#555555", "^"  # of a model that has no role
GAIN, LOSS, UNDECIDED = "#5B2A86", "#C9A227", "#777777"  # better, worse, neither: no role's colours
HEAT = "magma_r"
FAINT = "#BBBBBB"
DPI = 100
STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#CCCCCC",
    "axes.grid": True,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "figure.dpi": DPI,
    "figure.titlesize": 11,
    "figure.titleweight": "normal",  # the fonts that stand in for the usual one may have no bold
    "font.size": 9,
    "grid.color": "#E0E0E0",
    "legend.fontsize": 9,
    "text.parse_math": False,  # a class may be named `a_b` or `$`
    "xtick.labelsize": 8,
    "xtick.major.size": 0,
    "ytick.labelsize": 8,
    "ytick.major.size": 0,
}
# Everything: nothing of the user's matplotlibrc reaches a figure. The backend is chosen by `Figure` itself.
SETTINGS = {
    key: value for key, value in (matplotlib.rcParamsDefault | STYLE).items() if not key.startswith(("backend", "_"))
}


@contextmanager
def own_style(names: Sequence[str] = (), title: str = "") -> Iterator[Labels]:
    """Draw with the settings of this module and with fonts for these names, whatever the user's own settings are.

    Args:
        names: of classes.
        title: of the figure, where it holds a name.

    Yields:
        What to write for them.
    """
    with matplotlib.rc_context():
        labels = make_labels(names, title)
        matplotlib.rcParams.update(SETTINGS | {"font.family": labels.families})
        yield labels


def new_figure(
    panels: tuple[float, float], left: float, bottom: float, top: float, right: float = 0.15, title: str = ""
) -> Figure:
    """Return a figure under a title. Pyplot, which keeps figures, is not asked.

    Margins are given, not found: a layout engine draws every text twice more to measure it.

    Args:
        panels: width and height of the place for the axes, in inches, as all that follows.
        left: room for the axes' labels.
        bottom: the same, with a legend where there is one.
        top: room for the titles.
        right: room for a colour bar.
        title: of the figure.
    """
    width, height = left + panels[0] + right, bottom + panels[1] + top
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height)
    figure.suptitle(title, y=1 - 0.08 / height)
    return figure


def png(figure: Figure) -> bytes:
    """Return a PNG whose bytes depend on the picture alone."""
    content = io.BytesIO()
    with own_style():
        FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    return content.getvalue()


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a PNG whose bytes depend on the picture alone."""
    content = png(figure)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def colour(model: str) -> str:
    """Return the colour of a role, or of a model that has none."""
    return COLOURS.get(model, OTHER)


def marker(model: str) -> str:
    """Return the marker of a role, or of a model that has none."""
    return MARKERS.get(model, OTHER_MARKER)


def text_colours(grounds: np.ndarray) -> np.ndarray:
    """Return the colours in which texts can be read: white on a dark ground, else black.

    Args:
        grounds: red, green and blue, 0 to 1, (…, 3); their luma is that of ITU-R BT.601.

    Returns:
        Names of colours, (…).
    """
    return np.where(grounds @ [0.299, 0.587, 0.114] < 0.5, "white", "black")


def annotated(label: str, labels: Labels) -> str:
    """Return an axis's label, with the note under it where there is one."""
    return f"{label}\n{labels.note}".strip()
