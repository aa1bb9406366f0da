"""Metrics of a classifier's logits against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import random_logits
from scipy.special import softmax
from sklearn import metrics

from distillery.learning.metrics import (
    by_class_name,
    confusion_matrix,
    negative_log_likelihood,
    per_class_accuracy,
    spread,
)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_metrics_of_random_logits_equal_scikit_learns(seed):
    labels, logits = random_logits(seed)
    predicted = logits.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, 6)
    np.testing.assert_array_equal(confusion, metrics.confusion_matrix(labels, predicted, labels=range(6)))
    recall = metrics.recall_score(labels, predicted, average=None, labels=range(6), zero_division=np.nan)
    np.testing.assert_allclose(per_class_accuracy(confusion), recall)
    expected = metrics.log_loss(labels, softmax(logits.astype(np.float64), axis=1), labels=range(6))
    assert negative_log_likelihood(labels, logits) == pytest.approx(expected)


def test_class_without_images_has_no_accuracy():
    accuracy = per_class_accuracy(np.array([[3, 1], [0, 0]]))
    assert np.isnan(accuracy[1])
    assert by_class_name(accuracy, ["a", "b"]) == {"a": 0.75}


def test_spread_of_seeds_is_the_sample_standard_deviation():
    assert spread([1.0, 2.0, 4.0]) == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert spread([3.0]) == 0
