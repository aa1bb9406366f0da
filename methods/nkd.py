"""Normalized knowledge distillation: Yang et al. 2023 (arXiv 2303.13005), section 3."""

from keras import ops


def loss(labels, teacher, student, temperature, *, gamma: float = 1.5):
    """Return −p_l · log q_l / T² − gamma · Σ p̂ · log q̂, one value an image.

    p_l and q_l are the teacher's and the student's probabilities of the label, without temperature; p̂ and q̂ are the
    distributions over the other classes alone, at temperature T. The paper multiplies the second term by T² and not the
    first: `distill.t_squared` multiplies both. It adds them to the loss of the labels with equal weight:
    `distill.alpha` 0.5. With two classes the second term is 0.

    Args:
        labels: int, (batch,), the classes' indices.
        teacher: its outputs by name; `logits`: float, (batch, classes).
        student: the same of the student.
        temperature: T > 0 of the classes other than the label.
        gamma: weight of the classes other than the label.

    Returns:
        Float, (batch,), in nats.
    """
    teacher_label, teacher_rest = _apart(labels, teacher["logits"], temperature)
    student_label, student_rest = _apart(labels, student["logits"], temperature)
    of_label = -ops.exp(teacher_label) * student_label
    of_rest = -ops.sum(ops.exp(teacher_rest) * student_rest, axis=-1)
    return of_label / temperature**2 + gamma * of_rest


def _apart(labels, logits, temperature):
    """Return log-probabilities: of the label, (batch,), and of the other classes among themselves, (batch, classes)."""
    is_label = ops.cast(ops.one_hot(labels, ops.shape(logits)[-1]), "bool")
    of_label = ops.sum(ops.where(is_label, ops.log_softmax(logits, axis=-1), 0.0), axis=-1)
    # A finite stand-in for −∞ leaves the label out of the rest: exp of it is 0, and 0 times it is no NaN.
    return of_label, ops.log_softmax(ops.where(is_label, -1e9, logits / temperature), axis=-1)
