"""The evaluation as a whole: computed from the models' outputs here, or read back from files by the demo."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from distillery.evaluation.comparison import accuracy_gain
from distillery.evaluation.headline import class_accuracy, class_intervals, headline_metrics, quality_metrics
from distillery.evaluation.roles import GAINS, ROLES, RoleOutputs
from distillery.evaluation.unseen import Unseen, omitted_metrics


@dataclass(frozen=True)
class Evaluation:
    """What the test set shows of the models.

    Attributes:
        classes: names.
        labels: int, (n,).
        predicted: by role, int, (n,), of the model that was chosen on validation images.
        class_accuracy: by role, float, (classes,), means over the seeds; NaN for a class without test images.
        class_intervals: by role, float, (2, classes): low and high ends of their 95 % intervals.
        curves: by role, columns with one value per epoch, means over the seeds.
        headline: the content of `metrics/evaluate.json`.
        quality: the content of `metrics/quality.json`.
        omitted_classes: names of the classes that the students never saw.
    """

    classes: Sequence[str]
    labels: np.ndarray
    predicted: Mapping[str, np.ndarray]
    class_accuracy: Mapping[str, np.ndarray]
    curves: Mapping[str, Mapping[str, Sequence[float]]]
    headline: Mapping
    class_intervals: Mapping[str, np.ndarray] = field(default_factory=dict)
    quality: Mapping = field(default_factory=dict)
    omitted_classes: Sequence[str] = ()


def compare_roles(
    classes: Sequence[str],
    labels: np.ndarray,
    roles: Mapping[str, RoleOutputs],
    calibration_bins: int,
    unseen: Unseen | None = None,
) -> Evaluation:
    """Return the evaluation of teacher, distilled students and students trained from the labels alone.

    Args:
        classes: names.
        labels: int, (n,).
        roles: the outputs by role.
        calibration_bins: of the calibration error.
        unseen: the classes that the students never saw; None where they saw all.
    """
    correct = {role: outputs.predicted == labels for role, outputs in roles.items()}
    gains = {name: accuracy_gain(correct["distilled"], correct[other]) for name, other in GAINS.items()}
    headline = headline_metrics(labels, roles, gains)
    shown = {role: roles[role] for role in ROLES}
    if unseen:
        headline["omitted"] = omitted_metrics(unseen, labels, roles)
    return Evaluation(
        classes=classes,
        labels=labels,
        predicted={role: outputs.predicted[outputs.chosen] for role, outputs in shown.items()},
        class_accuracy=class_accuracy(labels, shown),
        class_intervals={role: class_intervals(labels, outputs) for role, outputs in shown.items()},
        curves={role: outputs.curves for role, outputs in shown.items()},
        headline=headline,
        quality=quality_metrics(labels, roles, gains, calibration_bins),
        omitted_classes=[classes[number] for number in unseen.classes] if unseen else [],
    )
