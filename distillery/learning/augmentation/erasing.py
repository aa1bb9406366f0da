"""Random erasing: Zhong et al. 2017 (arXiv 1708.04896)."""

import numpy as np

from distillery.learning.augmentation.rectangles import draw_within, whole_pixels

AREA, RATIOS = (0.02, 0.33), (0.3, 3.3)  # of the paper's and torchvision's
GREY = 127  # of what is erased


def draw(part: float, images: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Return `erased`, float32, (images, 4): rectangles as `draw_within` gives them; zeros where nothing is erased.

    Args:
        part: of the images.
        images: number of images.
        random: draws them.
    """
    chosen = random.uniform(size=(images, 1)) < part
    return {"erased": np.where(chosen, draw_within(random.uniform(*AREA, size=images), RATIOS, random), np.float32(0))}


def apply(images: np.ndarray, erased: np.ndarray) -> np.ndarray:
    """Return images with a grey rectangle.

    Args:
        images: uint8, (n, height, width, channels).
        erased: (n, 4), as `draw` gives them.

    Returns:
        uint8, the shape of `images`.
    """
    images = images.copy()
    for image, (top, left, bottom, right) in zip(images, whole_pixels(erased, *images.shape[1:3]), strict=True):
        image[top:bottom, left:right] = GREY
    return images
