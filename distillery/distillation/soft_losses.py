"""Soft losses, from a teacher's logits: pure functions. They stand apart so that a new one retrains no teacher."""

from keras import ops


def kd_loss(teacher_logits, student_logits, temperature: float):
    """KL(softmax(teacher / T) ‖ softmax(student / T)), averaged over the batch.

    Hinton, Vinyals & Dean 2015 (arXiv 1503.02531), section 2.

    Args:
        teacher_logits: float, (batch, classes).
        student_logits: float, (batch, classes).
        temperature: T > 0.

    Returns:
        A scalar, in nats; 0 where the two distributions are the same.
    """
    teacher = ops.log_softmax(teacher_logits / temperature, axis=-1)
    student = ops.log_softmax(student_logits / temperature, axis=-1)
    return ops.mean(_kl(teacher, student))


def dkd_loss(labels, teacher_logits, student_logits, temperature: float, alpha: float, beta: float):
    """Decoupled knowledge distillation: alpha · KL(b_t ‖ b_s) + beta · KL(p̂_t ‖ p̂_s), averaged over the batch.

    b is the pair (probability of the label, of the rest); p̂ is the distribution over the rest alone. With alpha 1, and
    beta the teacher's probability of the rest, image by image, it is `kd_loss`. Zhao et al. 2022 (arXiv 2203.08679),
    equation 7.

    Args:
        labels: int, (batch,), the classes' indices.
        teacher_logits: float, (batch, classes), at least two classes.
        student_logits: float, (batch, classes).
        temperature: T > 0.
        alpha: weight of the first term.
        beta: weight of the second term; a number, or one an image, (batch,).

    Returns:
        A scalar, in nats.
    """
    teacher_pair, teacher_rest = _decoupled(labels, teacher_logits / temperature)
    student_pair, student_rest = _decoupled(labels, student_logits / temperature)
    return ops.mean(alpha * _kl(teacher_pair, student_pair) + beta * _kl(teacher_rest, student_rest))


def dist_loss(teacher_logits, student_logits, temperature: float, beta: float, gamma: float):
    """Distillation from a stronger teacher: what matters is the relation between probabilities, not their size.

    beta · mean over images of (1 − ρ) + gamma · mean over classes of (1 − ρ), with ρ the Pearson correlation of
    teacher's and student's probabilities, within an image over the classes, and within a class over the images of the
    batch. Huang et al. 2022 (arXiv 2205.10536), section 3. With two classes the relation between classes is always 1 or
    −1, so that only the other term teaches.

    Args:
        teacher_logits: float, (batch, classes), at least two of each.
        student_logits: float, (batch, classes).
        temperature: T > 0.
        beta: weight of the relation between classes.
        gamma: weight of the relation between images.

    Returns:
        A scalar, 0 to 2 · (beta + gamma).
    """
    teacher = ops.softmax(teacher_logits / temperature, axis=-1)
    student = ops.softmax(student_logits / temperature, axis=-1)
    between_classes = 1 - ops.mean(_correlation(teacher, student, axis=1))
    between_images = 1 - ops.mean(_correlation(teacher, student, axis=0))
    return beta * between_classes + gamma * between_images


def _of_label(labels, values):
    return ops.take_along_axis(values, ops.expand_dims(labels, -1), axis=-1)[..., 0]


def _kl(log_p, log_q):
    """KL(p ‖ q) of each row. Where p is 0, its logarithm very negative but finite, the term is 0."""
    return ops.sum(ops.exp(log_p) * (log_p - log_q), axis=-1)


def _decoupled(labels, logits):
    """Logarithms of (label, rest), (batch, 2), and of the distribution over the rest, (batch, classes)."""
    is_label = ops.cast(ops.one_hot(labels, ops.shape(logits)[-1]), "bool")
    # A finite stand-in for −∞ leaves the label out of the rest: exp of it is 0, and 0 times it is no NaN.
    rest = ops.where(is_label, -1e9, logits)
    of_label, of_rest, all_together = _of_label(labels, logits), ops.logsumexp(rest, -1), ops.logsumexp(logits, -1)
    pair = ops.stack([of_label - all_together, of_rest - all_together], axis=-1)
    return pair, ops.where(is_label, -1e9, ops.log_softmax(rest, axis=-1))


def _correlation(x, y, axis: int):
    """Pearson's correlation along an axis; it tends to 0 where one of the two hardly varies."""
    x = x - ops.mean(x, axis=axis, keepdims=True)
    y = y - ops.mean(y, axis=axis, keepdims=True)
    norms = ops.sqrt(ops.sum(x * x, axis=axis) * ops.sum(y * y, axis=axis) + 1e-16)
    return ops.sum(x * y, axis=axis) / norms
