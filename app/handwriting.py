"""Drawings and photographs brought into the form of a data set's images. Plain functions on arrays."""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import center_of_mass, find_objects, label, sum_labels

CANVAS = 280  # pixels a side: fits beside the bars on a laptop's screen
BRUSH = 22  # pixels; with a digit that fills most of the canvas, about the stroke of MNIST
PHOTOGRAPH_SIDE = 400  # pixels: larger ones are scaled down to it first, which takes the grain out of the paper
SPECK = 0.03  # of the ink of the largest part; what has less is dirt on the paper


@dataclass(frozen=True)
class Layout:
    """How a data set places what it shows in its images, light on black.

    Attributes:
        box: pixels; what is shown is scaled to fit a square of this side, keeping its aspect ratio.
        middle: the pixel, counted from 0, on which its middle comes, in both directions.
        by_mass: its middle is its centre of mass, else the centre of its bounding box.
        drawn: whether it is handwriting, which a person can draw.
        side: pixels, of its images, which are grey squares.
    """

    box: int
    middle: float
    by_mass: bool
    drawn: bool
    side: int = 28


LAYOUTS = {
    # LeCun, Cortes & Burges: fitted to 20 × 20, anti-aliased, centred by mass; on this pixel all test images have it.
    "mnist": Layout(box=20, middle=14, by_mass=True, drawn=True),
    # Alpaydin & Kaynak: the ink in each 4 × 4 block of a bitmap that was fitted to 32 × 32.
    "digits": Layout(box=8, middle=3.5, by_mass=True, drawn=True, side=8),
    # Xiao, Rasul & Vollgraf 2017: trimmed, the longest edge scaled to 28, negated.
    "fashion_mnist": Layout(box=28, middle=13.5, by_mass=False, drawn=False),
}


def layout_of(dataset: str, shape: tuple[int, int, int]) -> Layout | None:
    """Return how a data set places what it shows; None where that is not known, or its images are of another shape."""
    layout = LAYOUTS.get(dataset)
    return layout if layout and shape == (layout.side, layout.side, 1) else None


def ink_of_canvas(pixels: np.ndarray) -> np.ndarray:
    """Return the ink of a drawing in black on white or on nothing.

    Args:
        pixels: uint8, (height, width, 4): red, green, blue, opacity.

    Returns:
        uint8, (height, width): 255 where there is full ink, 0 where there is none.
    """
    darkness = 255 - pixels[..., :3].mean(axis=2)
    return np.round(darkness * (pixels[..., 3] / 255)).astype(np.uint8)


def ink_of_picture(grey: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the ink of a picture, light on dark or, as on paper, dark on light: the border tells.

    What differs from the border no more than the border's own pixels do is background, and so are specks. The darkest
    ink becomes full ink. A clean picture, light on black, stays as it is.

    Args:
        grey: uint8, (height, width).

    Returns:
        The ink, uint8, (height, width), of a large picture scaled down; and whether the picture was inverted.
    """
    image = Image.fromarray(grey)
    image.thumbnail((PHOTOGRAPH_SIDE, PHOTOGRAPH_SIDE), Image.Resampling.BOX)
    values = np.asarray(image).astype(np.float64)
    border = _border(values)
    inverted = bool(np.median(border) > 127)
    if inverted:
        values, border = 255 - values, 255 - border
    # Light that falls from one side: without the plane through the border, where that fits it better than one value.
    level = values - _plane(values)
    if _grain(_border(level)) < _grain(border):
        values, border = level, _border(level)
    # Half of the border may be shadow, an edge of the table, or ink that runs out of the picture.
    background = np.median(border)
    grain = _grain(border)
    values = np.clip(values - background - grain, 0, None)
    if values.max() < 25:  # a tenth of the whole range: nothing stands out
        return np.zeros(values.shape, np.uint8), inverted
    return _without_specks(np.round(255 * values / values.max()).astype(np.uint8)), inverted


def _grain(border: np.ndarray) -> float:
    """Return how far a border strays from its median."""
    deviation = np.abs(border - np.median(border))
    return 3 * np.median(deviation) + np.percentile(deviation, 75)


def _plane(values: np.ndarray) -> np.ndarray:
    """Return the plane through the border, by least squares, (height, width)."""
    rows, columns = (axis / max(values.shape) for axis in np.indices(values.shape))
    terms = np.stack([np.ones_like(rows), rows, columns], axis=-1)
    inside = np.stack([_border(terms[..., n]) for n in range(3)], axis=-1)
    return terms @ np.linalg.lstsq(inside, _border(values), rcond=None)[0]


def _border(values: np.ndarray) -> np.ndarray:
    width = max(1, min(values.shape) // 20)
    inside = np.zeros(values.shape, bool)
    inside[width:-width, width:-width] = True
    return values[~inside]


def _without_specks(ink: np.ndarray) -> np.ndarray:
    parts, count = label(ink > 0, structure=np.ones((3, 3)))
    weights = sum_labels(ink, parts, np.arange(1, count + 1))
    kept = np.concatenate([[False], weights >= SPECK * weights.max()])
    return np.where(kept[parts], ink, 0).astype(np.uint8)


def place_ink(ink: np.ndarray, side: int, layout: Layout) -> np.ndarray:
    """Return ink as an image of the data set: its bounding box scaled with anti-aliasing, then put where it belongs.

    Args:
        ink: uint8, (height, width), 0 for none.
        side: pixels of the image.
        layout: the data set's.

    Returns:
        uint8, (side, side), light on black. Ink is never moved out of the image, even where the centre of mass asks
        for it.

    Raises:
        ValueError: when there is no ink.
    """
    if not ink.any():
        raise ValueError("there is no ink")
    (box,) = find_objects((ink > 0).astype(int))
    shape = ink[box]
    scale = layout.box / max(shape.shape)
    height, width = (max(1, round(scale * length)) for length in shape.shape)
    enlarged = scale > 1
    small = np.asarray(
        Image.fromarray(shape).resize(
            (width, height), Image.Resampling.BICUBIC if enlarged else Image.Resampling.BOX
        )  # BOX: the part of each pixel that has ink
    )
    if layout.by_mass:  # handwriting: a thin pen's stroke is full ink, too
        small = np.round(small * (255 / max(1, small.max()))).astype(np.uint8)
    rows, columns = center_of_mass(small) if layout.by_mass and small.any() else ((height - 1) / 2, (width - 1) / 2)
    top = int(np.clip(round(layout.middle - rows), 0, side - height))
    left = int(np.clip(round(layout.middle - columns), 0, side - width))
    image = np.zeros((side, side), np.uint8)
    image[top : top + height, left : left + width] = small
    return image
