"""The loss of the labels: a pure function of logits."""

from keras import ops


def hard_loss(labels, logits, label_smoothing: float = 0.0):
    """Return the cross-entropy of the labels, averaged over the batch.

    Args:
        labels: int, (batch,), the classes' indices; or of images that are mixed, or have no label, float,
            (batch, classes), each class's part.
        logits: float, (batch, classes).
        label_smoothing: part of each label that is spread evenly over all classes (Szegedy et al. 2016, arXiv
            1512.00567, section 7).

    Returns:
        A scalar, in nats.
    """
    log_probabilities = ops.log_softmax(logits, axis=-1)
    if len(labels.shape) > 1:
        of_label = ops.sum(ops.cast(labels, log_probabilities.dtype) * log_probabilities, axis=-1)
    else:
        labels = ops.cast(labels, "int32")  # of a compiled loss, Keras makes them floating-point numbers
        of_label = ops.take_along_axis(log_probabilities, ops.expand_dims(labels, -1), axis=-1)[..., 0]
    if label_smoothing:
        of_label = (1 - label_smoothing) * of_label + label_smoothing * ops.mean(log_probabilities, axis=-1)
    return -ops.mean(of_label)
