"""The model card of a distilled student, after Mitchell et al. 2019 (arXiv 1810.03993), from its run's real numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distillery.evaluation.comparison import accuracy_interval
from distillery.learning.metrics import confusion_matrix, per_class_accuracy

WEAKEST = 10  # classes and confusions that are named at most


@dataclass(frozen=True)
class Facts:
    """What a card tells of.

    Attributes:
        name: the student's.
        about: what `dataset.json` says.
        parameters: all of the experiment, flat.
        labels, predicted: int, (n,), of the test images, the student's.
        omitted_classes: names of classes that the student never saw.
        digests: SHA-256 of the files, by `student` and `teacher`.
        headline, quality, exported: what `metrics/evaluate.json`, `quality.json` and `export.json` say.
    """

    name: str
    about: Mapping[str, Any]
    parameters: Mapping[str, Any]
    labels: np.ndarray
    predicted: np.ndarray
    omitted_classes: Sequence[str]
    digests: Mapping[str, str]
    headline: Mapping[str, Any]
    quality: Mapping[str, Any]
    exported: Mapping[str, Any]


def model_card(facts: Facts) -> list[str]:
    """The card, section by section, each Markdown that ends with a new line; what matters most comes first."""
    sections = [_summary, _use, _weaknesses, _comparison, _data, _teacher, _formats, _parameters]
    return ["\n".join(section(facts)) + "\n" for section in sections]


def _summary(facts: Facts) -> list[str]:
    right, count = int(np.sum(facts.labels == facts.predicted)), len(facts.labels)
    low, high = accuracy_interval(right, count)
    height, width, channels = facts.about["image_shape"]
    return [
        f"# {facts.name}",
        "",
        f"A classifier of images into {len(facts.about['classes'])} classes, distilled from a larger one.",
        "",
        f"- **{100 * right / count:.2f} % right** on {count:,} test images, {count - right:,} errors"
        f" (95 % interval {100 * low:.2f} to {100 * high:.2f} %, Wilson)",
        f"- {facts.exported['keras']['parameters']:,} parameters, {facts.exported['keras']['bytes'] / 1000:,.1f} kB;"
        f" network `{facts.parameters['student.architecture']}`",
        f"- Takes raw pixels, `uint8`, {height} x {width}, {_colours(channels)}; gives logits, `float32`, one a class",
        f"- SHA-256 of the Keras file: `{facts.digests['student']}`",
    ]


def _colours(channels: int) -> str:
    return {1: "grey", 3: "red, green, blue"}.get(channels, f"{channels} channels")


def _use(facts: Facts) -> list[str]:
    lines = [
        "## Intended use and limits",
        "",
        f"For images like those of `{facts.about['name']}`: same content, cut, size and colours. Its accuracy was"
        " measured on that data set's test images and on nothing else; on images from another source, expect less.",
        "",
        "- It says one of its classes of every image, of one that shows none of them, too.",
        f"- Its probabilities differ from how often it is right by {100 * _calibration(facts):.1f} points on average"
        " (expected calibration error, mean over the seeds).",
        "- Nobody examined it for use where an error harms a person.",
    ]
    if facts.omitted_classes:
        lines.append(f"- **It never saw images of: {', '.join(facts.omitted_classes)}.**")
    return lines


def _calibration(facts: Facts) -> float:
    return facts.quality["distilled"]["calibration_error"]


def _weaknesses(facts: Facts) -> list[str]:
    classes = facts.about["classes"]
    confusion = confusion_matrix(facts.labels, facts.predicted, len(classes))
    accuracy, count = per_class_accuracy(confusion), confusion.sum(axis=1)
    known = [number for number in np.argsort(accuracy, kind="stable") if count[number]][:WEAKEST]
    off_diagonal = confusion - np.diag(np.diag(confusion))
    worst = [np.unravel_index(flat, confusion.shape) for flat in np.argsort(-off_diagonal, axis=None, kind="stable")]
    confused = [(row, column) for row, column in worst[:WEAKEST] if off_diagonal[row, column]]
    which = "Every class" if len(known) == len(classes) else f"The {len(known)} weakest of {len(classes)} classes"
    lines = [
        "## Weaknesses",
        "",
        f"{which}, the weakest first:",
        "",
        "| class | right | test images |",
        "|---|---|---|",
    ]
    lines += [f"| {_cell(classes[one])} | {100 * accuracy[one]:.1f} % | {count[one]:,} |" for one in known]
    if confused:
        lines += ["", "What it takes for what, most often:", "", "| label | taken for | images |", "|---|---|---|"]
        lines += [f"| {_cell(classes[a])} | {_cell(classes[b])} | {off_diagonal[a, b]:,} |" for a, b in confused]
    return lines


def _comparison(facts: Facts) -> list[str]:
    headline, gain = facts.headline, facts.headline["gain"]
    seeds = facts.parameters["student.seeds"]
    lines = [
        "## Beside its teacher and plain training",
        "",
        f"Students are means over {len(seeds)} seeds, of which the one best on validation is shipped.",
        "",
        "| model | right | errors |",
        "|---|---|---|",
    ]
    for kind, title in (("teacher", "teacher"), ("distilled", "students, distilled"), ("scratch", "students, scratch")):
        lines.append(f"| {title} | {100 * headline[kind]['accuracy']:.2f} % | {headline[kind]['errors']:,.1f} |")
    return [
        *lines,
        "",
        f"Distilling gained {gain['points']:+.2f} points over plain training with the same budget"
        f" (95 % interval {gain['ci_low']:+.2f} to {gain['ci_high']:+.2f}, McNemar p = {gain['mcnemar_p']:.2g}).",
    ]


def _data(facts: Facts) -> list[str]:
    about = facts.about
    lines = [
        "## Data",
        "",
        f"`{about['name']}`, from {about['source']}",
        "",
        "| part | images | SHA-256 |",
        "|---|---|---|",
    ]
    return lines + [f"| {part} | {about['sizes'][part]:,} | `{digest}` |" for part, digest in about["digests"].items()]


def _teacher(facts: Facts) -> list[str]:
    compression = facts.headline["compression"]
    own = facts.parameters["train_teacher.model"]
    trained = own if own.endswith(".keras") else f"network `{facts.parameters['train_teacher.architecture']}`"
    parameters = round(compression["parameters"] * facts.exported["keras"]["parameters"])
    return [
        "## Teacher",
        "",
        f"{trained}, {parameters:,} parameters ({compression['parameters']:.2f} times the student's),"
        f" {100 * facts.headline['teacher']['accuracy']:.2f} % right; SHA-256 `{facts.digests['teacher']}`",
    ]


def _formats(facts: Facts) -> list[str]:
    lines = ["## Formats", "", "| format | kB | right | as Keras |", "|---|---|---|---|"]
    for name, one in facts.exported.items():
        shares = f"{100 * one['accuracy']:.2f} % | {100 * one['agreement_with_keras']:.2f} %"
        lines.append(f"| {name} | {one['bytes'] / 1000:,.1f} | {shares} |")
    return lines


def _parameters(facts: Facts) -> list[str]:
    lines = ["## Parameters", "", "| parameter | value |", "|---|---|"]
    return lines + [f"| `{name}` | {_cell(str(value))} |" for name, value in facts.parameters.items()]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
