"""Rows of an array, computed one by one in threads: Pillow works without Python's lock."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

WORTH_THREADS = 1 << 19  # values, below which threads take longer to start than to work


def fill(array: np.ndarray, row: Callable[[int], np.ndarray]) -> np.ndarray:
    """Return an array whose rows are filled.

    Args:
        array: with as many rows as are wanted.
        row: the number of a row → its values.
    """
    threads = len(os.sched_getaffinity(0)) if array.size >= WORTH_THREADS else 1

    def fill_every(first: int) -> None:
        for number in range(first, len(array), threads):
            array[number] = row(number)

    if threads == 1:
        fill_every(0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill_every, range(threads)))
    return array
