"""Brightness, contrast and saturation, as Pillow changes them."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageEnhance

from distillery.data.each_picture import each_picture

ENHANCE = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def draw(most: Sequence[float], images: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Return `colour`, float32, (images, 3): by how much the factors of `ENHANCE` differ from 1.

    Args:
        most: the largest difference of each, up to 1.
        images: number of images.
        random: draws them.
    """
    return {"colour": (random.uniform(-1, 1, size=(images, 3)) * most).astype(np.float32)}


def apply(images: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Return images with other colours.

    Args:
        images: uint8, (n, height, width, 1 or 3).
        colour: (n, 3), as `draw` gives them.

    Returns:
        uint8, the shape of `images`.
    """

    def change(number: int, picture: Image.Image) -> Image.Image:
        for enhance, difference in zip(ENHANCE, colour[number].tolist(), strict=True):
            if difference:
                picture = enhance(picture).enhance(1 + difference)
        return picture

    return each_picture(images, change) if colour.any() else images
