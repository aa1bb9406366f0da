"""How fast models predict, each in peace, and in turns: what disturbs the machine disturbs all of them alike."""

import os
import platform
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from distillery.data.errors import InputError
from distillery.data.random_streams import Purpose, generator

WARM_UP_CALLS = 5
TURNS = 5  # in which each model is measured once
PAUSE_SECONDS = 0.03  # until the threads of the model before, in another process, have stopped spinning
WARM_UP_SECONDS = 0.03
Predict = Callable[[np.ndarray], object]  # takes images
Seconds = tuple[list[float], list[float]]  # of each call on one image, and on all


def measure_alternating(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Time every call once per round, in turn, in this process.

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
            seconds[name][number] = _seconds(call)
    return seconds


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def median_and_spread(values: np.ndarray) -> dict[str, float]:
    """Return the median and the quartiles around it."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return {"median": float(median), "quartile_low": float(low), "quartile_high": float(high)}


def latency_and_throughput(
    models: Mapping[str, tuple[Callable[[Path], Predict], Path]],
    images: np.ndarray | Mapping[str, np.ndarray],
    rounds: int,
    here: Mapping[str, Predict] | None = None,
) -> dict[str, dict]:
    """Return milliseconds for one image, and images per second in a batch of all.

    Each model is loaded and run in a process of its own: the threads of a runtime go on spinning for a while after a
    call, and slow down what another runtime does next in the same process. The processes take turns, one works while
    the others sleep, in an order that is drawn anew for each turn.

    Args:
        models: by name, a function of a module and the path that it loads the model from.
        images: uint8, (n, height, width, channels); by name where models take images of other sizes.
        rounds: how often one image is timed; the batch of all a tenth as often. Each turn has at least one of both.
        here: by name, models of a runtime that this process has loaded and that takes seconds to load again; nothing
            else may run in it meanwhile.

    Raises:
        InputError: when the process of a model ends by itself.
    """
    shown = images if isinstance(images, Mapping) else dict.fromkeys([*models, *(here or {})], images)
    calls, (one, many) = {}, (-(-rounds // TURNS), -(-max(3, rounds // 10) // TURNS))
    with ExitStack() as processes:
        for name, (load, path) in models.items():
            calls[name] = processes.enter_context(_process(load, path, shown[name], one, many))
        for name, predict in (here or {}).items():
            calls[name] = partial(_time, predict, shown[name], one, many)
        for call in calls.values():
            call()  # until all have loaded, none can be timed in peace
        random = generator(Purpose.TIMING)
        turns = {name: [] for name in calls}
        for _ in range(TURNS):
            for name in random.permutation(list(calls)):
                turns[name].append(calls[name]())
    return {name: _summary(of_name, len(shown[name])) for name, of_name in turns.items()}


@contextmanager
def _process(
    load: Callable[[Path], Predict], path: Path, images: np.ndarray, one: int, many: int
) -> Iterator[Callable[[], Seconds]]:
    """Yield what measures, in a process of its own, a model once more."""
    context = get_context("spawn")
    connection, other_end = context.Pipe()
    process = context.Process(target=_serve, args=(other_end, load, path, images, one, many), daemon=True)
    process.start()
    other_end.close()

    def measure() -> Seconds:
        try:
            connection.send(None)
            return connection.recv()
        except (EOFError, OSError):
            raise InputError(f"{path}: the process that times it ended; is there memory for one more model?") from None

    try:
        yield measure
    finally:
        connection.close()
        process.join()


def _serve(connection: Connection, load: Callable[[Path], Predict], path: Path, *measurement) -> None:
    """Measure as often as asked for, until nobody is there who could ask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the other one says so, and ends this one
    predict = load(path)
    with suppress(EOFError, OSError):
        while True:
            connection.recv()
            connection.send(_time(predict, *measurement))


def _time(predict: Predict, images: np.ndarray, one: int, many: int) -> Seconds:
    """Return the seconds of each call, after a pause and calls that are not counted."""
    time.sleep(PAUSE_SECONDS)
    seconds = []
    for batch, rounds in ((images[:1], one), (images, many)):
        warm = time.perf_counter() + WARM_UP_SECONDS
        while time.perf_counter() < warm:
            predict(batch)
        seconds.append([_seconds(partial(predict, batch)) for _ in range(rounds)])
    return tuple(seconds)


def _summary(turns: Sequence[Seconds], images: int) -> dict[str, dict[str, float]]:
    one, many = (np.concatenate(seconds) for seconds in zip(*turns, strict=True))
    return {
        "latency_ms": median_and_spread(1000 * one),
        "images_per_second": median_and_spread(images / many),
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
