"""Statistics of the comparison against SciPy's formulas and plain loops."""

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import random_logits
from scipy.stats import binomtest, ttest_rel
from scipy.stats import t as student_t

from benchmarks.coverage import false_promotions, simulate
from distillery.evaluation.comparison import (
    accuracy_gain,
    accuracy_interval,
    agreement,
    mean_accuracy_interval,
    sign_test,
    significance,
)


def drawn(seeds: int, images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return which images two kinds of classifiers classify correctly; some images are harder than others."""
    random = np.random.default_rng(seed)
    easy = random.beta(8, 1, images)
    return tuple(random.random((seeds, images)) < easy + shift for shift in (0.02, 0.0))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), images=st.integers(5, 300))
def test_one_seed_gives_the_paired_t_test(seed, images):
    first, second = drawn(1, images, seed)
    gain = accuracy_gain(first, second)
    if (first == second).all():
        assert gain.p == 1
        return
    expected = ttest_rel(first[0].astype(float), second[0].astype(float))
    assert gain.p == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval(0.95)
    assert (gain.ci_low, gain.ci_high) == pytest.approx((100 * low, 100 * high))


def test_variance_is_that_of_a_two_way_layout():
    """Recomputed from the mean squares of an analysis of variance, by loops."""
    first, second = drawn(3, 400)
    difference = first.astype(float) - second.astype(float)
    seeds, images = difference.shape
    mean = difference.mean()
    square_of_seeds = images * sum((difference[s].mean() - mean) ** 2 for s in range(seeds)) / (seeds - 1)
    square_of_images = seeds * sum((difference[:, i].mean() - mean) ** 2 for i in range(images)) / (images - 1)
    rest = [
        (difference[s, i] - difference[s].mean() - difference[:, i].mean() + mean) ** 2
        for s in range(seeds)
        for i in range(images)
    ]
    square_of_rest = sum(rest) / ((seeds - 1) * (images - 1))
    parts = [square / (seeds * images) for square in (square_of_seeds, square_of_images, square_of_rest)]
    variance = max(parts[0] + parts[1] - parts[2], parts[0], parts[1])
    freedom = seeds - 1, images - 1, (seeds - 1) * (images - 1)
    counted = sum(part**2 / own for part, own in zip(parts, freedom, strict=True))
    expected = student_t(variance**2 / counted, loc=mean, scale=variance**0.5)
    gain = accuracy_gain(first, second)
    assert gain.points == pytest.approx(100 * mean)
    assert (gain.ci_low, gain.ci_high) == pytest.approx(tuple(100 * np.array(expected.interval(0.95))))
    assert gain.p == pytest.approx(2 * min(expected.cdf(0), expected.sf(0)))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), seeds=st.integers(1, 6), images=st.integers(2, 200))
def test_p_and_interval_never_contradict_each_other(seed, seeds, images):
    first, second = drawn(seeds, images, seed)
    gain, opposite = accuracy_gain(first, second), accuracy_gain(second, first)
    assert (gain.p < 0.05) == (gain.ci_low > 0 or gain.ci_high < 0)
    assert gain.p == opposite.p
    assert (gain.ci_low, gain.ci_high) == pytest.approx((-opposite.ci_high, -opposite.ci_low))
    assert (gain.wins, gain.losses) == (opposite.losses, opposite.wins)


@pytest.mark.parametrize("images", [360, 10_000])
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize(("spread", "other_spread"), [(0.0, 0.0), (0.35, 0.0), (0.35, 0.35)])
def test_intervals_cover_the_true_gain(images, seeds, spread, other_spread):
    """About 93 to 98 % of the intervals hold the true gain, and at most 7 % of equal recipes come out different.

    In 400 trials; what chance adds or takes is 1.2 points at one standard deviation.
    """
    found = simulate(images, seeds, spread, other_spread, trials=400)
    assert 0.91 <= found["coverage"] <= 0.995
    assert found["false_positives"] <= 0.09


def test_equal_classifiers_have_no_gain():
    correct = np.random.default_rng(0).random((3, 100)) < 0.9
    gain = accuracy_gain(correct, correct)
    half = 100 * 1.959964 * np.sqrt(2) / 102  # Bonett & Price's, with a win and a loss added
    assert (gain.points, gain.p) == (0, 1)
    assert (gain.ci_low, gain.ci_high) == (pytest.approx(-half), pytest.approx(half))


def test_interval_of_images_that_all_say_the_same_has_a_width():
    best = accuracy_gain(np.ones((2, 30), bool), np.zeros((2, 30), bool))
    assert (best.points, best.ci_high) == (100, 100)
    assert best.p < 1e-9
    assert 80 < best.ci_low < 95


@pytest.mark.filterwarnings("error")
def test_accuracy_on_a_single_image_has_wilsons_interval():
    assert mean_accuracy_interval(np.array([[True], [False], [True]])) == accuracy_interval(2 / 3, 1)


@settings(max_examples=40, deadline=None)
@given(wins=st.integers(0, 40), losses=st.integers(0, 40))
def test_sign_test_is_mcnemars_exact(wins, losses):
    tail = sum(comb(wins + losses, k) for k in range(min(wins, losses) + 1)) / 2 ** (wins + losses)
    expected = wins, losses, pytest.approx(min(1.0, 2 * tail))
    assert sign_test(np.array([1] * wins + [-1] * losses + [0] * 50)) == expected


@pytest.mark.parametrize(("correct", "images"), [(9929, 10000), (347, 360), (5, 5), (0, 9)])
def test_accuracy_interval_is_wilsons(correct, images):
    expected = binomtest(correct, images).proportion_ci(0.95, method="wilson")
    assert accuracy_interval(correct / images, images) == pytest.approx((expected.low, expected.high), abs=1e-12)
    many = accuracy_interval(np.array([correct / images] * 2), np.array([images, 10 * images]))
    np.testing.assert_allclose([end[0] for end in many], (expected.low, expected.high), atol=1e-12)
    assert many[1][1] - many[0][1] < expected.high - expected.low


def test_interval_of_a_mean_accuracy_is_that_of_a_gain_over_nothing():
    first, _ = drawn(4, 300)
    gain = accuracy_gain(first, np.zeros_like(first))
    wilson = accuracy_interval(first.mean(), 300)
    ends = min(wilson[0], gain.ci_low / 100), max(wilson[1], gain.ci_high / 100)
    assert mean_accuracy_interval(first) == pytest.approx(ends)
    assert mean_accuracy_interval(first[:1]) == accuracy_interval(first[0].mean(), 300)
    low, high = mean_accuracy_interval(np.ones((3, 40), bool))  # never without width, and never beyond 1
    assert (low, high) == pytest.approx(accuracy_interval(1.0, 40))
    few = np.arange(1010) >= np.array([[4], [10], [16]])
    low, high = mean_accuracy_interval(few)
    assert 0.97 < low < few.mean() < high <= 1


def test_risk_of_all_challenges_together_stays_below_five_percent():
    """The bounds of two-sided tests, of which half is for the better side; then twenty equal challengers, simulated."""
    assert significance(1) == pytest.approx(0.05)
    assert sum(significance(test) / 2 for test in range(1, 100_000)) <= 0.05
    found = false_promotions(360, trials=500)
    assert found["registry"] <= 0.05
    assert found["fixed"] > 0.08  # what every test at 0.05 costs


def test_agreement_counts_equal_predictions():
    _, logits = random_logits(0)
    assert agreement(logits, logits) == 1
    assert agreement(logits, -logits) == np.mean(logits.argmax(axis=1) == logits.argmin(axis=1))
