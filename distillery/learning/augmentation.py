"""Views: what a model is shown of an image. Pure functions on arrays.

An offset describes a view of one image in three small numbers (rows down, columns to the right, mirrored or not), so
that a view need not be stored to be shown again.
"""

import numpy as np

_STORED_VIEWS_SEED = 20150309  # views belong to the data: they are the same for every seed of teacher and students


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


def draw_offsets(images: int, jitter: int, flip: bool, random: np.random.Generator) -> np.ndarray:
    """Offsets of one view of each image, all shifts and, with `flip`, both orientations equally likely.

    Args:
        images: number of images.
        jitter: the largest shift in pixels.
        flip: whether half of the views are mirrored.
        random: draws them.

    Returns:
        int8, (images, 3): rows, columns, mirrored.
    """
    rows, columns = random.integers(-jitter, jitter, size=(2, images), endpoint=True)
    mirrored = random.integers(2, size=images) if flip else np.zeros(images, int)
    return np.stack([rows, columns, mirrored], axis=1).astype(np.int8)


def stored_offsets(images: int, views: int, jitter: int, flip: bool) -> np.ndarray:
    """Offsets of the views that students are shown and for which the teacher's logits are computed once.

    The first view is the image itself. A view does not depend on how many there are.

    Args:
        images: number of images.
        views: number of views of each.
        jitter: the largest shift in pixels.
        flip: whether half of the further views are mirrored.

    Returns:
        int8, (views, images, 3).
    """
    offsets = np.zeros((views, images, 3), np.int8)
    for view in range(1, views):
        offsets[view] = draw_offsets(images, jitter, flip, np.random.default_rng([_STORED_VIEWS_SEED, view]))
    return offsets


def show(images: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The views of images: mirrored first, then shifted.

    Args:
        images: uint8, (n, height, width, channels).
        offsets: int, (n, 3): rows, columns, mirrored.

    Returns:
        uint8, the shape of `images`.
    """
    if not offsets.any():
        return images
    rows, columns, mirrored = offsets.astype(int).T
    images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images) if mirrored.any() else images
    return shift(images, rows, columns)
