"""The hard loss and the methods against float64 NumPy and SciPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax, softmax
from scipy.stats import entropy, pearsonr, zscore

from distillery import InputError, load_method
from distillery.distillation.methods import standardized
from distillery.learning.losses import hard_loss


def soft_loss(method, labels, teacher, student, temperature, **parameters):
    """Return the loss of a method over logits, averaged over the images."""
    loss = load_method(method, **parameters)(labels, {"logits": teacher}, {"logits": student}, temperature)
    return keras.ops.mean(loss)


def kd_loss(teacher, student, temperature):
    return soft_loss("kd", None, teacher, student, temperature)


def dkd_loss(labels, teacher, student, temperature, alpha, beta):
    return soft_loss("dkd", labels, teacher, student, temperature, alpha=alpha, beta=beta)


def dist_loss(teacher, student, temperature, beta, gamma):
    return soft_loss("dist", None, teacher, student, temperature, beta=beta, gamma=gamma)


LOGITS = arrays(np.float32, (5, 4), elements=st.floats(-20, 20, width=32))


@settings(max_examples=60, deadline=None)
@given(teacher=LOGITS, student=LOGITS, temperature=st.floats(0.5, 30))
def test_kd_is_the_relative_entropy_of_the_softened_probabilities(teacher, student, temperature):
    p = softmax(teacher.astype(np.float64) / temperature, axis=1)
    q = softmax(student.astype(np.float64) / temperature, axis=1)
    expected = entropy(p, q, axis=1).mean()  # KL(p ‖ q), by SciPy
    assert float(kd_loss(teacher, student, temperature)) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_kd_of_equal_logits_is_zero_and_shifts_do_not_matter():
    logits = np.random.default_rng(0).normal(size=(8, 10)).astype(np.float32)
    assert float(kd_loss(logits, logits, 3.0)) == pytest.approx(0, abs=1e-6)
    assert float(kd_loss(logits, logits + 7, 3.0)) == pytest.approx(0, abs=1e-4)


def test_at_high_temperature_the_soft_loss_matches_logits():
    """Hinton et al. 2015, section 2.1: for T large, T² · KL tends to Σ (z − v)² / 2N with both zero-meaned."""
    random = np.random.default_rng(1)
    teacher, student = (random.normal(size=(16, 10)) for _ in range(2))
    teacher -= teacher.mean(axis=1, keepdims=True)
    student -= student.mean(axis=1, keepdims=True)
    expected = ((teacher - student) ** 2).sum(axis=1).mean() / (2 * 10)
    found = 100**2 * float(kd_loss(teacher.astype(np.float32), student.astype(np.float32), 100.0))
    assert found == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_hard_loss_is_the_cross_entropy_of_smoothed_labels(smoothing):
    random = np.random.default_rng(2)
    logits, labels = random.normal(size=(32, 10)) * 5, random.integers(10, size=32)
    target = (1 - smoothing) * np.eye(10)[labels] + smoothing / 10
    expected = -(target * np.log(softmax(logits, axis=1))).sum(axis=1).mean()
    found = float(hard_loss(labels, logits.astype(np.float32), smoothing))
    assert found == pytest.approx(expected, rel=1e-5)


LABELS = arrays(np.int32, 5, elements=st.integers(0, 3))


def probabilities(logits, temperature):
    return softmax(logits.astype(np.float64) / temperature, axis=1)


@settings(max_examples=60, deadline=None)
@given(
    labels=LABELS,
    teacher=LOGITS,
    student=LOGITS,
    temperature=st.floats(0.5, 30),
    alpha=st.floats(0, 5),
    beta=st.floats(0, 9),
)
def test_dkd_is_its_two_divergences(labels, teacher, student, temperature, alpha, beta):
    """Row by row in float64: the label against the rest, and the rest among themselves."""
    expected = []
    for label, mine, other in zip(labels, teacher / temperature, student / temperature, strict=True):
        p, q = (softmax(logits.astype(np.float64)) for logits in (mine, other))
        rest_p, rest_q = (softmax(np.delete(logits.astype(np.float64), label)) for logits in (mine, other))
        pair = entropy([p[label], 1 - p[label]], [q[label], 1 - q[label]])
        expected.append(alpha * pair + beta * entropy(rest_p, rest_q))
    if np.isfinite(
        expected
    ).all():  # 1 − p rounds to 0 in float64 where the logits are far apart; the loss stays finite
        found = float(dkd_loss(labels, teacher, student, temperature, alpha, beta))
        assert found == pytest.approx(np.mean(expected), rel=1e-3, abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(labels=LABELS, teacher=LOGITS, student=LOGITS, temperature=st.floats(0.5, 30))
def test_dkd_with_the_teachers_probability_of_the_rest_is_kd(labels, teacher, student, temperature):
    """Zhao et al. 2022: KL = KL(b) + (1 − p_label) · KL(p̂)."""
    p = probabilities(teacher, temperature)
    rest = (p.sum(axis=1) - p[np.arange(5), labels]).astype(np.float32)
    together = float(dkd_loss(labels, teacher, student, temperature, 1.0, rest))
    assert together == pytest.approx(float(kd_loss(teacher, student, temperature)), rel=1e-3, abs=1e-4)


def test_dist_is_one_minus_pearsons_correlation():
    random = np.random.default_rng(3)
    teacher, student = (3 * random.normal(size=(32, 6)) for _ in range(2))
    p, q = probabilities(teacher, 4.0), probabilities(student, 4.0)
    rows = np.mean([1 - pearsonr(mine, other).statistic for mine, other in zip(p, q, strict=True)])
    columns = np.mean([1 - pearsonr(mine, other).statistic for mine, other in zip(p.T, q.T, strict=True)])
    found = float(dist_loss(teacher.astype(np.float32), student.astype(np.float32), 4.0, 2.0, 0.5))
    assert found == pytest.approx(2.0 * rows + 0.5 * columns, rel=1e-4)


def test_dist_looks_at_relations_alone():
    """Equal logits lose nothing; a class that no image varies in gives a finite loss and gradient."""
    logits = np.random.default_rng(4).normal(size=(16, 5)).astype(np.float32)
    assert float(dist_loss(logits, logits, 1.0, 1.0, 1.0)) == pytest.approx(0, abs=1e-5)
    assert np.isfinite(float(dist_loss(np.zeros_like(logits), logits, 1.0, 1.0, 1.0)))


@settings(max_examples=60, deadline=None)
@given(labels=LABELS, teacher=LOGITS, student=LOGITS, temperature=st.floats(0.5, 30), gamma=st.floats(0, 5))
def test_nkd_is_its_two_cross_entropies(labels, teacher, student, temperature, gamma):
    """Row by row in float64; times T² the second term has T² and the first has none, as the paper writes it."""
    expected = []
    for label, mine, other in zip(labels, teacher.astype(np.float64), student.astype(np.float64), strict=True):
        of_label = -softmax(mine)[label] * np.log(softmax(other)[label])
        rest = -softmax(np.delete(mine, label) / temperature) @ log_softmax(np.delete(other, label) / temperature)
        expected.append(of_label + gamma * temperature**2 * rest)
    found = temperature**2 * float(soft_loss("nkd", labels, teacher, student, temperature, gamma=gamma))
    assert found == pytest.approx(np.mean(expected), rel=1e-3, abs=1e-3 * temperature**2)


def test_nkd_without_the_rest_is_the_weighted_loss_of_the_label():
    """With gamma 0 and a teacher that is sure of the labels, it is the cross-entropy of the labels."""
    random = np.random.default_rng(7)
    student, labels = random.normal(size=(16, 5)).astype(np.float32), random.integers(5, size=16)
    sure = (100 * np.eye(5)[labels]).astype(np.float32)
    found = float(soft_loss("nkd", labels, sure, student, 1.0, gamma=0.0))
    assert found == pytest.approx(float(hard_loss(labels, student)), rel=1e-5)


WEIGHTS = st.floats(0, 5)


@settings(max_examples=60, deadline=None)
@given(teacher=LOGITS, student=LOGITS, temperature=st.floats(0.5, 30), images=WEIGHTS, classes=WEIGHTS)
def test_mlkd_is_the_authors_sum_over_five_temperatures(teacher, student, temperature, images, classes):
    """Times 5 T² it is, in float64: Σ_t t² KL + ‖p pᵀ − q qᵀ‖² / batch + ‖pᵀ p − qᵀ q‖² / classes."""
    expected = 0.0
    for t in temperature * np.linspace(0.5, 1.5, 5):
        p, q = (softmax(one.astype(np.float64) / t, axis=1) for one in (teacher, student))
        expected += t**2 * entropy(p, q, axis=1).mean()
        expected += images * np.linalg.norm(p @ p.T - q @ q.T) ** 2 / len(p)
        expected += classes * np.linalg.norm(np.einsum("ic,id->cd", p, p) - np.einsum("ic,id->cd", q, q)) ** 2 / 4
    batch = len(teacher)  # by which the authors do not divide
    weights = {"images": batch * images, "classes": batch**2 * classes}
    loss = soft_loss("mlkd", None, teacher, student, temperature, **weights)
    assert 5 * temperature**2 * float(loss) == pytest.approx(expected, rel=1e-3, abs=1e-3 * max(1, temperature**2))


def test_mlkd_does_not_see_the_order_of_images_and_classes_nor_a_shift():
    random = np.random.default_rng(9)
    teacher, student = random.normal(size=(2, 12, 5)).astype(np.float32)
    images, classes = random.permutation(12), random.permutation(5)
    before = float(soft_loss("mlkd", None, teacher, student, 2.0))
    mixed = (one[images][:, classes] + np.float32(3) for one in (teacher, student))
    assert float(soft_loss("mlkd", None, *mixed, 2.0)) == pytest.approx(before, rel=1e-4)
    assert float(soft_loss("mlkd", None, teacher, teacher, 2.0)) == pytest.approx(0, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(teacher=LOGITS, student=LOGITS, shift=st.floats(-50, 50), scale=st.floats(0.1, 10))
def test_standardised_kd_does_not_change_with_shift_and_scale(teacher, student, shift, scale):
    teacher, student = (logits + 25 * np.arange(4, dtype=np.float32) for logits in (teacher, student))  # all vary
    before = float(kd_loss(standardized(teacher), standardized(student), 2.0))
    of_teacher = float(
        kd_loss(standardized(np.float32(scale) * teacher + np.float32(shift)), standardized(student), 2.0)
    )
    of_student = float(
        kd_loss(standardized(teacher), standardized(np.float32(scale) * student + np.float32(shift)), 2.0)
    )
    assert of_teacher == pytest.approx(before, rel=1e-2, abs=1e-4)
    assert of_student == pytest.approx(before, rel=1e-2, abs=1e-4)


def test_standardised_logits_are_z_scores_and_equal_ones_are_zero():
    logits = np.random.default_rng(8).normal(3, 4, size=(6, 9)).astype(np.float32)
    np.testing.assert_allclose(standardized(logits), zscore(logits.astype(np.float64), axis=1), atol=1e-5)
    np.testing.assert_array_equal(standardized(np.full((2, 4), 7, np.float32)), np.zeros((2, 4)))


@pytest.mark.parametrize("method", ["kd", "dkd", "dist", "nkd", "mlkd"])
def test_every_method_has_finite_gradients_that_lead_to_the_teacher(method):
    """Plain gradient descent on the student's logits lowers the loss, beside a teacher that is very sure, too."""
    random = np.random.default_rng(5)
    teacher, labels = (30 * random.normal(size=(16, 5))).astype(np.float32), random.integers(5, size=16)
    student = keras.Variable((3 * random.normal(size=(16, 5))).astype(np.float32))
    loss = {
        "kd": lambda: kd_loss(teacher, student, 2.0),
        "dkd": lambda: dkd_loss(labels, teacher, student, 2.0, 1.0, 8.0),
        "dist": lambda: dist_loss(teacher, student, 2.0, 1.0, 1.0),
        "nkd": lambda: soft_loss("nkd", labels, teacher, student, 2.0),
        "mlkd": lambda: soft_loss("mlkd", labels, teacher, student, 2.0),
    }[method]
    before = float(loss())
    for _ in range(100):
        with tf.GradientTape() as tape:
            value = loss()
        gradient = tape.gradient(value, student.value)
        assert np.isfinite(gradient.numpy()).all()
        student.assign_sub(5.0 * gradient)
    assert float(loss()) < 0.7 * before


def test_defaults_of_a_method_are_those_of_its_file():
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(2, 12, 5)).astype(np.float32)
    labels = random.integers(5, size=12)
    assert float(soft_loss("dkd", labels, teacher, student, 3.0)) == pytest.approx(
        float(dkd_loss(labels, teacher, student, 3.0, 1.0, 8.0))
    )


def test_unknown_method_raises_input_error():
    with pytest.raises(InputError, match=r"methods/magic\.py: no such file"):
        load_method("magic")
