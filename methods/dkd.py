"""Decoupled knowledge distillation: Zhao et al. 2022 (arXiv 2203.08679), equation 7."""

from keras import ops


def loss(labels, teacher, student, temperature, *, alpha: float = 1.0, beta: float = 8.0):
    """Return alpha · KL(b_t ‖ b_s) + beta · KL(p̂_t ‖ p̂_s), one value an image.

    b is the pair (probability of the label, of the rest); p̂ is the distribution over the rest alone. With alpha 1, and
    beta the teacher's probability of the rest, image by image, it is the loss of `kd`. The paper adds it, times T²,
    to the loss of the labels with equal weight: `distill.alpha` 0.5.

    Args:
        labels: int, (batch,), the classes' indices.
        teacher: its outputs by name; `logits`: float, (batch, classes), at least two classes.
        student: the same of the student.
        temperature: T > 0.
        alpha: weight of the label against the rest.
        beta: weight of the classes other than the label; in code also one per image, (batch,).

    Returns:
        Float, (batch,), in nats.
    """
    teacher_pair, teacher_rest = _decouple(labels, teacher["logits"] / temperature)
    student_pair, student_rest = _decouple(labels, student["logits"] / temperature)
    return alpha * _kl(teacher_pair, student_pair) + beta * _kl(teacher_rest, student_rest)


def _kl(log_p, log_q):
    """Return KL(p ‖ q) of each row. Where p is 0, its logarithm very negative but finite, the term is 0."""
    return ops.sum(ops.exp(log_p) * (log_p - log_q), axis=-1)


def _decouple(labels, logits):
    """Return logarithms of (label, rest), (batch, 2), and of the distribution over the rest, (batch, classes)."""
    is_label = ops.cast(ops.one_hot(labels, ops.shape(logits)[-1]), "bool")
    # A finite stand-in for −∞ leaves the label out of the rest: exp of it is 0, and 0 times it is no NaN.
    rest = ops.where(is_label, -1e9, logits)
    label_logit = ops.take_along_axis(logits, ops.expand_dims(labels, -1), axis=-1)[..., 0]
    normalizer = ops.logsumexp(logits, -1)
    pair = ops.stack([label_logit - normalizer, ops.logsumexp(rest, -1) - normalizer], axis=-1)
    return pair, ops.where(is_label, -1e9, ops.log_softmax(rest, axis=-1))
