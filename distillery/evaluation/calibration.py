"""Calibration: whether a classifier is as often correct as its probabilities promise."""

import numpy as np

from distillery.data.random_streams import Purpose, generator
from distillery.learning.metrics import calibration_gap, confidences

SIMULATIONS = 100  # of a perfectly calibrated model


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
    confidence, _ = confidences(logits)
    random = generator(Purpose.CALIBRATED_MODEL)
    drawn = (random.random(len(confidence)) < confidence for _ in range(SIMULATIONS))
    return float(np.mean([calibration_gap(confidence, correct, bins) for correct in drawn]))
