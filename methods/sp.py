"""Similarity-preserving distillation: Tung & Mori 2019 (arXiv 1907.09682), section 3.1."""

from keras import ops

OUTPUTS = ("embedding",)


def loss(labels, teacher, student, temperature, *, weight: float = 3000.0):
    """Return weight · ‖G_t − G_s‖² / batch², as the mean of one value an image.

    G holds the products of the embeddings of every two images of the batch, each row divided by its norm. It does not
    change when the embeddings are rotated or scaled, so that teacher and student may have other numbers of units. The
    weight is the paper's, added to the loss of the labels with equal weight: `distill.alpha` 0.5.

    Args:
        labels: not used.
        teacher: its outputs by name; `embedding`: float, (batch, units).
        student: the same of the student, of any number of units.
        temperature: not used.
        weight: of the loss.

    Returns:
        Float, (batch,).
    """
    difference = _similarities(teacher["embedding"]) - _similarities(student["embedding"])
    return weight * ops.mean(ops.square(difference), axis=-1)


def _similarities(embedding):
    products = ops.matmul(embedding, ops.transpose(embedding))
    return products / ops.sqrt(ops.sum(ops.square(products), axis=-1, keepdims=True) + 1e-12)
