"""Which images teach a person something about the two models."""

import numpy as np


def instructive_order(labels: np.ndarray, teacher: np.ndarray, student: np.ndarray) -> np.ndarray:
    """Positions of all images, the instructive ones first.

    First those that the teacher has right and the student wrong, then other disagreements, then images that both have
    wrong, then the rest; within each, those first of whose label the student was least sure.

    Args:
        labels: int, (n,).
        teacher: probabilities, (n, classes).
        student: probabilities, (n, classes).

    Returns:
        int, (n,).
    """
    teacher_says, student_says = teacher.argmax(axis=1), student.argmax(axis=1)
    rank = np.select(
        [
            (teacher_says == labels) & (student_says != labels),
            teacher_says != student_says,
            student_says != labels,
        ],
        [0, 1, 2],
        default=3,
    )
    return np.lexsort((student[np.arange(len(labels)), labels], rank))
