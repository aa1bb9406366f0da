"""What speaks against a teacher that was trained elsewhere: its accuracy alone does not tell that it was misread."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from scipy.optimize import linear_sum_assignment
from scipy.special import bdtrc

from distillery.data.errors import InputError
from distillery.data.files import atomic_write
from distillery.learning.metrics import confusion_matrix, negative_log_likelihood
from distillery.teachers.calibration import calibrating_temperature
from distillery.teachers.conventions import STAGES, drawn_order

SIGNIFICANCE = 0.001  # p below which outputs look exchanged: of many classes some are confused by chance
PART = 0.1  # of the images: so many more must be correct in another order of the outputs
NAMED = 20  # classes that a warning names at most
MENDED = Path("teacher_classes.yaml")


@dataclass(frozen=True)
class Order:
    """The order of the outputs in which most images would be correct.

    Attributes:
        outputs: for each class the output, int, (classes,).
        pairs: (output, class that it seems to stand for), where that makes clearly more images correct.
        correct: images that are.
        would: images that would be in that order.
    """

    outputs: np.ndarray
    pairs: list[tuple[int, int]]
    correct: int
    would: int


def exchanged_outputs(confusion: np.ndarray) -> Order:
    """Return the best order of the outputs, and which are clearly exchanged.

    Args:
        confusion: int, (classes, classes), row the label, column the output.
    """
    # Where several orders are equal, the one with the fewest exchanges.
    order = linear_sum_assignment(confusion + 0.5 / len(confusion) * np.eye(len(confusion)), maximize=True)[1]
    would = int(confusion[np.arange(len(order)), order].sum())
    return Order(order, _clear(confusion, order), int(np.trace(confusion)), would)


def _clear(confusion: np.ndarray, order: np.ndarray) -> list[tuple[int, int]]:
    images = confusion.sum(axis=1)
    label = np.flatnonzero(order != np.arange(len(order)))
    output, found = order[label], confusion[label, order[label]]
    better, worse = int(found.sum()), int(confusion[label, label].sum())
    if better <= worse or bdtrc(better - 1, better + worse, 0.5) > SIGNIFICANCE:  # a one-sided sign test
        return []
    # In the best of many orders a teacher that guesses is more often correct, too, but with few of its outputs clearly.
    by_chance = bdtrc(found - 1.0, images[label], confusion.sum(axis=0)[output] / images.sum())
    clear = (found == confusion[label].max(axis=1)) & (by_chance < SIGNIFICANCE / len(order))
    return list(zip(output[clear].tolist(), label[clear].tolist(), strict=True))


def mending_file(order: Order, classes: Sequence[str], outputs: Sequence[Sequence[int]] | None) -> Path:
    """Write the file for `train_teacher.classes` that gives each class the output that seems to mean it.

    Args:
        order: the best order.
        classes: names of the classes.
        outputs: numbers of the outputs of each class as they were taken; None: the classes in their order.

    Returns:
        The file.
    """
    mapping = {
        name: [int(number) for number in (outputs[column] if outputs else [column])]
        for name, column in zip(classes, order.outputs.tolist(), strict=True)
    }
    with atomic_write(MENDED) as temporary:
        temporary.write_text(yaml.safe_dump(mapping, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return MENDED


def refuse_another_order(
    path: Path,
    candidates: Sequence[Callable[[np.ndarray], np.ndarray]],
    labels: np.ndarray,
    classes: Sequence[str],
    outputs: Sequence[Sequence[int]] | None,
) -> None:
    """Refuse a classifier whose outputs stand for the classes in another order, with the file that mends it.

    Args:
        path: of the classifier.
        candidates: for each meaning of its pixels that is possible, a function from numbers of validation images to
            logits, (n, classes).
        labels: int, of all validation images.
        classes: their names.
        outputs: numbers of the outputs of each class as they were taken; None: the classes in their order.

    Raises:
        InputError: when it is so.
    """
    count = min(len(labels), max(STAGES[0], 5 * len(classes)))
    some = np.sort(drawn_order(len(labels))[:count])
    tried = [(_best_order(answers, labels, some, len(classes)), answers) for answers in candidates]
    best, answers = max(tried, key=lambda one: one[0].would)
    # Red and blue things change places where blue comes first: with the right pixels, nothing is exchanged.
    if best.would - max(order.correct for order, _ in tried) < PART * count:
        return
    order = _best_order(answers, labels, np.arange(len(labels)), len(classes))
    if not order.pairs or order.would - order.correct < PART * len(labels):
        return
    written = mending_file(order, classes, outputs)
    pairs = ", ".join(f"the one for {classes[output]!r} is {classes[label]!r}" for output, label in order.pairs[:10])
    raise InputError(
        f"{path}: its outputs stand for the classes in another order: {pairs}; {order.correct:,} of {len(labels):,}"
        f" validation images are correct, {order.would:,} would be; accepted: train_teacher.classes={written}, a file"
        " that was written with that order: look at it first; a member of an ensemble has it beside it, as classes.yaml"
    )


def _best_order(answers: Callable, labels: np.ndarray, images: np.ndarray, classes: int) -> Order:
    return exchanged_outputs(confusion_matrix(labels[images], answers(images).argmax(axis=1), classes))


def guesses(correct: int, images: np.ndarray) -> bool:
    """Return whether a classifier is not clearly better than the best constant answer.

    Args:
        correct: images that are.
        images: number of each class, (classes,).
    """
    total = round(images.sum())
    share = images.max() / images.sum()
    p = bdtrc(correct - 1, total, share) if correct else 1.0  # of as many by that answer, binomial
    return bool(p > 0.05 or correct < min(2 * share, share + (1 - share) / 10) * total)


def doubts(labels: np.ndarray, logits: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Return a sentence where the classes, pixels or outputs of a teacher seem to be others than they are taken for.

    Args:
        labels: int, (n,), of validation images.
        logits: (n, classes), the teacher's.
        classes: their names, in the order of the labels.
    """
    order = exchanged_outputs(confusion_matrix(labels, logits.argmax(axis=1), len(classes)))
    named = ", ".join(classes[:NAMED]) + (f" and {len(classes) - NAMED} more" if len(classes) > NAMED else "")
    if order.pairs:
        pairs = ", ".join(f"{classes[output]!r} is {classes[label]!r}" for output, label in order.pairs[:NAMED])
        return [
            f"outputs look exchanged: the one for {pairs}; {order.correct:,} of {len(labels):,} validation images are"
            f" correct ({100 * order.correct / len(labels):.1f} %), in that order {order.would:,} would be; accepted:"
            f" the classes in this order: {named}"
        ]
    loss, best = negative_log_likelihood(labels, logits), calibrating_temperature(labels, logits)
    calibrated = negative_log_likelihood(labels, logits / best)
    if loss > 2 * calibrated and loss > calibrated + 0.3:
        return [
            f"its outputs are no good logits: their loss is {loss:.2f}, {calibrated:.2f} when they are divided by"
            f" {best:.2g}; distill.temperature counts in such units; do its pixels mean others? see"
            " train_teacher.preprocessing"
        ]
    return []
