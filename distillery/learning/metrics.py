"""What a classifier's logits say of it. Plain functions on arrays; no Keras, so that they cost no import."""

from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax, softmax


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """How often each class was taken for each.

    scikit-learn has the same function; importing it costs training stages a second and more, this line nothing.

    Args:
        labels: int, (n,).
        predicted: int, (n,).
        classes: number of classes.

    Returns:
        int, (classes, classes): row the label, column the prediction.
    """
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def per_class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Part of each class's images that was recognised (the recall of each class).

    Args:
        confusion: (classes, classes), row the label.

    Returns:
        float, (classes,); NaN for a class without images.
    """
    images = confusion.sum(axis=1)
    return np.divide(np.diag(confusion), images, out=np.full(len(confusion), np.nan), where=images > 0)


def balanced_accuracy(confusion: np.ndarray) -> float:
    """Return the mean of the accuracies of the classes, 0 to 1: each counts alike, however many images it has.

    Args:
        confusion: (classes, classes), row the label; classes without images are left out.
    """
    return float(np.nanmean(per_class_accuracy(confusion)))


def macro_f1(confusion: np.ndarray) -> float:
    """Return the mean over the classes of F1, 0 to 1, the harmonic mean of precision and recall.

    Args:
        confusion: (classes, classes), row the label; classes that neither are nor are predicted are left out.
    """
    found = confusion.sum(axis=0) + confusion.sum(axis=1)
    return float(np.mean(2 * np.diag(confusion)[found > 0] / found[found > 0]))


def by_class_name(values: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Return one value per class by the class's name; a class without a value (NaN) is left out."""
    return {name: value for name, value in zip(classes, values.tolist(), strict=True) if value == value}


def negative_log_likelihood(labels: np.ndarray, logits: np.ndarray) -> float:
    """Mean of −ln p(label), in nats.

    Args:
        labels: int, (n,).
        logits: (n, classes).
    """
    return float(-np.mean(log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels]))


def expected_calibration_error(labels: np.ndarray, logits: np.ndarray, bins: int) -> float:
    """Return the mean distance between confidence and accuracy over bins of equal width, each weighted by its images.

    Naeini, Cooper & Hauskrecht 2015; Guo et al. 2017 (arXiv 1706.04599), equation 3. A bin holds its upper edge. Of few
    images it is mostly chance: `distillery.evaluation.calibration` tells how much.

    Args:
        labels: int, (n,).
        logits: (n, classes).
        bins: number of bins over 0…1.

    Returns:
        0 (perfectly calibrated) to 1.
    """
    confidence, predicted = confidences(logits)
    return calibration_gap(confidence, predicted == labels, bins)


def confidences(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest probability of each image, and its class."""
    probabilities = softmax(logits.astype(np.float64), axis=1)
    return probabilities.max(axis=1), probabilities.argmax(axis=1)


def calibration_gap(confidence: np.ndarray, correct: np.ndarray, bins: int) -> float:
    """Return the calibration error, given the confidence and whether it was correct, each (n,), and the bins."""
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(which, weights=confidence, minlength=bins) - np.bincount(which, weights=correct, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def spread(values: Sequence[float]) -> float:
    """Standard deviation over seeds (n − 1 in the denominator); 0 for a single seed, which has none."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
