"""The numbers of `evaluate`, from logits and labels: the headline, and the details behind it."""

from collections.abc import Mapping, Sequence

import numpy as np

from distillery.evaluation.comparison import Gain
from distillery.evaluation.unseen import unseen_bias, with_bias
from distillery.learning.metrics import (
    agreement,
    confusion_matrix,
    expected_calibration_error,
    negative_log_likelihood,
    per_class_accuracy,
    spread,
)


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


def quality_metrics(
    labels: np.ndarray,
    logits: Mapping[str, np.ndarray],
    gain: Gain,
    bins: int,
    curves: Mapping[str, Mapping[str, Sequence[float]]],
) -> dict:
    """What stands in `metrics/quality.json`: means over the models of a kind.

    `models_of_one_class` counts those that say the same class of every image: they learned nothing.

    Args:
        labels: int, (n,).
        logits: by kind, (models, n, classes).
        gain: of distilled over scratch.
        bins: of the calibration error.
        curves: by kind, columns of one value an epoch, means over the models.
    """
    teacher = logits["teacher"][0]
    quality = {}
    for kind, models in logits.items():
        quality[kind] = {
            "negative_log_likelihood": float(np.mean([negative_log_likelihood(labels, one) for one in models])),
            "calibration_error": float(np.mean([expected_calibration_error(labels, one, bins) for one in models])),
            "models_of_one_class": int((models.argmax(axis=2) == models[:, :1].argmax(axis=2)).all(axis=1).sum()),
        }
        history = curves[kind]
        best = int(np.argmax(history["val_accuracy"]))
        # At the best epoch of the mean curve. Augmentation and dropout lower training accuracy, and so this gap.
        quality[kind]["overfitting_points"] = 100 * (history["accuracy"][best] - history["val_accuracy"][best])
        if kind != "teacher":
            quality[kind]["agreement_with_teacher"] = float(np.mean([agreement(one, teacher) for one in models]))
    quality["gain"] = {"images_won": gain.wins, "images_lost": gain.losses}
    return quality


def omitted_metrics(
    omitted: Sequence[int],
    labels: np.ndarray,
    logits: Mapping[str, np.ndarray],
    validation_labels: np.ndarray,
    validation_logits: Mapping[str, np.ndarray],
) -> dict:
    """How students do on classes that they never saw, as they are and with a bias tuned on validation.

    Every number is a mean over the students of a kind.

    Args:
        omitted: the classes.
        labels: int, (n,), of the test images.
        logits: by kind, (models, n, classes), of the test images.
        validation_labels: int, (m,).
        validation_logits: by kind of student, (models, m, classes).
    """
    unseen = np.isin(labels, omitted)
    metrics = {}
    for kind, tuned_on in validation_logits.items():
        biases = [unseen_bias(validation_labels, one, omitted) for one in tuned_on]
        corrected = np.stack([with_bias(one, omitted, bias) for one, bias in zip(logits[kind], biases, strict=True)])
        wrong = logits[kind].argmax(axis=2) != labels
        wrong_corrected = corrected.argmax(axis=2) != labels
        metrics[kind] = {
            "accuracy": float(1 - wrong[:, unseen].mean()),
            "accuracy_corrected": float(1 - wrong_corrected[:, unseen].mean()),
            "errors": float(wrong[:, unseen].sum(axis=1).mean()),
            "errors_corrected": float(wrong_corrected[:, unseen].sum(axis=1).mean()),
            "errors_in_all_corrected": float(wrong_corrected.sum(axis=1).mean()),
            "bias": float(np.mean(biases)),
        }
    return metrics


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
