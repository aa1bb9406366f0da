"""What a classifier's outputs mean: logits, probabilities, shares (percentages, votes), logarithms, or sigmoids."""

import numpy as np
from scipy.special import logsumexp

SUMS = 2e-2  # half precision sums to 1 no closer
ROUNDED = 0.25  # nor do rounded numbers, of which each may be half a step away; so far at most
SMALLEST = 1e-30  # probability whose logarithm is still finite in float32
MEMBER_LOGITS = "member_logits"  # an output of an ensemble: the logits of each member
KINDS = ("logits", "probabilities", "shares", "log-probabilities", "one sigmoid a class")


def width_of(found: np.ndarray, images: int) -> int | None:
    """Return how many outputs an image has: besides the images, one axis at most is longer than 1; None otherwise."""
    if not found.size or found.ndim == 0 or len(found) != images:
        return None
    width = found.size // images
    return width if max(found.shape[1:], default=1) == width else None


def kind_of(found: np.ndarray) -> str:
    """Return which of `KINDS` some values are.

    Args:
        found: float, (n, outputs), of n images.
    """
    found = found.astype(np.float64)
    within = found.min() >= -1e-6 and found.max() <= 1 + 1e-3
    if within and found.shape[1] > 1 and _sums_to(1, found):
        return "probabilities"
    if within:
        return "one sigmoid a class"
    if found.min() >= -1e-4 and found.shape[1] > 1 and _sums_to(found.sum(axis=1).mean(), found):
        return "shares"
    if found.shape[1] > 1 and found.max() <= 1e-3 and np.allclose(logsumexp(found, axis=1), 0, atol=SUMS):
        return "log-probabilities"
    return "logits"


def _sums_to(whole: float, found: np.ndarray) -> bool:
    """Return whether the outputs of each image sum to a number, but for rounding."""
    steps = np.diff(np.unique(found), prepend=found.min() - whole)
    rounded = min(ROUNDED * whole, found.shape[1] * steps.min() / 2)
    return np.allclose(found.sum(axis=1), whole, rtol=0, atol=max(SUMS * whole, 1.001 * rounded))


def logits_of(found: np.ndarray, kind: str) -> np.ndarray:
    """Return logits, float32, (n, outputs): their softmax is what the classifier says.

    A single output is that of the second of two classes, so that there are two logits.

    Args:
        found: float, (n, outputs).
        kind: one of `KINDS`.
    """
    found = found.astype(np.float32)
    if kind in ("probabilities", "shares"):  # of whatever sum: softmax divides by it
        found = np.log(np.maximum(found, SMALLEST))
    elif kind == "one sigmoid a class":  # float32 knows 1 no closer
        found = np.log(np.maximum(found, SMALLEST)) - np.log(np.maximum(1 - found, 1e-7))
    if found.shape[1] == 1:
        found = np.concatenate([np.zeros_like(found), found], axis=1)
    return found
