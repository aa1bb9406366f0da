"""Multi-level logit distillation: Jin, Wang & Lin 2023 (CVPR), section 3."""

from keras import ops

STEPS = (0.5, 0.75, 1.0, 1.25, 1.5)  # times T; the authors' code has 2 to 6, T being 4


def loss(labels, teacher, student, temperature, *, images: float = 64.0, classes: float = 4096.0):
    """Return the mean over five temperatures t of KL · (t / T)² + (images · mean(G²) + classes · Σ M² / C) / T².

    KL is that of `kd` at temperature t. G is the difference of the teacher's and the student's p · pᵀ, (batch, batch),
    M that of their pᵀ · p / batch, (C, C) for C classes, p being the probabilities at temperature t: how alike the
    images of a batch are, and how alike the classes. The authors divide neither by the batch: with theirs of 64 images
    the default weights, 64 and 64², are theirs, and here they mean the same for any batch. Times T², by
    `distill.t_squared`, each term is the authors'. They add the temperatures up, where here is the mean, so that the
    loss has the size of `kd`'s. They show each image twice in a step, augmented weakly and strongly, and add the
    losses; here a batch has one view of an image, and another the next epoch.

    Args:
        labels: not used.
        teacher: its outputs by name; `logits`: float, (batch, classes).
        student: the same of the student.
        temperature: T > 0, in the middle of the five.
        images: weight of how alike the images are.
        classes: weight of how alike the classes are.

    Returns:
        Float, (batch,); 0 where the two distributions are the same.
    """
    total = 0.0
    for step in STEPS:
        mine, other = (ops.log_softmax(one["logits"] / (step * temperature), axis=-1) for one in (teacher, student))
        p, q = ops.exp(mine), ops.exp(other)
        of_image = ops.sum(p * (mine - other), axis=-1) * step**2
        between_images = ops.mean(ops.square(_products(p) - _products(q)), axis=-1)
        apart = (_products(ops.transpose(p)) - _products(ops.transpose(q))) / ops.cast(ops.shape(p)[0], p.dtype)
        between_classes = ops.mean(ops.sum(ops.square(apart), axis=-1))
        total += of_image + (images * between_images + classes * between_classes) / temperature**2
    return total / len(STEPS)


def _products(rows):
    return ops.matmul(rows, ops.transpose(rows))
