"""The temperature at which a classifier's probabilities are true."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

ENOUGH = 5000  # images
TEMPERATURES = (1e-3, 1e3)


def calibrating_temperature(labels: np.ndarray, logits: np.ndarray) -> float:
    """Return the temperature by which logits are divided so that their log loss is lowest.

    Guo et al. 2017 (arXiv 1706.04599), section 4.2; as if one image more were mistaken (Platt 1999, section 2.2), so
    that a few images that are all correct have one, too.

    Args:
        labels: int, (n,).
        logits: (n, classes).
    """
    some = slice(None, None, -(-len(labels) // ENOUGH))
    labels, logits = labels[some], logits[some].astype(np.float64)
    mistaken = 1 / (len(labels) + 2)

    def loss(exponent: float) -> float:
        found = log_softmax(logits / np.exp(exponent), axis=1)
        return -(1 - mistaken) * found[np.arange(len(labels)), labels].mean() - mistaken * found.mean()

    return float(np.exp(minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded").x))
