"""Figures: drawn for any number of classes, and the same bytes again."""

import numpy as np
import pytest
from PIL import Image

from distillery import figures
from distillery.evaluation.instructive import ImageSheet
from distillery.evaluation.results import Evaluation


def curves(epochs: int) -> dict:
    rising = np.linspace(0.5, 0.9, epochs)
    return {"accuracy": rising, "val_accuracy": rising - 0.05, "loss": 1 - rising, "val_loss": 1.1 - rising}


@pytest.mark.parametrize("classes", [2, 10, 300])
def test_figures_drawn_twice_are_the_same_bytes_without_warnings(tmp_path, classes, recwarn):
    names = [f"Größe №{number}" for number in range(classes)]
    random = np.random.default_rng(0)
    confusion = random.multinomial(100, np.full(classes, 1 / classes), size=classes)
    accuracy = {model: random.random(classes).tolist() for model in figures.COLOURS}
    images = random.integers(256, size=(5, 8, 8, 3), dtype=np.uint8)
    probabilities = {model: random.dirichlet(np.ones(classes), 5) for model in ("teacher", "distilled")}
    numbers = {"teacher": 0.99, "distilled": 0.98, "scratch": 0.97}

    def draw():
        yield "curves", figures.training_curves({model: curves(3) for model in figures.COLOURS})
        yield "one epoch", figures.training_curves({"teacher": curves(1)})
        yield "confusion", figures.confusion_matrix(confusion, names, "title")
        yield "confusions", figures.confusion_matrices(dict.fromkeys(figures.COLOURS, confusion), names)
        yield "per class", figures.per_class_accuracy(accuracy, names)
        yield "gain", figures.per_class_gain(np.linspace(-1, 2, classes), names)
        yield "comparison", figures.comparison(numbers, {"scratch": 0.01}, numbers, numbers, numbers)
        yield (
            "omitted",
            figures.omitted_classes(
                {role: {"accuracy": 0.1, "accuracy_corrected": 0.9} for role in ("distilled", "scratch")}, names[1:]
            ),
        )
        yield "sheet", figures.sheet(images, [0, 1, 0, 1, 0], probabilities, names)
        yield "samples", figures.sample_sheet(images, [0, 1, 0, 1, 0], names, "title")
        yield "balance", figures.class_balance({"train": [5] * classes, "test": [2] * classes}, names)

    for name, figure in draw():
        figures.save_figure(figure, tmp_path / f"{name}.png")
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name, figure in draw():
        figures.save_figure(figure, tmp_path / f"{name}.png")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert len(first) == 11
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            assert max(picture.size) < 5000
            assert len(picture.convert("L").getcolors(256)) > 10
    assert [str(warning.message) for warning in recwarn] == []


def test_class_without_images_is_not_drawn():
    (axis,) = figures.per_class_accuracy({"teacher": [0.75, np.nan]}, ["a", "b"]).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a"]


@pytest.mark.parametrize("omitted", [[], ["b"]])
def test_evaluation_has_a_figure_per_question(omitted):
    labels, values = np.array([0, 1, 1]), dict.fromkeys(figures.COLOURS, 0.5)
    evaluation = Evaluation(
        classes=["a", "b"],
        labels=labels,
        predicted=dict.fromkeys(figures.COLOURS, labels),
        class_accuracy=dict.fromkeys(figures.COLOURS, np.array([0.5, 1.0])),
        curves=dict.fromkeys(figures.COLOURS, curves(2)),
        headline={"omitted": {"distilled": {"accuracy": 0.1, "accuracy_corrected": 0.9}}} if omitted else {},
        omitted_classes=omitted,
    )
    costs = {"accuracy": values, "accuracy_std": {}, "parameters": values, "kilobytes": values}
    sheet = ImageSheet(np.zeros((3, 4, 4, 1), np.uint8), labels, {"teacher": np.full((3, 2), 0.5)})
    names = []
    for name, figure in figures.evaluation_figures(evaluation, costs, sheet):
        names.append(name)
        figures.plt.close(figure)
    expected = ["comparison", "training_curves", "confusion_matrices", "per_class_accuracy", "per_class_gain"]
    assert names == [*expected, "instructive_images"] + (["omitted_classes"] if omitted else [])
