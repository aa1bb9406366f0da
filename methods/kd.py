"""Knowledge distillation: Hinton, Vinyals & Dean 2015 (arXiv 1503.02531), section 2."""

from keras import ops


def loss(labels, teacher, student, temperature):
    """Return KL(softmax(teacher / T) ‖ softmax(student / T)), one value an image.

    Args:
        labels: not used.
        teacher: its outputs by name; `logits`: float, (batch, classes).
        student: the same of the student.
        temperature: T > 0.

    Returns:
        Float, (batch,), in nats; 0 where the two distributions are the same.
    """
    teacher_log_p = ops.log_softmax(teacher["logits"] / temperature, axis=-1)
    student_log_p = ops.log_softmax(student["logits"] / temperature, axis=-1)
    return ops.sum(ops.exp(teacher_log_p) * (teacher_log_p - student_log_p), axis=-1)
