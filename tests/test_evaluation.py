"""The evaluation: headline, quality, calibration, unseen classes, instructive images."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import random_logits
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score

from distillery.evaluation.calibration import calibration_error_by_chance
from distillery.evaluation.comparison import accuracy_gain
from distillery.evaluation.instructive import instructive_images, instructive_order
from distillery.evaluation.results import compare_roles
from distillery.evaluation.roles import RoleOutputs
from distillery.evaluation.unseen import Unseen, omitted_metrics, unseen_bias, with_bias
from distillery.learning.metrics import expected_calibration_error

CURVES = {"accuracy": [0.5, 0.9, 1.0], "val_accuracy": [0.4, 0.8, 0.7]}


def outputs(logits: np.ndarray, parameters: int = 10, chosen: int = 0) -> RoleOutputs:
    return RoleOutputs(logits, chosen, parameters, 4 * parameters, 2 * parameters, CURVES)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), bins=st.integers(2, 20))
def test_calibration_error_equals_a_loop_over_bins(seed, bins):
    labels, logits = random_logits(seed)
    probabilities = softmax(logits.astype(np.float64), axis=1)
    expected = 0.0
    for number in range(bins):
        inside = [row for row in range(len(labels)) if number / bins < probabilities[row].max() <= (number + 1) / bins]
        if inside:
            accuracy = np.mean([probabilities[row].argmax() == labels[row] for row in inside])
            confidence = np.mean([probabilities[row].max() for row in inside])
            expected += len(inside) / len(labels) * abs(accuracy - confidence)
    assert expected_calibration_error(labels, logits, bins) == pytest.approx(expected)


def test_calibrated_classifier_has_a_small_calibration_error():
    random = np.random.default_rng(0)
    logits = random.normal(size=(50_000, 3))
    labels = (random.random((50_000, 1)) > softmax(logits, axis=1).cumsum(axis=1)).sum(axis=1)  # drawn from it
    assert expected_calibration_error(labels, logits, 15) < 0.01
    assert expected_calibration_error(labels, 5 * logits, 15) > 0.2


@pytest.mark.parametrize("images", [360, 10_000])
def test_calibration_error_by_chance_is_that_of_a_calibrated_model(images):
    """Labels drawn from the probabilities themselves, again and again: the errors' mean."""
    random = np.random.default_rng(0)
    logits = 3 * random.normal(size=(images, 10))
    thresholds = softmax(logits, axis=1).cumsum(axis=1)
    errors = [
        expected_calibration_error((random.random((images, 1)) > thresholds).sum(axis=1), logits, 15) for _ in range(60)
    ]
    deviation = np.std(errors) / 60**0.5
    assert calibration_error_by_chance(logits, 15) == pytest.approx(np.mean(errors), abs=5 * deviation)
    assert calibration_error_by_chance(logits, 15) == calibration_error_by_chance(logits, 15)


def test_balanced_accuracy_counts_every_class_alike():
    labels = np.array([0] * 8 + [1] * 2)
    of_zero = np.tile([1.0, 0.0], (10, 1))
    roles = dict.fromkeys(("teacher", "distilled", "scratch", "same_recipe"), outputs(of_zero[np.newaxis]))
    evaluation = compare_roles(["a", "b"], labels, roles, 5)
    assert evaluation.headline["teacher"]["accuracy"] == pytest.approx(0.8)
    expected = balanced_accuracy_score(labels, np.zeros(10, int))
    assert evaluation.headline["teacher"]["balanced_accuracy"] == pytest.approx(expected) == pytest.approx(0.5)


def test_instructive_images_come_first():
    labels = np.array([0, 0, 0, 0, 0])
    correct, wrong, other = [0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.3, 0.0, 0.7]
    teacher = np.array([correct, correct, wrong, wrong, wrong])
    student = np.array([correct, wrong, correct, other, wrong])
    # teacher correct and student wrong; disagreements, the least sure of the label first; both wrong; both correct
    assert instructive_order(labels, teacher, student).tolist() == [1, 3, 2, 4, 0]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), unseen=st.sets(st.integers(0, 3), min_size=1, max_size=3))
def test_no_other_bias_has_a_higher_accuracy(seed, unseen):
    labels, logits = random_logits(seed, images=25, classes=4)
    logits = logits.round()  # ties: predictions that change at the same bias
    is_unseen = np.isin(np.arange(4), list(unseen))
    distances = np.unique(logits[:, ~is_unseen].max(axis=1) - logits[:, is_unseen].max(axis=1))
    between = [distances[0] - 1, *((distances[1:] + distances[:-1]) / 2), distances[-1] + 1]
    if not np.isin(labels, list(unseen)).any():
        assert unseen_bias(labels, logits, list(unseen)) == 0
        return

    def correct(bias: float) -> int:
        return int((with_bias(logits, list(unseen), bias).argmax(axis=1) == labels).sum())

    found = correct(unseen_bias(labels, logits, list(unseen)))
    assert found == max(correct(bias) for bias in between)


def test_bias_tuned_on_validation_is_used_on_the_test_set():
    """All classes are known alike but for a handicap on two of them, 5 on validation and 8 on the test set."""
    random = np.random.default_rng(0)
    labels = random.integers(5, size=4000)
    fair = random.normal(size=(4000, 5)) + 6 * np.eye(5)[labels]
    logits = fair - 5 * np.isin(np.arange(5), [1, 4])
    bias = unseen_bias(labels, logits, [1, 4])
    assert bias == pytest.approx(5, abs=0.5)
    validation = logits[np.newaxis]
    test_labels, unseen = labels[::-1], np.isin(labels[::-1], [1, 4])
    logits = fair[::-1] - 8 * np.isin(np.arange(5), [1, 4])
    unseen_classes = Unseen([1, 4], labels, {"distilled": validation})
    metrics = omitted_metrics(unseen_classes, test_labels, {"distilled": outputs(logits[np.newaxis])})
    assert metrics["distilled"]["accuracy"] == pytest.approx(
        np.mean(logits[unseen].argmax(axis=1) == test_labels[unseen])
    )
    corrected = logits + bias * np.isin(np.arange(5), [1, 4])
    assert metrics["distilled"]["errors_in_all_corrected"] == (corrected.argmax(axis=1) != test_labels).sum()
    assert metrics["distilled"]["bias"] == bias


def three_roles() -> tuple[np.ndarray, dict[str, RoleOutputs]]:
    """A perfect teacher; three students of each role, of which two distilled ones and two controls are constant."""
    labels = np.arange(30) % 3
    good = 5 * np.eye(3)[labels]
    constant = np.tile([0.0, 0.0, 1.0], (30, 1))
    return labels, {
        "teacher": outputs(good[np.newaxis], parameters=40),
        "distilled": outputs(np.stack([constant, good, constant]), chosen=1),
        "scratch": outputs(np.stack([good] * 3)),
        "same_recipe": outputs(np.stack([good, constant, constant])),
    }


def test_constant_predictors_are_counted():
    labels, roles = three_roles()
    quality = compare_roles(["a", "b", "c"], labels, roles, 5).quality
    counts = {role: quality[role]["constant_predictors"] for role in roles}
    assert counts == {"teacher": 0, "distilled": 2, "scratch": 0, "same_recipe": 2}
    assert quality["distilled"]["agreement_with_teacher"] == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)


def test_evaluation_holds_means_over_seeds_and_the_chosen_model():
    labels, roles = three_roles()
    evaluation = compare_roles(["a", "b", "c"], labels, roles, 5)
    headline = evaluation.headline
    assert headline["teacher"] == {"accuracy": 1, "balanced_accuracy": 1, "macro_f1": 1, "errors": 0}
    assert headline["distilled"]["accuracy"] == pytest.approx(5 / 9)
    assert headline["distilled"]["errors"] == pytest.approx(40 / 3)
    assert headline["gain"]["points"] == pytest.approx(-400 / 9)
    assert headline["gain_over_same_recipe"]["points"] == pytest.approx(0)
    assert headline["same_recipe"]["errors"] == headline["distilled"]["errors"]
    assert list(evaluation.predicted) == list(evaluation.class_accuracy) == ["teacher", "distilled", "scratch"]
    assert headline["compression"] == {"parameters": 4, "bytes": 4, "multiply_adds": 4, "student_parameters": 10}
    assert "omitted" not in headline
    np.testing.assert_array_equal(evaluation.predicted["distilled"], labels)
    np.testing.assert_allclose(evaluation.class_accuracy["distilled"], [1 / 3, 1 / 3, 1])
    sheet = instructive_images(np.zeros((30, 2, 2, 1), np.uint8), labels, roles, 4)
    assert sheet.images.shape == (4, 2, 2, 1)
    assert {role: values.shape for role, values in sheet.probabilities.items()} == {
        "teacher": (4, 3),
        "distilled": (4, 3),
    }


def test_omitted_classes_are_evaluated_apart():
    labels, roles = three_roles()
    validation = {role: roles[role].logits for role in ("distilled", "scratch")}
    evaluation = compare_roles(["a", "b", "c"], labels, roles, 5, Unseen([2], labels, validation))
    assert evaluation.omitted_classes == ["c"]
    assert list(evaluation.headline["omitted"]) == ["distilled", "scratch"]


def test_everything_can_be_computed_again_from_the_answers(pipeline):
    """Errors and gains, and the metrics of the training on validation images, from what each model predicted."""
    metrics = json.loads((pipeline / "metrics/evaluate.json").read_text())
    with np.load(pipeline / "models/answers.npz") as answers:
        labels = answers["labels"]
        correct = {role: answers[role] == labels for role in ("teacher", "distilled", "scratch", "same_recipe")}
    for role, of_role in correct.items():
        assert len(of_role) == (1 if role == "teacher" else 2)
        assert metrics[role]["errors"] == pytest.approx((~of_role).sum(axis=1).mean())
    for name, role in (("gain", "scratch"), ("gain_over_same_recipe", "same_recipe")):
        again = accuracy_gain(correct["distilled"], correct[role])
        assert metrics[name] == {key: getattr(again, key) for key in ("points", "ci_low", "ci_high", "p")}
    assert (correct["scratch"] != correct["same_recipe"]).any()
