"""Relational knowledge distillation: Park et al. 2019 (arXiv 1904.05068), section 3.2."""

from keras import ops

OUTPUTS = ("embedding",)
GROUP = 64  # images among which distances and angles are taken: of a larger batch, the cube of angles takes gigabytes


def loss(labels, teacher, student, temperature, *, distance: float = 25.0, angle: float = 50.0):
    """Return distance · the loss of distances + angle · the loss of angles.

    Huber's loss between teacher and student: of the distances between two images, divided by their mean, and of the
    cosine of the angle at each image between two others. A batch is cut into groups of 64 images, the paper's size; a
    last, smaller group is left out. Neither changes when the embeddings are rotated, shifted or scaled, so that teacher
    and student may have other numbers of units. The weights are those with which Tian et al. 2020 (arXiv 1910.10699)
    compare it, added to the loss of the labels with equal weight: `distill.alpha` 0.5.

    Args:
        labels: not used.
        teacher: its outputs by name; `embedding`: float, (batch, units).
        student: the same of the student, of any number of units.
        temperature: not used.
        distance: weight of the distances.
        angle: weight of the angles.

    Returns:
        A scalar.
    """
    of_teacher, of_student = _groups(teacher["embedding"]), _groups(student["embedding"])
    of_distances = _huber(_distances(of_teacher), _distances(of_student))
    return distance * of_distances + angle * _huber(_angles(of_teacher), _angles(of_student))


def _groups(embedding):
    """Return (groups, images, units)."""
    batch, units = ops.shape(embedding)[0], embedding.shape[1]
    images = min(batch, GROUP) if isinstance(batch, int) else ops.minimum(batch, GROUP)
    groups = batch // images
    return ops.reshape(embedding[: groups * images], (groups, images, units))


def _distances(x):
    """Return the distances between images over their mean, (groups, images, images)."""
    squares = ops.sum(ops.square(ops.expand_dims(x, 2) - ops.expand_dims(x, 1)), axis=-1)
    apart = squares > 1e-12
    distances = ops.where(apart, ops.sqrt(ops.where(apart, squares, 1.0)), 0.0)  # the root has no gradient at 0
    pairs = ops.sum(ops.cast(apart, distances.dtype), axis=(1, 2), keepdims=True)
    mean = ops.sum(distances, axis=(1, 2), keepdims=True) / ops.maximum(pairs, 1.0)
    return distances / ops.maximum(mean, 1e-12)


def _angles(x):
    """Return the cosine at image i of the directions to images j and k, (groups, i, j, k)."""
    directions = ops.expand_dims(x, 1) - ops.expand_dims(x, 2)
    squares = ops.sum(ops.square(directions), axis=-1, keepdims=True)
    directions = directions / ops.sqrt(ops.maximum(squares, 1e-12))
    return ops.matmul(directions, ops.swapaxes(directions, -1, -2))


def _huber(x, y):
    error = ops.abs(x - y)
    return ops.mean(ops.where(error < 1, 0.5 * ops.square(error), error - 0.5))
