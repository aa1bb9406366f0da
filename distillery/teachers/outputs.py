"""What a classifier's outputs mean: logits, probabilities, their logarithms, or one sigmoid a class."""

import numpy as np
from scipy.special import logsumexp

SUMS = 2e-2  # half precision sums to 1 no closer
SMALLEST = 1e-30  # probability whose logarithm is still finite in float32
KINDS = ("logits", "probabilities", "log-probabilities", "one sigmoid a class")


def kind_of(found: np.ndarray) -> str:
    """Return which of `KINDS` some values are.

    Args:
        found: float, (n, outputs), of n images.
    """
    found = found.astype(np.float64)
    within = found.min() >= -1e-6 and found.max() <= 1 + 1e-3
    if within and found.shape[1] > 1 and np.allclose(found.sum(axis=1), 1, atol=SUMS):
        return "probabilities"
    if within:
        return "one sigmoid a class"
    if found.shape[1] > 1 and found.max() <= 1e-3 and np.allclose(logsumexp(found, axis=1), 0, atol=SUMS):
        return "log-probabilities"
    return "logits"


def logits_of(found: np.ndarray, kind: str) -> np.ndarray:
    """Return logits, float32, (n, outputs): their softmax is what the classifier says.

    A single output is that of the second of two classes, so that there are two logits.

    Args:
        found: float, (n, outputs).
        kind: one of `KINDS`.
    """
    found = found.astype(np.float32)
    if kind == "probabilities":
        found = np.log(np.maximum(found, SMALLEST))
    elif kind == "one sigmoid a class":  # float32 knows 1 no closer
        found = np.log(np.maximum(found, SMALLEST)) - np.log(np.maximum(1 - found, 1e-7))
    if found.shape[1] == 1:
        found = np.concatenate([np.zeros_like(found), found], axis=1)
    return found
