"""Figures: drawn for any number of classes, nothing hides another thing, and the same bytes again."""

import hashlib
import os
import subprocess
import sys
from itertools import combinations

import matplotlib
import numpy as np
import pytest
from conftest import ROOT
from matplotlib.colors import to_hex, to_rgb
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.legend import Legend

from distillery import figures
from distillery.evaluation.instructive import ImageSheet
from distillery.evaluation.results import Evaluation
from experiments.figures import gains, temperature_and_alpha


def curves(epochs: int) -> dict:
    rising = np.linspace(0.5, 0.9, epochs)
    return {"accuracy": rising, "val_accuracy": rising - 0.05, "loss": 1 - rising, "val_loss": 1.1 - rising}


def costs(accuracy=(0.9924, 0.9875, 0.9836), std=0.0) -> dict:
    roles = list(figures.COLOURS)
    return {
        "accuracy": dict(zip(roles, accuracy, strict=True)),
        "accuracy_std": {"distilled": std, "scratch": std},
        "parameters": {"teacher": 3274634, "distilled": 1276810, "scratch": 1276810},
        "kilobytes": {"teacher": 13137.9, "distilled": 5140.5, "scratch": 5140.5},
    }


def draw(names: list[str], epochs: int = 3, std: float = 0.001):
    """Yield every figure of the pipeline for these classes."""
    classes, random = len(names), np.random.default_rng(0)
    confusion = random.multinomial(100, np.full(classes, 1 / classes), size=classes)
    accuracy = {model: random.random(classes) for model in figures.COLOURS}
    images = random.integers(256, size=(5, 8, 8, 3), dtype=np.uint8)
    probabilities = {model: random.dirichlet(np.ones(classes), 5) for model in ("teacher", "distilled")}
    labels = [number % classes for number in range(5)]
    omitted = {role: {"accuracy": 0.1, "accuracy_corrected": 1.0} for role in ("distilled", "scratch")}
    yield "curves", figures.training_curves({model: curves(epochs) for model in figures.COLOURS})
    yield "confusion", figures.confusion_matrix(confusion, names, "Validation, epoch 1")
    yield "confusions", figures.confusion_matrices(dict.fromkeys(figures.COLOURS, confusion), names)
    yield "per class", figures.per_class_accuracy(accuracy, names)
    yield "gain", figures.per_class_gain(np.linspace(-1, 2, classes), names)
    yield "comparison", figures.comparison(**costs(std=std))
    yield "latency", figures.comparison(**costs(std=std), milliseconds={"teacher": 1.87, "distilled": 1.64})
    yield "omitted", figures.omitted_classes(omitted, names[1:])
    yield "sheet", figures.sheet(images, labels, probabilities, names)
    yield "samples", figures.sample_sheet(images, labels, names, "a_$b: training images")
    yield "balance", figures.class_balance({"train": [5] * classes, "test": [2] * classes}, names)


def drawn_texts(figure) -> list[tuple[str, matplotlib.transforms.Bbox]]:
    """Return the texts outside of the axes' panels and legends, with where they stand."""
    figure.draw_without_rendering()
    texts = [text for text in [*figure.texts, figure._suptitle] if text]
    for axis in figure.axes:
        texts += [axis.title, axis.xaxis.label, axis.yaxis.label]
        for line in (axis.xaxis, axis.yaxis):
            low, high = sorted(line.get_view_interval())
            texts += [tick.label1 for tick in line.get_major_ticks() if low <= tick.get_loc() <= high]
    boxes = [(text.get_text(), text.get_window_extent()) for text in dict.fromkeys(texts) if text.get_visible()]
    boxes += [("legend", legend.get_window_extent()) for legend in figure.findobj(Legend)]
    return [(text, box) for text, box in boxes if text.strip()]


def covering(texts: list[tuple[str, matplotlib.transforms.Bbox]]) -> list[tuple[str, str]]:
    """Return the pairs of texts that have more than three pixels' width and height in common."""
    boxes = np.array([box.extents for _, box in texts])
    common = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    pairs = np.argwhere(np.triu((common > 3).all(axis=2), k=1))
    return [(texts[first][0], texts[second][0]) for first, second in pairs]


@pytest.mark.parametrize(("classes", "epochs", "std"), [(2, 1, 0.0), (10, 3, 0.001), (100, 60, 0.0)])
def test_no_text_or_legend_covers_another_or_leaves_the_figure(classes, epochs, std, recwarn):
    for name, figure in draw([f"Größe №{number}" for number in range(classes)], epochs, std):
        texts = drawn_texts(figure)
        inside = figure.bbox.padded(1)
        for text, box in texts:
            assert inside.contains(box.x0, box.y0), (name, text)
            assert inside.contains(box.x1, box.y1), (name, text)
        assert covering(texts) == [], name
        (legend_boxes,) = [[box for text, box in texts if text == "legend"]]
        panels = [axis.get_window_extent() for axis in figure.axes]
        assert not any(box.overlaps(panel) for box in legend_boxes for panel in panels), name
        assert figure.bbox.width <= 1400, name  # of a screen
    assert [str(warning.message) for warning in recwarn] == []


# What people have in their matplotlibrc, and what their environment says.
USERS = """
text.usetex: True
font.family: serif
font.size: 30
figure.dpi: 37
savefig.dpi: 300
savefig.bbox: tight
savefig.transparent: True
figure.constrained_layout.use: True
axes.prop_cycle: cycler('color', ['k'])
axes.unicode_minus: False
axes.formatter.use_locale: True
image.origin: lower
image.cmap: jet
lines.linewidth: 9
patch.linewidth: 4
hatch.linewidth: 7
legend.loc: center
backend: svg
"""
DRAWN = """
import sys
sys.path.insert(0, "tests")
from test_figures import digests
print(*digests())
"""


def digests() -> list[str]:
    return [hashlib.sha256(figures.png(figure)).hexdigest() for _, figure in draw(["a_b", "$c$", "-1"])]


def test_figures_have_the_same_bytes_whatever_the_users_matplotlibrc_says(tmp_path):
    (tmp_path / "matplotlibrc").write_text(USERS, encoding="utf-8")
    users = os.environ | {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}
    program = [sys.executable, "-c", DRAWN]
    answer = subprocess.run(program, cwd=ROOT, env=users, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == digests()


def test_settings_of_whoever_draws_are_as_before():
    before = dict(matplotlib.rcParams)
    figures.png(figures.comparison(**costs()))
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("epochs", [1, 2, 5, 60])
def test_epochs_are_whole_numbers_from_one(epochs):
    figure = figures.training_curves({"teacher": curves(epochs)})
    low, high = figure.axes[0].get_xlim()
    ticks = [tick for tick in figure.axes[1].get_xticks() if low <= tick <= high]
    assert ticks
    assert all(tick == round(tick) and 1 <= tick <= epochs for tick in ticks)


def test_every_models_marker_has_a_place_of_its_own_where_accuracies_are_equal():
    same = dict.fromkeys(figures.COLOURS, np.full(10, 0.9))
    figure = figures.per_class_accuracy(same, [str(number) for number in range(10)])
    points = [line for line in figure.axes[0].lines if line.get_marker() != "None"]
    assert len({line.get_marker() for line in points}) == len({line.get_color() for line in points}) == 3
    places = [figure.axes[0].transData.transform(line.get_xydata()) for line in points]
    for first, second in combinations(places, 2):
        assert np.linalg.norm(first - second, axis=1).min() > 4  # pixels


def test_accuracy_is_drawn_as_points_and_every_bar_starts_at_zero():
    accuracy, *panels = figures.comparison(**costs(), milliseconds={"teacher": 1.87, "distilled": 1.64}).axes
    assert not accuracy.patches
    omitted = {role: {"accuracy": 0.1, "accuracy_corrected": 1.0} for role in ("distilled", "scratch")}
    panels += figures.omitted_classes(omitted, ["a"]).axes + figures.per_class_gain([98.5, 98.6], ["a", "b"]).axes
    for axis in panels:
        groups = [group for group in axis.containers if isinstance(group, BarContainer)]
        assert groups
        for group in groups:
            upright = group.orientation == "vertical"
            assert all((bar.get_y() if upright else bar.get_x()) == 0 for bar in group)
            low, high = axis.get_ylim() if upright else axis.get_xlim()
            assert low <= 0 <= high


@pytest.mark.parametrize("std", [0.0, 0.001])
def test_whiskers_and_their_note_come_together(std):
    axis = figures.comparison(**costs(std=std)).axes[0]
    whiskers = [group for group in axis.containers if isinstance(group, ErrorbarContainer)]
    assert len(whiskers) == (2 if std else 0)
    assert ("±" in axis.get_xlabel()) == bool(std)


# Machado, Oliveira & Fernandes 2009: linear RGB as people without red, green or blue cones see it.
VISION = {
    "usual": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


@pytest.mark.parametrize("vision", VISION)
def test_colours_are_told_apart_with_any_colour_vision(vision):
    def seen(colour: str) -> np.ndarray:
        linear = np.array(to_rgb(colour)) ** 2.2
        return np.clip(VISION[vision] @ linear, 0, 1) ** (1 / 2.2)

    for palette in (figures.COLOURS.values(), (figures.GAIN, figures.LOSS, figures.UNDECIDED)):
        for first, second in combinations(palette, 2):
            assert np.abs(seen(first) - seen(second)).sum() > 0.12, (first, second)


def test_better_and_worse_have_no_roles_colours():
    assert not {figures.GAIN, figures.LOSS, figures.UNDECIDED} & set(figures.COLOURS.values())
    axis = figures.per_class_gain([1.0, -1.0, np.nan], ["a", "b", "no images"]).axes[0]
    assert [to_hex(bar.get_facecolor()).upper() for bar in axis.containers[0]] == [figures.GAIN, figures.LOSS]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]


def test_of_many_classes_the_extremes_are_drawn_and_the_title_says_so():
    names = [str(number) for number in range(100)]
    figure = figures.per_class_gain(np.arange(100.0), names)
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert shown == names[:84:-1] + names[14::-1]
    assert "15 of 100" in figure.get_suptitle()
    figure = figures.per_class_accuracy({"teacher": np.arange(100) / 100}, names)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == names[:30]
    assert "30 hardest of 100" in figure.get_suptitle()


def test_one_error_among_a_thousand_classes_is_seen():
    confusion = np.diag(np.full(1000, 50))
    confusion[500, 100] = 2
    content = figures.png(figures.confusion_matrix(confusion, [str(number) for number in range(1000)], "title"))
    confusion[500, 100] = 0
    assert content != figures.png(figures.confusion_matrix(confusion, [str(n) for n in range(1000)], "title"))


def test_class_without_images_is_not_drawn():
    (axis,) = figures.per_class_accuracy({"teacher": [0.75, np.nan]}, ["a", "b"]).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a"]


def test_figures_of_experiments_cover_nothing():
    gain = {"points": 0.4, "ci_low": -0.1, "ci_high": 0.6}
    headline = {role: {"accuracy": 0.98, "accuracy_std": 0.001} for role in figures.COLOURS} | {"gain": gain}
    pairs = [
        {"temperature": temperature, "alpha": alpha, "val_accuracy": 0.98 + temperature / 1000, "gain_points": alpha}
        for temperature in (1.0, 4.0, 20.0)
        for alpha in (0.1, 0.5)
    ]
    for figure in (gains({"mnist": headline, "cifar10": headline}), temperature_and_alpha(pairs, "Temperature")):
        texts = drawn_texts(figure)
        assert covering(texts) == []
    points = [line for line in gains({"mnist": headline}).axes[0].lines if line.get_marker() in "osD"]
    assert len({tuple(line.get_ydata()) for line in points}) == 3  # equal errors


@pytest.mark.parametrize("omitted", [[], ["b"]])
def test_evaluation_has_a_figure_per_question(omitted):
    labels = np.array([0, 1, 1])
    evaluation = Evaluation(
        classes=["a", "b"],
        labels=labels,
        predicted=dict.fromkeys(figures.COLOURS, labels),
        class_accuracy=dict.fromkeys(figures.COLOURS, np.array([0.5, 1.0])),
        curves=dict.fromkeys(figures.COLOURS, curves(2)),
        headline={"omitted": {"distilled": {"accuracy": 0.1, "accuracy_corrected": 0.9}}} if omitted else {},
        omitted_classes=omitted,
    )
    sheet = ImageSheet(np.zeros((3, 4, 4, 1), np.uint8), labels, {"teacher": np.full((3, 2), 0.5)})
    names = [name for name, _ in figures.evaluation_figures(evaluation, costs(), sheet)]
    expected = ["comparison", "training_curves", "confusion_matrices", "per_class_accuracy", "per_class_gain"]
    assert names == [*expected, "instructive_images"] + (["omitted_classes"] if omitted else [])
