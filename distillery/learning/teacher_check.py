"""What speaks against a teacher that was trained elsewhere: its accuracy alone does not tell that it was misread."""

from collections.abc import Sequence

import numpy as np
from scipy.special import bdtrc

from distillery.learning.metrics import confusion_matrix, negative_log_likelihood

SIGNIFICANCE = 0.001  # p below which outputs look exchanged: of many classes some are confused by chance
NAMED = 20  # classes that a warning names at most


def doubts(labels: np.ndarray, logits: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Return a sentence where the classes, pixels or outputs of a teacher seem to be others than they are taken for.

    Args:
        labels: int, (n,), of validation images.
        logits: (n, classes), the teacher's.
        classes: their names, in the order of the labels.
    """
    confusion = confusion_matrix(labels, logits.argmax(axis=1), len(classes))
    correct, images = int(np.trace(confusion)), len(labels)
    named = ", ".join(classes[:NAMED]) + (f" and {len(classes) - NAMED} more" if len(classes) > NAMED else "")
    found = f"{correct:,} of {images:,} validation images are correct ({100 * correct / images:.1f} %)"
    if exchanged := _exchanged(confusion):
        would = sum(int(confusion[label, output]) for label, output in enumerate(_best_order(confusion)))
        pairs = ", ".join(f"{classes[output]!r} is {classes[label]!r}" for output, label in exchanged[:NAMED])
        return [
            f"outputs look exchanged: the one for {pairs}; {found}, in that order {would:,} would be; accepted: the"
            f" classes in this order: {named}"
        ]
    if _guesses(correct, confusion.sum(axis=1)):
        return [
            f"{found}, hardly more than by guessing; it must take pixels from 0 to 255, and give the classes in this"
            f" order: {named}"
        ]
    some = slice(None, None, -(-images // 5000))  # are enough
    loss = negative_log_likelihood(labels[some], logits[some])
    scales = np.geomspace(1e-3, 1e3, 31)
    losses = {scale: negative_log_likelihood(labels[some], logits[some] / scale) for scale in scales}
    best = min(losses, key=losses.get)
    if loss > 2 * losses[best] and loss > losses[best] + 0.3:
        return [
            f"its outputs are no good logits: their loss is {loss:.2f}, {losses[best]:.2f} when they are divided by"
            f" {best:.2g}; it must take pixels from 0 to 255, and give logits or probabilities"
        ]
    return []


def _guesses(correct: int, images: np.ndarray) -> bool:
    """Return whether a model is not clearly better than the best constant answer, given the images of each class."""
    share = images.max() / images.sum()
    p = bdtrc(correct - 1, images.sum(), share) if correct else 1.0  # of as many by that answer, binomial
    return p > 0.05 or correct < min(2 * share, share + (1 - share) / 10) * images.sum()


def _best_order(confusion: np.ndarray) -> np.ndarray:
    """Return, for each class, the output that would make most images correct if each class had another output."""
    from scipy.optimize import linear_sum_assignment  # a quarter of a second, and only for teachers from elsewhere

    # Where several orders are equal, the one with the fewest exchanges.
    return linear_sum_assignment(confusion + 0.5 / len(confusion) * np.eye(len(confusion)), maximize=True)[1]


def _exchanged(confusion: np.ndarray) -> list[tuple[int, int]]:
    """Return (output, class that it seems to stand for), where that makes clearly more images correct."""
    order, images = _best_order(confusion), confusion.sum(axis=1)
    label = np.flatnonzero(order != np.arange(len(order)))
    output, found = order[label], confusion[label, order[label]]
    better, worse = int(found.sum()), int(confusion[label, label].sum())
    if better <= worse or bdtrc(better - 1, better + worse, 0.5) > SIGNIFICANCE:  # a one-sided sign test
        return []
    # In the best of many orders a teacher that guesses is more often correct, too, but with few of its outputs clearly.
    by_chance = bdtrc(found - 1.0, images[label], confusion.sum(axis=0)[output] / images.sum())
    clear = (found == confusion[label].max(axis=1)) & (by_chance < SIGNIFICANCE / len(order))
    return list(zip(output[clear].tolist(), label[clear].tolist(), strict=True))
