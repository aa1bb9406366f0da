"""How fast models answer, measured alternately so that what disturbs the machine disturbs all of them alike."""

import time
from collections.abc import Callable, Mapping

import numpy as np

WARM_UP_CALLS = 5


def measure_alternating(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Time every call once a round, in turn.

    Args:
        calls: by name, what to time.
        rounds: how often each is timed, after a few calls that are not counted.

    Returns:
        By name, seconds, float, (rounds,).
    """
    for call in calls.values():
        for _ in range(WARM_UP_CALLS):
            call()
    seconds = {name: np.empty(rounds) for name in calls}
    for number in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name][number] = time.perf_counter() - start
    return seconds


def median_and_spread(values: np.ndarray) -> dict[str, float]:
    """The median and the quartiles around it."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return {"median": float(median), "quartile_low": float(low), "quartile_high": float(high)}
