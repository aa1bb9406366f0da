"""The numbers of `evaluate`, from logits and labels: the headline, and the details behind it."""

from collections.abc import Mapping, Sequence

import numpy as np

from stages.reporting.classification import (
    agreement,
    confusion_matrix,
    expected_calibration_error,
    negative_log_likelihood,
    per_class_accuracy,
    spread,
)
from stages.reporting.comparison import Gain


def headline_metrics(
    correct: Mapping[str, np.ndarray], gain: Gain, parameters: Mapping[str, int], sizes: Mapping[str, int]
) -> dict:
    """What stands in `metrics/evaluate.json`.

    Args:
        correct: by kind (teacher, distilled, scratch), bool, (models, n): which images each model has right.
        gain: of distilled over scratch.
        parameters: by kind.
        sizes: by kind, bytes of the file.
    """
    headline = {}
    for kind, right in correct.items():
        headline[kind] = {"accuracy": float(right.mean())}
        if kind != "teacher":
            headline[kind]["accuracy_std"] = spread(right.mean(axis=1))
        headline[kind]["errors"] = float((~right).sum(axis=1).mean())
    headline["gain"] = {
        "points": gain.points,
        "ci_low": gain.ci_low,
        "ci_high": gain.ci_high,
        "mcnemar_p": gain.mcnemar_p,
    }
    headline["compression"] = {
        "parameters": parameters["teacher"] / parameters["distilled"],
        "bytes": sizes["teacher"] / sizes["distilled"],
    }
    return headline


def quality_metrics(labels: np.ndarray, logits: Mapping[str, np.ndarray], gain: Gain, bins: int) -> dict:
    """What stands in `metrics/quality.json`: means over the models of a kind.

    Args:
        labels: int, (n,).
        logits: by kind, (models, n, classes).
        gain: of distilled over scratch.
        bins: of the calibration error.
    """
    teacher = logits["teacher"][0]
    quality = {}
    for kind, models in logits.items():
        quality[kind] = {
            "negative_log_likelihood": float(np.mean([negative_log_likelihood(labels, one) for one in models])),
            "calibration_error": float(np.mean([expected_calibration_error(labels, one, bins) for one in models])),
        }
        if kind != "teacher":
            quality[kind]["agreement_with_teacher"] = float(np.mean([agreement(one, teacher) for one in models]))
    quality["gain"] = {"images_won": gain.wins, "images_lost": gain.losses}
    return quality


def class_accuracy(labels: np.ndarray, logits: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Accuracy of each class, mean over the models of a kind.

    Args:
        labels: int, (n,).
        logits: by kind, (models, n, classes).

    Returns:
        By kind, float, (classes,).
    """
    return {
        kind: per_class_accuracy(sum(confusion_matrix(labels, one.argmax(axis=1), models.shape[2]) for one in models))
        for kind, models in logits.items()
    }


def named(values: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """One value a class, by the class's name."""
    return dict(zip(classes, values.tolist(), strict=True))
