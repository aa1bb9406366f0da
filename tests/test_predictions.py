"""Probabilities at a temperature, and how the demo shows them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app import charts
from app.predictions import classes_to_show, other_classes, probabilities
from distillery import figures


@given(arrays(np.float32, (3, 7), elements=st.floats(-50, 50, width=32)), st.floats(0.1, 100))
def test_probabilities_equal_softmax_of_logits_over_temperature(logits, temperature):
    exponentials = np.exp(logits.astype(np.longdouble) / temperature)
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    assert probabilities(logits, temperature) == pytest.approx(expected.astype(np.float64), abs=1e-12)
    rest = other_classes(logits[0], temperature)
    assert rest == pytest.approx(float(1 - expected[0].max()), abs=1e-12)


@given(arrays(np.float32, 6, elements=st.floats(-30, 30, width=32)), st.floats(1, 20), st.floats(1.1, 5))
def test_other_classes_grow_with_temperature(logits, temperature, factor):
    assert other_classes(logits, factor * temperature) >= other_classes(logits, temperature) - 1e-12


def test_classes_to_show_holds_the_best_of_each_model():
    logits = np.random.default_rng(0).normal(size=(3, 300))
    shown = classes_to_show(logits)
    assert len(shown) == len(set(shown)) == 10
    assert set(logits.argmax(axis=1)) <= set(shown[:3])
    for row in logits:
        assert set(np.argsort(-row)[:3]) <= set(shown)
    assert classes_to_show(logits[:, :10]) == list(range(10))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.00 %"),
        (1e-9, "< 0.01 %"),
        (0.00123, "0.12 %"),
        (0.4567, "45.7 %"),
        (0.9999999, "> 99.99 %"),
        (1, "100.00 %"),
    ],
)
def test_percent_never_rounds_to_nothing_or_certainty(value, text):
    assert charts.percent(value) == text


def test_colours_of_charts_equal_colours_of_figures():
    assert charts.COLOURS == figures.COLOURS
