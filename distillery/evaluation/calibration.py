"""Calibration: whether a classifier is as often correct as its probabilities promise."""

import numpy as np
from scipy.special import softmax


def expected_calibration_error(labels: np.ndarray, logits: np.ndarray, bins: int) -> float:
    """Return the mean distance between confidence and accuracy over bins of equal width, each weighted by its images.

    Naeini, Cooper & Hauskrecht 2015; Guo et al. 2017 (arXiv 1706.04599), equation 3. A bin holds its upper edge.

    Args:
        labels: int, (n,).
        logits: (n, classes).
        bins: number of bins over 0…1.

    Returns:
        0 (perfectly calibrated) to 1.
    """
    probabilities = softmax(logits.astype(np.float64), axis=1)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(which, weights=confidence, minlength=bins) - np.bincount(which, weights=correct, minlength=bins)
    return float(np.abs(gap).sum() / len(labels))
