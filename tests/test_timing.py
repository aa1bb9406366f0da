"""Timing of models, in turn."""

import numpy as np
import pytest

from distillery.timing import measure_alternating, median_and_spread, speedup


def test_timing_alternates_and_leaves_the_warm_up_out():
    calls = []
    seconds = measure_alternating({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=4)
    assert "".join(calls[-8:]) == "abababab"
    assert {name: values.shape for name, values in seconds.items()} == {"a": (4,), "b": (4,)}
    assert median_and_spread(np.arange(101.0)) == {"median": 50, "quartile_low": 25, "quartile_high": 75}


def test_speedup_of_a_faster_model_is_above_one():
    slow = {"latency_ms": {"median": 6.0}, "images_per_second": {"median": 100.0}}
    fast = {"latency_ms": {"median": 2.0}, "images_per_second": {"median": 500.0}}
    assert speedup(slow, fast) == {"latency": pytest.approx(3), "throughput": pytest.approx(5)}
