"""The loss of the labels, and how much each image counts: pure functions of logits and labels."""

from keras import ops


def hard_loss(labels, logits, label_smoothing: float = 0.0, class_weights=None):
    """Return the cross-entropy of the labels, averaged over the batch.

    Args:
        labels: int, (batch,), the classes' indices; or of images that are mixed, or have no label, float,
            (batch, classes), each class's part.
        logits: float, (batch, classes).
        label_smoothing: part of each label that is spread evenly over all classes (Szegedy et al. 2016, arXiv
            1512.00567, section 7).
        class_weights: float32, (classes,): the loss of an image is multiplied by its class's, of a mixed one each part
            of the loss. None where all count alike.

    Returns:
        A scalar, in nats.
    """
    log_probabilities = ops.log_softmax(logits, axis=-1)
    if len(labels.shape) > 1:
        parts = ops.cast(labels, log_probabilities.dtype)
        if class_weights is not None:
            parts = parts * class_weights
        of_label = ops.sum(parts * log_probabilities, axis=-1)
    else:
        labels = ops.cast(labels, "int32")  # of a compiled loss, Keras makes them floating-point numbers
        of_label = ops.take_along_axis(log_probabilities, ops.expand_dims(labels, -1), axis=-1)[..., 0]
        if class_weights is not None:
            of_label = image_weights(labels, class_weights) * of_label
    if label_smoothing:
        evenly = ops.mean(log_probabilities, axis=-1)
        if class_weights is not None:
            evenly = image_weights(labels, class_weights) * evenly
        of_label = (1 - label_smoothing) * of_label + label_smoothing * evenly
    return -ops.mean(of_label)


def image_weights(labels, class_weights):
    """Return how much each image counts, float, (batch,): a mixed one as its parts do, and what has no label as 1.

    Args:
        labels: int, (batch,), or float, (batch, classes), as `hard_loss` takes them.
        class_weights: float32, (classes,).
    """
    if len(labels.shape) == 1:
        return ops.take(class_weights, ops.cast(labels, "int32"))
    parts = ops.cast(labels, "float32")
    return ops.sum(parts * class_weights, axis=-1) + 1 - ops.sum(parts, axis=-1)
