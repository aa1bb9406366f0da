"""The convention of the pixels is found whatever trained the classifier: smoothed labels, or too many epochs."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from distillery.teachers.calibration import calibrating_temperature
from distillery.teachers.conventions import compare, convention, conventions
from distillery.teachers.pixels import values

NAMES = [name for name in conventions(1, grey=True) if not name.endswith("crop")]


def logits_by_convention(truth: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Labels, and what scikit-learn's network, trained with one convention, answers with each."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[order, ..., np.newaxis]
    labels = digits.target[order]

    def flat(name: str) -> np.ndarray:
        return values(images, convention(name)).reshape(len(images), -1)

    network = MLPClassifier(64, alpha=1e-3, max_iter=150, random_state=1).fit(flat(truth)[:900], labels[:900])
    (first, last), (bias, last_bias) = network.coefs_, network.intercepts_
    answers = {name: np.maximum(flat(name)[900:] @ first + bias, 0) @ last + last_bias for name in NAMES}
    np.testing.assert_allclose(answers[truth].argmax(axis=1), network.predict(flat(truth)[900:]))
    return labels[900:], answers


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("truth", ["unit", "symmetric", "mnist"])
@pytest.mark.parametrize("caution", [0.5, 1.0, 4.0])
def test_neither_caution_nor_certainty_hides_the_convention(truth, caution):
    labels, answers = logits_by_convention(truth)
    found = compare({name: name for name in NAMES}, lambda name, chosen: answers[name][chosen] / caution, labels)
    assert found.alike[0] == truth
    if caution == 1:
        assert "raw" not in found.left  # 255 times as large, it answers nearly the same, many times surer


def test_the_temperature_of_images_that_are_all_correct_is_finite():
    labels = np.arange(50) % 5
    logits = 4 * np.eye(5)[labels]
    found = calibrating_temperature(labels, logits)
    assert 0.5 < found < 2  # four nats: at least as sure as 50 images without a mistake allow
    assert calibrating_temperature(labels, 100 * logits) == pytest.approx(100 * found, rel=1e-3)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_pixels_of_another_scale_are_not_taken_where_all_images_are_correct():
    labels, answers = logits_by_convention("unit")
    correct = np.all([answers[name].argmax(axis=1) == labels for name in ("raw", "unit")], axis=0)
    for images in (20, 100):
        some = np.flatnonzero(correct)[:images]
        found = compare(
            {name: name for name in NAMES}, lambda name, chosen, some=some: answers[name][some][chosen], labels[some]
        )
        assert found.alike[0] == "unit"
        assert "raw" not in found.left
