"""Views: what the model is shown of an image. Pure functions on arrays, the random numbers drawn by the caller."""

import numpy as np


def shift(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Images moved by whole pixels; what moves in from outside is 0.

    Args:
        images: uint8, (n, height, width, channels).
        rows: int, (n,), pixels down; negative is up.
        columns: int, (n,), pixels to the right; negative is left.

    Returns:
        uint8, the shape of `images`.
    """
    height, width = images.shape[1:3]
    reach = int(max(np.abs(rows).max(initial=0), np.abs(columns).max(initial=0)))
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    chosen = windows[np.arange(len(images)), reach - rows, reach - columns]  # (n, channels, height, width)
    return np.ascontiguousarray(np.moveaxis(chosen, 1, -1))


def jitter(images: np.ndarray, pixels: int, random: np.random.Generator) -> np.ndarray:
    """Each image shifted by up to `pixels` in both directions, all shifts equally likely.

    Args:
        images: uint8, (n, height, width, channels).
        pixels: the largest shift; 0 leaves the images as they are.
        random: draws the shifts.

    Returns:
        uint8, the shape of `images`.
    """
    rows, columns = random.integers(-pixels, pixels, size=(2, len(images)), endpoint=True)
    return shift(images, rows, columns)
