"""Random resized crop: a part of the picture, scaled to its size (Szegedy et al. 2015, arXiv 1409.4842, section 6)."""

import numpy as np
from PIL import Image

from distillery.data.each_picture import each_picture
from distillery.learning.augmentation.rectangles import draw_within

RATIOS = (3 / 4, 4 / 3)  # of height to width


def draw(least: float, images: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Return `cut`, float32, (images, 4): what is cut off at the top, left, bottom and right, as parts of the sides.

    Args:
        least: part of the area that is shown; from this to all of it, evenly.
        images: number of images.
        random: draws them.
    """
    shown = draw_within(random.uniform(least, 1, size=images), RATIOS, random)
    return {"cut": np.concatenate([shown[:, :2], np.maximum(0, 1 - shown[:, :2] - shown[:, 2:])], axis=1)}


def apply(images: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """Return parts of images, scaled to their size by Pillow's bilinear filter.

    Args:
        images: uint8, (n, height, width, 1 or 3).
        cut: (n, 4), as `draw` gives them.

    Returns:
        uint8, the shape of `images`.
    """
    height, width = images.shape[1:3]

    def scale(number: int, picture: Image.Image) -> Image.Image:
        if not cut[number].any():
            return picture
        top, left, bottom, right = cut[number].astype(float)
        box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
        return picture.resize((width, height), Image.Resampling.BILINEAR, box=box)

    return each_picture(images, scale)
