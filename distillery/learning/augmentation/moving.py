"""Shift and flip, by whole pixels."""

import numpy as np


def draw(max_shift: int, horizontal_flip: bool, images: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Return `rows`, `columns` and `mirrored`, int8, (images,): all shifts and both orientations equally likely."""
    rows, columns = random.integers(-max_shift, max_shift, size=(2, images), endpoint=True)
    mirrored = random.integers(2, size=images) if horizontal_flip else np.zeros(images, int)
    drawn = {"rows": rows, "columns": columns, "mirrored": mirrored}
    return {name: values.astype(np.int8) for name, values in drawn.items()}


def apply(images: np.ndarray, rows: np.ndarray, columns: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Return images mirrored, then shifted.

    Args:
        images: uint8, (n, height, width, channels).
        rows, columns: as `shift` takes them.
        mirrored: (n,), 1 for those that are.

    Returns:
        uint8, the shape of `images`.
    """
    if mirrored.any():
        images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
    return shift(images, rows.astype(int), columns.astype(int)) if rows.any() or columns.any() else images


def shift(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return images moved by whole pixels; what moves in from outside is 0.

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
