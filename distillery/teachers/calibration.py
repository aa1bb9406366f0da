"""The temperature at which a classifier's probabilities are true."""

import numpy as np
from scipy.optimize import minimize_scalar

from distillery.learning.metrics import negative_log_likelihood

ENOUGH = 5000  # images
TEMPERATURES = (1e-3, 1e3)


def calibrating_temperature(
    labels: np.ndarray, logits: np.ndarray, bounds: tuple[float, float] = TEMPERATURES
) -> float:
    """Return the temperature by which logits are divided so that their log loss is lowest.

    Guo et al. 2017 (arXiv 1706.04599), section 4.2.

    Args:
        labels: int, (n,).
        logits: (n, classes).
        bounds: the lowest and the highest temperature.
    """
    some = slice(None, None, -(-len(labels) // ENOUGH))
    labels, logits = labels[some], logits[some].astype(np.float64)

    def loss(exponent: float) -> float:
        return negative_log_likelihood(labels, logits / np.exp(exponent))

    return float(np.exp(minimize_scalar(loss, bounds=np.log(bounds), method="bounded").x))
