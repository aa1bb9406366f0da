"""Images that Pillow changes one by one, in threads: it works without Python's lock."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

WORTH_THREADS = 1 << 16  # values of a picture, below which threads wait for Python's lock longer than they work


def each_picture(
    images: np.ndarray, change: Callable[[int, Image.Image], Image.Image], size: tuple[int, int] | None = None
) -> np.ndarray:
    """Return changed images, uint8, (n, *size, channels).

    Args:
        images: uint8, (n, height, width, 1 or 3).
        change: the number of an image, and the image → the changed one.
        size: (height, width) of the changed ones; None for that of the images.
    """
    found = np.empty((len(images), *(size or images.shape[1:3]), images.shape[3]), np.uint8)
    threads = min(len(images), len(os.sched_getaffinity(0))) if found[:1].size >= WORTH_THREADS else 1

    def change_every(first: int) -> None:
        for number in range(first, len(images), threads):
            picture = change(number, picture_of(images[number]))
            found[number] = np.asarray(picture).reshape(found.shape[1:])

    if threads == 1:
        change_every(0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(change_every, range(threads)))
    return found


def picture_of(image: np.ndarray) -> Image.Image:
    """Return an image, uint8, (height, width, 1 or 3), as one of Pillow's."""
    return Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
