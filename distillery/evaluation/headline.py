"""The numbers of `evaluate`, from logits and labels: the headline, and the details behind it."""

from collections.abc import Mapping

import numpy as np

from distillery.evaluation.calibration import expected_calibration_error
from distillery.evaluation.comparison import Gain, agreement
from distillery.evaluation.roles import RoleOutputs
from distillery.learning.metrics import confusion_matrix, negative_log_likelihood, per_class_accuracy, spread


def headline_metrics(labels: np.ndarray, roles: Mapping[str, RoleOutputs], gain: Gain) -> dict:
    """Return the content of `metrics/evaluate.json`.

    Args:
        labels: int, (n,).
        roles: the outputs by role.
        gain: of distilled over scratch.
    """
    headline = {}
    for role, outputs in roles.items():
        correct = outputs.predicted == labels
        headline[role] = {"accuracy": float(correct.mean())}
        if role != "teacher":
            headline[role]["accuracy_std"] = spread(correct.mean(axis=1))
        headline[role]["errors"] = float((~correct).sum(axis=1).mean())
    headline["gain"] = {
        "points": gain.points,
        "ci_low": gain.ci_low,
        "ci_high": gain.ci_high,
        "p": gain.p,
    }
    teacher, student = roles["teacher"], roles["distilled"]
    headline["compression"] = {
        "parameters": teacher.parameters / student.parameters,
        "bytes": teacher.bytes / student.bytes,
        "student_parameters": student.parameters,
    }
    if teacher.multiply_adds and student.multiply_adds:
        headline["compression"]["multiply_adds"] = teacher.multiply_adds / student.multiply_adds
    return headline


def quality_metrics(labels: np.ndarray, roles: Mapping[str, RoleOutputs], gain: Gain, bins: int) -> dict:
    """Return the content of `metrics/quality.json`: means over the models of a role.

    `constant_predictors` counts the models that predict the same class for every image: they learned nothing.

    Args:
        labels: int, (n,).
        roles: the outputs by role.
        gain: of distilled over scratch.
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
            "constant_predictors": int((predicted == predicted[:, :1]).all(axis=1).sum()),
        }
        curves = {name: np.asarray(outputs.curves[name]) for name in ("accuracy", "val_accuracy")}
        best = int(curves["val_accuracy"].argmax())
        # At the best epoch of the mean curve. Augmentation and dropout lower training accuracy, and so this gap.
        quality[role]["overfitting_points"] = float(100 * (curves["accuracy"][best] - curves["val_accuracy"][best]))
        if role != "teacher":
            quality[role]["agreement_with_teacher"] = float(np.mean([agreement(logits, teacher) for logits in models]))
    quality["gain"] = {"images_won": gain.wins, "images_lost": gain.losses}
    return quality


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
