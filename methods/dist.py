"""Distillation from a stronger teacher: Huang et al. 2022 (arXiv 2205.10536), section 3."""

from keras import ops


def loss(labels, teacher, student, temperature, *, beta: float = 1.0, gamma: float = 1.0):
    """Return beta · mean over images of (1 − ρ) + gamma · mean over classes of (1 − ρ).

    ρ is the Pearson correlation of the teacher's and the student's probabilities, within an image over the classes, and
    within a class over the images of the batch: what matters is their relation, not their size. With two classes the
    relation between classes is always 1 or −1, so that only the other term teaches. The paper adds it to the loss of
    the labels with equal weight, `distill.alpha` 0.5; its code multiplies it by T², as `distill.t_squared` does.

    Args:
        labels: not used.
        teacher: its outputs by name; `logits`: float, (batch, classes), at least two of each.
        student: the same of the student.
        temperature: T > 0.
        beta: weight of the relation between the classes of an image.
        gamma: weight of the relation between the images of a class.

    Returns:
        A scalar, 0 to 2 · (beta + gamma).
    """
    teacher_p = ops.softmax(teacher["logits"] / temperature, axis=-1)
    student_p = ops.softmax(student["logits"] / temperature, axis=-1)
    between_classes = 1 - ops.mean(_correlation(teacher_p, student_p, axis=1))
    between_images = 1 - ops.mean(_correlation(teacher_p, student_p, axis=0))
    return beta * between_classes + gamma * between_images


def _correlation(x, y, axis: int):
    """Return Pearson's correlation along an axis; it tends to 0 where one of the two hardly varies."""
    x = x - ops.mean(x, axis=axis, keepdims=True)
    y = y - ops.mean(y, axis=axis, keepdims=True)
    norms = ops.sqrt(ops.sum(x * x, axis=axis) * ops.sum(y * y, axis=axis) + 1e-16)
    return ops.sum(x * y, axis=axis) / norms
