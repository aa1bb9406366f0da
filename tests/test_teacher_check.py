"""What is said of a teacher from elsewhere that was misread: nothing of a good one, whatever the number of classes."""

import numpy as np
import pytest

from distillery.learning.metrics import confusion_matrix
from distillery.teachers.calibration import calibrating_temperature
from distillery.teachers.check import doubts, exchanged_outputs, guesses
from distillery.teachers.conventions import compare, conventions


def teacher(classes: int, images: int, skill: float, order=None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and logits of a teacher that knows that part of the images and guesses the others.

    Args:
        order: by output, the class that it stands for; as the data set has them by default.
    """
    random = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    knows = random.random(images) < skill
    answers = np.where(knows, labels, random.integers(classes, size=images))
    logits = 3 * np.eye(classes)[answers] + 3 * knows[:, np.newaxis] * np.eye(classes)[answers]
    logits += random.normal(0, 0.1, (images, classes))
    return labels, logits if order is None else logits[:, order]


def names(classes: int) -> list[str]:
    return [f"class {number}" for number in range(classes)]


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
@pytest.mark.parametrize("skill", [0.7, 0.99])
def test_good_teacher_raises_no_doubt(classes, skill):
    for seed in range(3):
        assert doubts(*teacher(classes, 20 * classes + 60, skill, seed=seed), names(classes)) == []


@pytest.mark.parametrize(("classes", "images"), [(2, 60), (2, 5000), (10, 200), (10, 5000), (100, 5000)])
def test_guessing_teacher_is_told_as_guessing_and_not_as_exchanged(classes, images):
    for seed in range(5):
        labels, logits = teacher(classes, images, 0.0, seed=seed)
        confusion = confusion_matrix(labels, logits.argmax(axis=1), classes)
        assert guesses(int(np.trace(confusion)), confusion.sum(axis=1))
        assert exchanged_outputs(confusion).pairs == []


@pytest.mark.parametrize(("classes", "images"), [(2, 60), (4, 60), (10, 200), (100, 2000)])
def test_two_exchanged_outputs_are_named(classes, images):
    order = [1, 0, *range(2, classes)]
    (doubt,) = doubts(*teacher(classes, images, 0.9, order), names(classes))
    assert "outputs look exchanged: the one for 'class 1' is 'class 0', 'class 0' is 'class 1'; " in doubt
    assert f" of {images:,} validation images are correct (" in doubt
    assert ("and 80 more" in doubt) == (classes == 100)


def test_outputs_in_another_order_are_named():
    order = np.random.default_rng(1).permutation(10)
    labels, logits = teacher(10, 300, 0.9, order)
    (doubt,) = doubts(labels, logits, names(10))
    for output, meant in enumerate(order):
        assert (f"'class {output}' is 'class {meant}'" in doubt) == (output != meant)
    restored = np.empty_like(logits)
    restored[:, order] = logits
    assert doubts(labels, restored, names(10)) == []


def test_two_classes_taken_for_one_are_not_told_as_exchanged():
    labels, logits = teacher(4, 400, 0.95)
    logits[labels == 0] = logits[labels == 1][: np.sum(labels == 0)]  # every image of class 0 looks like class 1
    assert doubts(labels, logits, names(4)) == []


def test_logits_of_another_scale_are_told():
    labels, logits = teacher(10, 300, 0.9)
    for scale in (255.0, 0.01):  # pixels of 0 to 255 where 0 to 1 were meant; probabilities taken for logits
        (doubt,) = doubts(labels, scale * logits, names(10))
        assert "no good logits" in doubt
        found = calibrating_temperature(labels, scale * logits) / calibrating_temperature(labels, logits)
        assert found == pytest.approx(scale, rel=0.02)
        assert doubts(labels, logits, names(10)) == []


@pytest.mark.parametrize("skill", [0.8, 0.97, 0.999])
def test_an_unsure_teacher_is_not_taken_for_one_of_larger_pixels(skill):
    # Label smoothing makes it unsure: pixels that make it surer have the lower log loss, though it errs more with them.
    labels, logits = teacher(10, 3000, skill)
    unsure = 0.5 * logits
    noise = np.random.default_rng(1).normal(0, 2, logits.shape)
    found = {"raw": 255 * unsure, "unit": unsure, "mnist": 3 * unsure + noise}
    known = conventions(1, grey=True)
    named = {known[name]: name for name in found}
    comparison = compare(
        {name: known[name] for name in found}, lambda pixels, chosen: found[named[pixels]][chosen], labels
    )
    assert comparison.alike == ["unit"]
