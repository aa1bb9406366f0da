"""What a classifier's logits say of it. Plain functions on arrays; no Keras, so that they cost no import."""

from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax


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


def spread(values: Sequence[float]) -> float:
    """Standard deviation over seeds (n − 1 in the denominator); 0 for a single seed, which has none."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
