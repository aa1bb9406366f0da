"""Classes that a student never saw: it may know them from the teacher, and only its bias forbids them."""

from collections.abc import Sequence

import numpy as np


def unseen_bias(labels: np.ndarray, logits: np.ndarray, unseen: Sequence[int]) -> float:
    """The number that, added to the logits of the unseen classes, makes most images right.

    Hinton, Vinyals & Dean 2015 (arXiv 1503.02531, section 3) tuned it on the test set; give validation images here. The
    search is exact: an image changes sides where the number passes the distance between its best seen and its best
    unseen logit, so that only these distances need be looked at. Of equally good intervals the middle of the widest.
    Without an image of an unseen class there is nothing to tune it on, and it is 0.

    Args:
        labels: int, (n,).
        logits: (n, classes).
        unseen: classes to raise; at least one, and not all.
    """
    if not np.isin(labels, unseen).any():
        return 0.0
    is_unseen = np.isin(np.arange(logits.shape[1]), unseen)
    seen_logits = np.where(is_unseen, -np.inf, logits.astype(np.float64))
    unseen_logits = np.where(is_unseen, logits.astype(np.float64), -np.inf)
    distance = seen_logits.max(axis=1) - unseen_logits.max(axis=1)  # above it, the image is called unseen
    order = np.argsort(distance)
    right_as_seen = (seen_logits.argmax(axis=1) == labels)[order]
    right_as_unseen = (unseen_logits.argmax(axis=1) == labels)[order]
    # right[k]: images right when the k with the smallest distances are called unseen
    right = np.concatenate([[0], np.cumsum(right_as_unseen)]) + np.concatenate(
        [np.cumsum(right_as_seen[::-1])[::-1], [0]]
    )
    edges = np.concatenate([[distance[order[0]] - 1], distance[order], [distance[order[-1]] + 1]])
    right[np.diff(edges) == 0] = -1  # images of equal distance change sides together
    widths = np.where(right == right.max(), np.diff(edges), -1.0)
    best = int(np.argmax(widths))
    return float((edges[best] + edges[best + 1]) / 2)


def with_bias(logits: np.ndarray, unseen: Sequence[int], bias: float) -> np.ndarray:
    """Logits (…, classes) with `bias` added to those of the unseen classes."""
    corrected = logits.copy()
    corrected[..., list(unseen)] += bias
    return corrected
