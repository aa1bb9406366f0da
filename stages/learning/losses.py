"""Losses: pure functions of logits. No model, file or setting in sight."""

from keras import ops


def hard_loss(labels, logits, label_smoothing: float = 0.0):
    """Cross-entropy of the labels, averaged over the batch.

    Args:
        labels: int, (batch,), the classes' indices.
        logits: float, (batch, classes).
        label_smoothing: part of each label that is spread evenly over all classes (Szegedy et al. 2016, arXiv
            1512.00567, section 7).

    Returns:
        A scalar, in nats.
    """
    log_probabilities = ops.log_softmax(logits, axis=-1)
    of_label = ops.take_along_axis(log_probabilities, ops.expand_dims(labels, -1), axis=-1)[..., 0]
    if label_smoothing:
        of_label = (1 - label_smoothing) * of_label + label_smoothing * ops.mean(log_probabilities, axis=-1)
    return -ops.mean(of_label)


def soft_loss(teacher_logits, student_logits, temperature: float):
    """T² · KL(softmax(teacher / T) ‖ softmax(student / T)), averaged over the batch.

    T² keeps the size of the gradients when the temperature changes, so that `alpha` means the same at every
    temperature (Hinton, Vinyals & Dean 2015, arXiv 1503.02531, section 2).

    Args:
        teacher_logits: float, (batch, classes).
        student_logits: float, (batch, classes).
        temperature: T > 0.

    Returns:
        A scalar, in nats; 0 where the two distributions are the same.
    """
    teacher = ops.log_softmax(teacher_logits / temperature, axis=-1)
    student = ops.log_softmax(student_logits / temperature, axis=-1)
    return temperature**2 * ops.mean(ops.sum(ops.exp(teacher) * (teacher - student), axis=-1))
