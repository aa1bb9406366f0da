"""Rectangles in a picture, as parts of its sides, so that they are drawn before the picture's size is known."""

import numpy as np


def draw_within(areas: np.ndarray, ratios: tuple[float, float], random: np.random.Generator) -> np.ndarray:
    """Return rectangles that lie in the picture, anywhere equally likely.

    Args:
        areas: their parts of the area, (n,); where a side would be longer than the picture's it is that, and the area
            smaller.
        ratios: the least and the largest ratio of height to width, whose logarithm is drawn evenly.
        random: draws them.

    Returns:
        float32, (n, 4): top, left, height, width; parts of the picture's sides.
    """
    ratio = np.exp(random.uniform(*np.log(ratios), size=len(areas)))
    sides = np.minimum(1, np.sqrt(areas[:, None] * np.stack([ratio, 1 / ratio], axis=1)))
    return np.concatenate([random.uniform(size=sides.shape) * (1 - sides), sides], axis=1).astype(np.float32)


def whole_pixels(rectangles: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return rectangles in whole pixels, int, (n, 4): top, left, bottom, right; the last two are outside.

    Args:
        rectangles: (n, 4), as `draw_within` gives them.
        height, width: of the picture.
    """
    corners = np.concatenate([rectangles[:, :2], rectangles[:, :2] + rectangles[:, 2:]], axis=1, dtype=np.float64)
    return np.rint(corners * [height, width, height, width]).astype(int)
