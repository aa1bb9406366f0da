"""The numbers of `evaluate`, from logits and labels: the headline, and the details behind it."""

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np

from distillery.evaluation.calibration import calibration_error_by_chance
from distillery.evaluation.comparison import Gain, agreement, mean_accuracy_interval
from distillery.evaluation.roles import RoleOutputs
from distillery.learning.metrics import (
    balanced_accuracy,
    confusion_matrix,
    expected_calibration_error,
    macro_f1,
    negative_log_likelihood,
    per_class_accuracy,
    spread,
)


def headline_metrics(labels: np.ndarray, roles: Mapping[str, RoleOutputs], gains: Mapping[str, Gain]) -> dict:
    """Return the content of `metrics/evaluate.json`.

    Args:
        labels: int, (n,).
        roles: the outputs by role.
        gains: of distilled over others, by the name that each has in the file.
    """
    headline = {}
    for role, outputs in roles.items():
        correct = outputs.predicted == labels
        headline[role] = {"accuracy": float(correct.mean())}
        if role != "teacher":
            headline[role]["accuracy_std"] = spread(correct.mean(axis=1))
        confusions = [confusion_matrix(labels, one, outputs.logits.shape[2]) for one in outputs.predicted]
        headline[role]["balanced_accuracy"] = float(np.mean([balanced_accuracy(one) for one in confusions]))
        headline[role]["macro_f1"] = float(np.mean([macro_f1(one) for one in confusions]))
        headline[role]["errors"] = float((~correct).sum(axis=1).mean())
    for name, gain in gains.items():
        headline[name] = {key: asdict(gain)[key] for key in ("points", "ci_low", "ci_high", "p")}
    teacher, student = roles["teacher"], roles["distilled"]
    headline["compression"] = {
        "parameters": _ratio(teacher.parameters, student.parameters),
        "bytes": _ratio(teacher.bytes, student.bytes),
        "student_parameters": student.parameters,
        "multiply_adds": _ratio(teacher.multiply_adds, student.multiply_adds),
    }
    headline["compression"] = {name: value for name, value in headline["compression"].items() if value is not None}
    return headline


def _ratio(teacher: int | None, student: int | None) -> float | None:
    """Return teacher ÷ student; None where one is not known: of a table of outputs nothing is."""
    return teacher / student if teacher and student else None


def quality_metrics(labels: np.ndarray, roles: Mapping[str, RoleOutputs], gains: Mapping[str, Gain], bins: int) -> dict:
    """Return the content of `metrics/quality.json`: means over the models of a role.

    `calibration_error_by_chance` is what the same model would show if it were perfectly calibrated.
    `constant_predictors` counts the models that predict the same class for every image: they learned nothing.

    Args:
        labels: int, (n,).
        roles: the outputs by role.
        gains: of distilled over others, by name.
        bins: of the calibration error.
    """
    teacher = roles["teacher"].chosen_logits
    quality = {}
    for role, outputs in roles.items():
        models, predicted = outputs.logits, outputs.predicted
        quality[role] = {
            "negative_log_likelihood": float(np.mean([negative_log_likelihood(labels, logits) for logits in models])),
            "calibration_error": float(
                np.mean([expected_calibration_error(labels, logits, bins) for logits in models])
            ),
            "calibration_error_by_chance": float(
                np.mean([calibration_error_by_chance(logits, bins) for logits in models])
            ),
            "constant_predictors": int((predicted == predicted[:, :1]).all(axis=1).sum()),
        }
        if role != "teacher":
            quality[role]["agreement_with_teacher"] = float(np.mean([agreement(logits, teacher) for logits in models]))
    for name, gain in gains.items():
        quality[name] = {"images_won": gain.wins, "images_lost": gain.losses}
    return quality


def class_intervals(labels: np.ndarray, outputs: RoleOutputs) -> np.ndarray:
    """Return the 95 % intervals of the accuracies per class, over images and seeds, float, (2, classes): low and high.

    Args:
        labels: int, (n,).
        outputs: of one role.
    """
    correct = outputs.predicted == labels
    intervals = np.full((2, outputs.logits.shape[2]), np.nan)
    for label in np.unique(labels):
        intervals[:, label] = mean_accuracy_interval(correct[:, labels == label])
    return intervals


def class_accuracy(labels: np.ndarray, roles: Mapping[str, RoleOutputs]) -> dict[str, np.ndarray]:
    """Return the accuracy per class, means over the models of a role.

    Args:
        labels: int, (n,).
        roles: the outputs by role.

    Returns:
        By role, float, (classes,); NaN for a class without images.
    """
    return {
        role: per_class_accuracy(
            sum(confusion_matrix(labels, predicted, outputs.logits.shape[2]) for predicted in outputs.predicted)
        )
        for role, outputs in roles.items()
    }
