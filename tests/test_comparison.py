"""Statistics of the comparison against SciPy's formulas and plain loops."""

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import random_logits
from scipy.stats import binomtest

from distillery.evaluation.comparison import accuracy_gain, accuracy_interval, agreement


@settings(max_examples=40, deadline=None)
@given(wins=st.integers(0, 40), losses=st.integers(0, 40))
def test_p_of_one_seed_is_mcnemars_exact(wins, losses):
    first = np.array([[True] * (wins + 50) + [False] * losses])
    second = np.array([[False] * wins + [True] * (50 + losses)])
    gain = accuracy_gain(first, second, 200, 0)
    n = wins + losses
    tail = sum(comb(n, k) for k in range(min(wins, losses) + 1)) / 2**n
    assert gain.mcnemar_p == pytest.approx(min(1.0, 2 * tail) if wins != losses else 1.0)
    assert (gain.wins, gain.losses) == (wins, losses)
    assert gain.points == pytest.approx(100 * (wins - losses) / (n + 50))


def test_interval_equals_drawing_images_and_seeds():
    random = np.random.default_rng(0)
    images, seeds = 300, 3
    first, second = random.random((seeds, images)) < 0.9, random.random((seeds, images)) < 0.85
    gain = accuracy_gain(first, second, 20_000, 1)
    difference = first.astype(float) - second.astype(float)
    drawn = [
        difference[random.integers(seeds, size=seeds)][:, random.integers(images, size=images)].mean()
        for _ in range(20_000)
    ]
    low, high = 100 * np.percentile(drawn, [2.5, 97.5])
    assert gain.ci_low == pytest.approx(low, abs=0.12)
    assert gain.ci_high == pytest.approx(high, abs=0.12)
    assert gain == accuracy_gain(first, second, 20_000, 1)


def test_interval_covers_the_true_gain():
    """19 of 20 intervals hold the true gain; with 300 trials anything from 92 to 98 % is what chance gives."""
    random = np.random.default_rng(7)
    covered = 0
    for trial in range(300):
        first, second = random.random((1, 400)) < 0.93, random.random((1, 400)) < 0.88
        gain = accuracy_gain(first, second, 500, trial)
        covered += gain.ci_low <= 5 <= gain.ci_high
    assert 0.90 <= covered / 300 <= 0.985


def test_equal_classifiers_have_no_gain():
    correct = np.random.default_rng(0).random((3, 100)) < 0.9
    gain = accuracy_gain(correct, correct, 100, 0)
    assert (gain.points, gain.ci_low, gain.ci_high, gain.mcnemar_p) == (0, 0, 0, 1)


@pytest.mark.parametrize(("correct", "images"), [(9929, 10000), (347, 360), (5, 5), (0, 9)])
def test_accuracy_interval_is_wilsons(correct, images):
    expected = binomtest(correct, images).proportion_ci(0.95, method="wilson")
    assert accuracy_interval(correct, images) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_agreement_counts_equal_predictions():
    _, logits = random_logits(0)
    assert agreement(logits, logits) == 1
    assert agreement(logits, -logits) == np.mean(logits.argmax(axis=1) == logits.argmin(axis=1))
