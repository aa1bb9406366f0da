"""How fast models predict, measured alternately so that what disturbs the machine disturbs all of them alike."""

import os
import platform
import re
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np

WARM_UP_CALLS = 5


def measure_alternating(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Time every call once per round, in turn.

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
    """Return the median and the quartiles around it."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return {"median": float(median), "quartile_low": float(low), "quartile_high": float(high)}


def latency_and_throughput(
    predict: Mapping[str, Callable[[np.ndarray], object]], images: np.ndarray, rounds: int
) -> dict[str, dict]:
    """Return milliseconds for one image, and images per second in a batch of all.

    Args:
        predict: by name, takes images.
        images: uint8, (n, height, width, channels).
        rounds: how often one image is timed; the batch of all a tenth as often, three times at least.
    """

    def calls(batch: np.ndarray) -> dict[str, Callable[[], object]]:
        return {name: lambda model=model: model(batch) for name, model in predict.items()}

    one = measure_alternating(calls(images[:1]), rounds)
    many = measure_alternating(calls(images), max(3, rounds // 10))
    return {
        name: {
            "latency_ms": median_and_spread(1000 * one[name]),
            "images_per_second": median_and_spread(len(images) / many[name]),
        }
        for name in predict
    }


def speedup(slow: Mapping[str, Mapping], fast: Mapping[str, Mapping]) -> dict[str, float]:
    """Return how many times as fast one model is as another, both as `latency_and_throughput` measured them."""
    return {
        "latency": slow["latency_ms"]["median"] / fast["latency_ms"]["median"],
        "throughput": fast["images_per_second"]["median"] / slow["images_per_second"]["median"],
    }


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def processor() -> str:
    """Return the processor's name; `platform.processor()` is empty on Linux."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        return platform.processor() or platform.machine()
    fields = dict(re.findall(r"^(.+?)\s*:\s*(.+)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE))
    name = fields.get("model name", platform.machine())
    return f"{name} (family {fields.get('cpu family')}, model {fields.get('model')})"
