"""Which images teach a person something about the two models."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from distillery.evaluation.roles import RoleOutputs


@dataclass(frozen=True)
class ImageSheet:
    """Some test images with the probabilities that teacher and distilled student give.

    Attributes:
        images: uint8, (n, height, width, channels).
        labels: int, (n,).
        probabilities: by role, (n, classes).
    """

    images: np.ndarray
    labels: np.ndarray
    probabilities: Mapping[str, np.ndarray]


def instructive_images(
    images: np.ndarray, labels: np.ndarray, roles: Mapping[str, RoleOutputs], count: int
) -> ImageSheet:
    """Return the most instructive test images for teacher and distilled student.

    Args:
        images: uint8, (n, height, width, channels).
        labels: int, (n,).
        roles: the outputs by role.
        count: how many images.
    """
    probabilities = {
        role: softmax(roles[role].chosen_logits.astype("float64"), axis=1) for role in ("teacher", "distilled")
    }
    first = instructive_order(labels, *probabilities.values())[:count]
    return ImageSheet(images[first], labels[first], {role: values[first] for role, values in probabilities.items()})


def instructive_order(labels: np.ndarray, teacher: np.ndarray, student: np.ndarray) -> np.ndarray:
    """Return the positions of all images, the instructive ones first.

    First those where the teacher is correct and the student wrong, then other disagreements, then images where both are
    wrong, then the rest; within each group those first to whose label the student gives the lowest probability.

    Args:
        labels: int, (n,).
        teacher: probabilities, (n, classes).
        student: probabilities, (n, classes).

    Returns:
        int, (n,).
    """
    teacher_predicts, student_predicts = teacher.argmax(axis=1), student.argmax(axis=1)
    rank = np.select(
        [
            (teacher_predicts == labels) & (student_predicts != labels),
            teacher_predicts != student_predicts,
            student_predicts != labels,
        ],
        [0, 1, 2],
        default=3,
    )
    return np.lexsort((student[np.arange(len(labels)), labels], rank))
