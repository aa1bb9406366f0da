"""Calibration: whether a classifier is as often correct as its probabilities promise."""

import numpy as np
from scipy.special import softmax

from distillery.data.random_streams import Purpose, generator

SIMULATIONS = 100  # of a perfectly calibrated model


def expected_calibration_error(labels: np.ndarray, logits: np.ndarray, bins: int) -> float:
    """Return the mean distance between confidence and accuracy over bins of equal width, each weighted by its images.

    Naeini, Cooper & Hauskrecht 2015; Guo et al. 2017 (arXiv 1706.04599), equation 3. A bin holds its upper edge. Of few
    images it is mostly chance: `calibration_error_by_chance` tells how much.

    Args:
        labels: int, (n,).
        logits: (n, classes).
        bins: number of bins over 0…1.

    Returns:
        0 (perfectly calibrated) to 1.
    """
    confidence, predicted = _confidence(logits)
    return _error(confidence, predicted == labels, bins)


def calibration_error_by_chance(logits: np.ndarray, bins: int) -> float:
    """Return the calibration error to be expected of a model with these confidences if it is perfectly calibrated.

    Each prediction is taken as correct with the probability that the model gives it, again and again (the consistency
    resampling of Bröcker & Smith 2007, doi 10.1175/WAF993.1). The error is a sum of distances, which chance makes
    larger than 0 and never smaller.

    Args:
        logits: (n, classes).
        bins: number of bins over 0…1.

    Returns:
        The mean over simulations, 0 to 1.
    """
    confidence, _ = _confidence(logits)
    random = generator(Purpose.CALIBRATED_MODEL)
    drawn = (random.random(len(confidence)) < confidence for _ in range(SIMULATIONS))
    return float(np.mean([_error(confidence, correct, bins) for correct in drawn]))


def _confidence(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest probability of each image, and its class."""
    probabilities = softmax(logits.astype(np.float64), axis=1)
    return probabilities.max(axis=1), probabilities.argmax(axis=1)


def _error(confidence: np.ndarray, correct: np.ndarray, bins: int) -> float:
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(which, weights=confidence, minlength=bins) - np.bincount(which, weights=correct, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))
