"""The model card of a distilled student, after Mitchell et al. 2019 (arXiv 1810.03993), from its run's real numbers.

Its text is `model_card.md.jinja`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from distillery.data.prepared import DatasetInfo
from distillery.evaluation.comparison import accuracy_interval
from distillery.learning.metrics import confusion_matrix, per_class_accuracy

TEMPLATE = Path(__file__).with_suffix(".md.jinja")
WEAKEST = 10  # classes and confusions that are named at most


@dataclass(frozen=True)
class CardData:
    """What a card is made from.

    Attributes:
        name: the student's.
        info: the data set.
        parameters: all of the experiment, flat.
        labels, predicted: int, (n,), of the test images, the student's.
        omitted_classes: names of classes that the student never saw.
        digests: SHA-256 of the files, by `student` and `teacher`.
        headline, quality, exported: the content of `metrics/evaluate.json`, `quality.json` and `export.json`.
    """

    name: str
    info: DatasetInfo
    parameters: Mapping[str, Any]
    labels: np.ndarray
    predicted: np.ndarray
    omitted_classes: Sequence[str]
    digests: Mapping[str, str]
    headline: Mapping[str, Any]
    quality: Mapping[str, Any]
    exported: Mapping[str, Any]


def student_name(dataset: str) -> str:
    """Return the name of the student of a data set, in characters that a registry takes: `flowers-student`."""
    return (re.sub(r"[^\w.-]+", "-", dataset).strip("-.") or "own") + "-student"


def model_card(data: CardData) -> list[str]:
    """Return the card, section by section, each Markdown that ends with a new line."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, autoescape=False)
    environment.filters |= {
        "percent": lambda part: f"{100 * part:.2f} %",
        "cell": lambda text: text.replace("|", "\\|"),
        "name": lambda text: re.sub(r"([\\`*_\[\]<>#~$|])", r"\\\1", text),
        "stem": lambda path: Path(path).stem,
        "counted": lambda number, noun: f"{number:,} {noun}{'' if number == 1 else 's'}",
    }
    weakest, confused = _weaknesses(data)
    ratio = data.headline["compression"].get("parameters")
    correct, images = int(np.sum(data.labels == data.predicted)), len(data.labels)
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        vars(data),
        correct=correct,
        images=images,
        interval=accuracy_interval(correct / images, images),
        colours=_colours(data.info.image_shape[-1]),
        weakest=weakest,
        confused=confused,
        teacher=_teacher(data.parameters["train_teacher.model"]),
        teacher_size=_teacher_size(ratio),
        teacher_parameters=ratio and round(ratio * data.exported["keras"]["parameters"]),
    )
    return [section.rstrip("\n") + "\n" for section in re.split(r"^(?=## )", text, flags=re.MULTILINE)]


def _colours(channels: int) -> str:
    return {1: "grey", 3: "red, green, blue"}.get(channels, f"{channels} channels")


def _teacher(model: str) -> str:
    """Return what the teacher is, given where it comes from: an architecture that was trained, or a taken model."""
    return f"network `{Path(model).stem}`" if model.endswith(".py") else model


def _teacher_size(ratio: float | None) -> str:
    """Return what the teacher is beside the student, given teacher ÷ student in parameters, where they are known."""
    if ratio is None:
        return "one whose outputs are given"
    if ratio == 1:
        return "one with as many parameters"
    return "a larger one" if ratio > 1 else "one that is smaller than itself"


def _weaknesses(data: CardData) -> tuple[list[dict], list[dict]]:
    """Return the classes of the lowest accuracy and the most frequent confusions, the worst first."""
    classes = data.info.classes
    confusion = confusion_matrix(data.labels, data.predicted, len(classes))
    accuracy, images = per_class_accuracy(confusion), confusion.sum(axis=1)
    known = [number for number in np.argsort(accuracy, kind="stable") if images[number]][:WEAKEST]
    weakest = [
        {
            "name": classes[i],
            "accuracy": accuracy[i],
            "interval": accuracy_interval(accuracy[i], images[i]),
            "images": images[i],
        }
        for i in known
    ]
    errors = confusion - np.diag(np.diag(confusion))
    worst = [divmod(flat, len(classes)) for flat in np.argsort(-errors, axis=None, kind="stable")[:WEAKEST]]
    confused = [
        {"label": classes[row], "prediction": classes[column], "images": errors[row, column]}
        for row, column in worst
        if errors[row, column]
    ]
    return weakest, confused
