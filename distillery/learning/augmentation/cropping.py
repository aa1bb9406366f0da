"""Random resized crop: a part of the picture, scaled to its size (Szegedy et al. 2015, arXiv 1409.4842, section 6)."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from distillery.data.each_picture import each_picture, picture_of

RATIOS = (3 / 4, 4 / 3)  # of height to width, in pixels


def draw(least: float, images: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Return `crop`, float32, (images, 4): the part of the area, the ratio of height to width, and the place.

    The place is given as parts of the rows above and of the columns to the left that are free, 0 to 1 each: all of it
    is drawn before the picture's shape is known.

    Args:
        least: part of the area that is shown; from this to all of it, evenly.
        images: number of images.
        random: draws them.
    """
    area = random.uniform(least, 1, size=images)
    ratio = np.exp(random.uniform(*np.log(RATIOS), size=images))
    return {"crop": np.column_stack([area, ratio, random.uniform(size=(images, 2))]).astype(np.float32)}


def boxes(crop: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Return what is shown of pictures, float, (n, 4): left, top, right, bottom, in pixels.

    Args:
        crop: (n, 4), as `draw` gives them. Where a side would be longer than the picture's it is that, and the area
            smaller.
        heights, widths: of the pictures, (n,), in pixels.
    """
    area, ratio, row, column = crop.astype(np.float64).T
    pixels = area * heights * widths
    height, width = np.minimum(np.sqrt(pixels * ratio), heights), np.minimum(np.sqrt(pixels / ratio), widths)
    top, left = row * (heights - height), column * (widths - width)
    return np.column_stack([left, top, left + width, top + height])


def apply(images: np.ndarray, crop: np.ndarray, wholes: Sequence[np.ndarray] | None = None) -> np.ndarray:
    """Return parts of pictures, scaled to the images' size by Pillow's bilinear filter.

    Args:
        images: uint8, (n, height, width, 1 or 3).
        crop: (n, 4), as `draw` gives them; 0 of an image that stays as it is.
        wholes: the pictures whose parts are shown, uint8, (height, width, 1 or 3) each; the images where None.

    Returns:
        uint8, the shape of `images`.
    """
    size = images.shape[2], images.shape[1]
    shown = images if wholes is None else wholes
    heights, widths = np.array([picture.shape[:2] for picture in shown]).reshape(-1, 2).T
    cropped = crop[:, :1] > 0
    parts = boxes(np.where(cropped, crop, 1), heights, widths)

    def scale(number: int, picture: Image.Image) -> Image.Image:
        if not cropped[number]:
            return picture
        if wholes is not None:
            picture = picture_of(wholes[number])
        # Rounding may not lead out of the picture.
        left, top, right, bottom = parts[number]
        box = (left, top, min(right, picture.width), min(bottom, picture.height))
        return picture.resize(size, Image.Resampling.BILINEAR, box=box)

    return each_picture(images, scale)
