"""The losses against float64 NumPy and SciPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax
from scipy.stats import entropy

from stages.learning.losses import hard_loss, soft_loss

LOGITS = arrays(np.float32, (5, 4), elements=st.floats(-20, 20, width=32))


@settings(max_examples=60, deadline=None)
@given(teacher=LOGITS, student=LOGITS, temperature=st.floats(0.5, 30))
def test_soft_loss_is_t_squared_times_kl(teacher, student, temperature):
    p = softmax(teacher.astype(np.float64) / temperature, axis=1)
    q = softmax(student.astype(np.float64) / temperature, axis=1)
    expected = temperature**2 * entropy(p, q, axis=1).mean()  # relative entropy: KL(p ‖ q), by SciPy
    assert float(soft_loss(teacher, student, temperature)) == pytest.approx(expected, rel=1e-4, abs=2e-3)


def test_soft_loss_of_equal_logits_is_zero_and_shifts_do_not_matter():
    logits = np.random.default_rng(0).normal(size=(8, 10)).astype(np.float32)
    assert float(soft_loss(logits, logits, 3.0)) == pytest.approx(0, abs=1e-6)
    assert float(soft_loss(logits, logits + 7, 3.0)) == pytest.approx(0, abs=1e-4)


def test_at_high_temperature_the_soft_loss_matches_logits():
    """Hinton et al. 2015, section 2.1: for T large, T² · KL tends to Σ (z − v)² / 2N with both zero-meaned."""
    random = np.random.default_rng(1)
    teacher, student = (random.normal(size=(16, 10)) for _ in range(2))
    teacher -= teacher.mean(axis=1, keepdims=True)
    student -= student.mean(axis=1, keepdims=True)
    expected = ((teacher - student) ** 2).sum(axis=1).mean() / (2 * 10)
    found = float(soft_loss(teacher.astype(np.float32), student.astype(np.float32), 100.0))
    assert found == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_hard_loss_is_the_cross_entropy_of_smoothed_labels(smoothing):
    random = np.random.default_rng(2)
    logits, labels = random.normal(size=(32, 10)) * 5, random.integers(10, size=32)
    target = (1 - smoothing) * np.eye(10)[labels] + smoothing / 10
    expected = -(target * np.log(softmax(logits, axis=1))).sum(axis=1).mean()
    found = float(hard_loss(labels, logits.astype(np.float32), smoothing))
    assert found == pytest.approx(expected, rel=1e-5)
