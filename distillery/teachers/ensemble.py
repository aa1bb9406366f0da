"""Several classifiers as one teacher: what they predict together is the mean of their probabilities."""

from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax

from distillery.learning.prediction import Predict, predict_in_batches

MEMBERS = "members"  # the folder with a folder for each, in that of the teacher
MEAN_PROBABILITIES, MEAN_LOSS = "mean_probabilities", "mean_loss"  # what students learn from


def mean_logits(members: np.ndarray) -> np.ndarray:
    """Return the logarithm of the mean of the members' probabilities at temperature 1, float32, (n, classes).

    Hinton, Vinyals & Dean 2015 (arXiv 1503.02531), section 1: the ensemble's soft targets are the arithmetic mean of
    its members' distributions.

    Args:
        members: logits, (n, members, classes).
    """
    summed = log_softmax(members[:, 0].astype(np.float64), axis=1)
    for number in range(1, members.shape[1]):  # one by one: float64 of all of them takes memory
        summed = np.logaddexp(summed, log_softmax(members[:, number].astype(np.float64), axis=1))
    return (summed - np.log(members.shape[1])).astype(np.float32)


class Ensemble:
    """Classifiers that are run one after the other.

    Args:
        members: each from images, uint8, (n, height, width, channels), to logits, float32, (n, classes).
    """

    def __init__(self, members: Sequence[Predict]):
        self._members = members

    def member_logits(self, images: np.ndarray) -> np.ndarray:
        """Return the logits of each member, float32, (n, members, classes)."""
        return np.stack([predict(images) for predict in self._members], axis=1)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the logits of all together, `mean_logits`, float32, (n, classes)."""
        return predict_in_batches(lambda batch: mean_logits(self.member_logits(batch)), images)
