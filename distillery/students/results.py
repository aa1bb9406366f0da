"""Results of training students: means over the seeds, and the numbers of the stage."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from distillery.learning.checkpoint import Epoch
from distillery.learning.metrics import (
    balanced_accuracy,
    confusion_matrix,
    macro_f1,
    negative_log_likelihood,
    spread,
)
from distillery.learning.training import curves
from distillery.students.train import TrainedStudent


@dataclass(frozen=True)
class MeanEpoch:
    """An epoch over all seeds: the means of its metrics, and the sum of the confusion matrices on validation."""

    number: int
    metrics: dict[str, float]
    confusion: np.ndarray
    ended: int


class EpochMeans:
    """Gathers the epochs of all students; the mean of an epoch is known as soon as the last seed has it.

    Args:
        labels: of the validation images, int, (n,).
        classes: number of classes.
        seeds: number of students.
    """

    def __init__(self, labels: np.ndarray, classes: int, seeds: int):
        self._labels, self._classes, self._seeds = labels, classes, seeds
        self._metrics: dict[int, list[Mapping[str, float]]] = defaultdict(list)
        self._predictions: dict[int, list[np.ndarray]] = defaultdict(list)  # of a thousand classes matrices are large
        self._means: list[dict[str, float]] = []

    def add(self, epoch: Epoch) -> MeanEpoch | None:
        """Take an epoch of a student, and return the mean where it was the last student's."""
        metrics = self._metrics[epoch.number]
        metrics.append(epoch.metrics)
        self._predictions[epoch.number].append(epoch.predictions)
        if len(metrics) < self._seeds:
            return None
        means = {name: float(np.mean([one[name] for one in metrics])) for name in metrics[0]}
        self._means.append(means)
        predictions = np.concatenate(self._predictions.pop(epoch.number))
        confusion = confusion_matrix(np.tile(self._labels, self._seeds), predictions, self._classes)
        return MeanEpoch(epoch.number, means, confusion, epoch.ended)

    @property
    def curves(self) -> pd.DataFrame:
        """A row per epoch: its number and the means of its metrics."""
        return curves(self._means)


@dataclass(frozen=True)
class StudentsResult:
    """What a stage that trains students ends with.

    Attributes:
        metrics: `val_accuracy`, its spread, `val_balanced_accuracy`, `val_macro_f1`, `val_loss` and
            `overfitting_points`, means over the seeds.
        by_seed: the metric that the student to ship is chosen by, on validation.
        confusion: on validation, summed over the seeds, (classes, classes).
    """

    metrics: dict[str, float]
    by_seed: dict[int, float]
    confusion: np.ndarray


def students_result(
    students: Sequence[TrainedStudent], labels: np.ndarray, classes: int, chosen_by: str
) -> StudentsResult:
    """Return the result over the validation images.

    Args:
        students: one per seed.
        labels: int, (n,).
        classes: number of classes.
        chosen_by: the metric by which one is chosen: `val_accuracy` or `val_balanced_accuracy`.
    """
    confusions = [confusion_matrix(labels, student.validation_logits.argmax(axis=1), classes) for student in students]
    accuracies = [float(np.trace(confusion) / confusion.sum()) for confusion in confusions]
    balanced = [balanced_accuracy(confusion) for confusion in confusions]
    learned = [student.training_accuracy for student in students]
    losses = [negative_log_likelihood(labels, student.validation_logits) for student in students]
    metrics = {
        "val_accuracy": float(np.mean(accuracies)),
        "val_accuracy_std": spread(accuracies),
        "val_balanced_accuracy": float(np.mean(balanced)),
        "val_macro_f1": float(np.mean([macro_f1(confusion) for confusion in confusions])),
        "val_loss": float(np.mean(losses)),
        "overfitting_points": 100 * float(np.mean(learned) - np.mean(accuracies)),
    }
    seeds = [student.seed for student in students]
    scores = {"val_accuracy": accuracies, "val_balanced_accuracy": balanced}[chosen_by]
    return StudentsResult(metrics, dict(zip(seeds, scores, strict=True)), sum(confusions))
