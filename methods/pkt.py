"""Probabilistic knowledge transfer: Passalis & Tefas 2018 (arXiv 1803.10837), section 3."""

from keras import ops

OUTPUTS = ("embedding",)
SMALL = 1e-7


def loss(labels, teacher, student, temperature, *, weight: float = 500.0):
    """Return weight · KL(p_t ‖ p_s), one value an image.

    p is the probability with which an image picks each image of the batch: (1 + cosine of the embeddings) / 2, divided
    by its sum over the batch. It does not change when the embeddings are rotated or scaled, so that teacher and student
    may have other numbers of units. Tian et al. 2020 (arXiv 1910.10699) weigh the mean over batch² by 30,000, with the
    loss of the labels, `distill.alpha` 0.5: of the mean over images, in batches of 64, that is about 500.

    Args:
        labels: not used.
        teacher: its outputs by name; `embedding`: float, (batch, units).
        student: the same of the student, of any number of units.
        temperature: not used.
        weight: of the loss.

    Returns:
        Float, (batch,).
    """
    p, q = _probabilities(teacher["embedding"]), _probabilities(student["embedding"])
    return weight * ops.sum(p * (ops.log(p + SMALL) - ops.log(q + SMALL)), axis=-1)


def _probabilities(embedding):
    x = embedding / ops.sqrt(ops.sum(ops.square(embedding), axis=-1, keepdims=True) + SMALL)
    alike = (1 + ops.matmul(x, ops.transpose(x))) / 2
    return alike / ops.sum(alike, axis=-1, keepdims=True)
