"""Attention transfer: Zagoruyko & Komodakis 2017 (arXiv 1612.03928), section 3.1."""

from keras import ops

OUTPUTS = ("attention",)


def loss(labels, teacher, student, temperature, *, weight: float = 1000.0):
    """Return weight · the mean squared difference of the attention of teacher and student, one value an image.

    Attention is the sum over the channels of the squares of feature maps, divided by its norm. The last maps of each
    resolution are compared, the deepest of the teacher with the deepest of the student and so on, as many as both have;
    of two sizes the larger is averaged down to the smaller. The weight is that with which Tian et al. 2020 (arXiv
    1910.10699) compare it, added to the loss of the labels with equal weight: `distill.alpha` 0.5.

    Args:
        labels: not used.
        teacher: its outputs by name; `attention_1`, `attention_2` …: float, (batch, height, width), the deepest first.
        student: the same of the student, of any sizes.
        temperature: not used.
        weight: of the loss.

    Returns:
        Float, (batch,), the sum over the resolutions.
    """
    total = 0.0
    for name in sorted(name for name in teacher if name.startswith("attention_") and name in student):
        one, other = teacher[name], student[name]
        size = tuple(min(axes) for axes in zip(one.shape[1:], other.shape[1:], strict=True))
        difference = _averaged(one, size) - _averaged(other, size)
        total += ops.mean(ops.square(difference), axis=(1, 2))
    return weight * total


def _averaged(attention, size):
    """Return attention averaged to a size, (batch, *size), with norm 1 again."""
    if tuple(attention.shape[1:]) == size:
        return attention
    for axis, length in zip((1, 2), size, strict=True):
        weights = ops.convert_to_tensor(_areas(attention.shape[axis], length), attention.dtype)
        attention = ops.moveaxis(ops.tensordot(attention, weights, [[axis], [1]]), -1, axis)
    return attention / (ops.sqrt(ops.sum(ops.square(attention), axis=(1, 2), keepdims=True)) + 1e-12)


def _areas(length: int, shorter: int) -> list[list[float]]:
    """Return how much each place of an axis counts in each of fewer places, by the length that they share."""
    step = length / shorter
    return [
        [max(0.0, min(place + 1, (to + 1) * step) - max(place, to * step)) / step for place in range(length)]
        for to in range(shorter)
    ]
