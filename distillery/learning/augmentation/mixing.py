"""Mixup (Zhang et al. 2018, arXiv 1710.09412) and CutMix (Yun et al. 2019, arXiv 1905.04899): two images in one view.

The label of such a view has two classes, each with its image's part of the view.
"""

import numpy as np

from distillery.learning.augmentation.rectangles import whole_pixels

PARTS = 256  # in which the part of a blended image is counted, so that blending is exact in whole numbers


def draw(mixup: float, cutmix: float, images: int, random: np.random.Generator, partners: int) -> dict[str, np.ndarray]:
    """Return with which image, and how, each is mixed.

    Args:
        mixup, cutmix: parameters of the Beta distributions; 0 for none. With both, half of the images are blended.
        images: number of images.
        random: draws them.
        partners: so many of them, the first, may be partners.

    Returns:
        `partner`, int64, (images,); `blended`, uint16, (images,): the partner's part, of `PARTS`; `pasted`, float32,
        (images, 4): the partner's rectangle as in `rectangles`, cut off at the picture's sides.
    """
    partner = random.integers(partners, size=images)
    blends = random.uniform(size=images) < (0.5 if mixup and cutmix else float(mixup > 0))
    blended = np.rint(PARTS * random.beta(mixup, mixup, size=images)) if mixup else np.zeros(images)
    area = random.beta(cutmix, cutmix, size=(images, 1)) if cutmix else np.zeros((images, 1))
    middle, half = random.uniform(size=(images, 2)), np.sqrt(area) / 2
    first, last = np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)
    pasted = np.concatenate([first, last - first], axis=1)
    return {
        "partner": partner,
        "blended": np.where(blends, blended, 0).astype(np.uint16),
        "pasted": np.where(blends[:, None], 0, pasted).astype(np.float32),
    }


def mixed(drawn: np.ndarray) -> np.ndarray:
    """Return which views show two images, bool, (n,)."""
    return (drawn["blended"] > 0) | drawn["pasted"][:, 2:].all(axis=1)


def mix(images: np.ndarray, partners: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return views of two images each.

    Args:
        images: uint8, (n, height, width, channels).
        partners: as many, with which they are mixed.
        drawn: structured, (n,), with the fields that `draw` gives.

    Returns:
        uint8, the shape of `images`.
    """
    found = images.copy()
    rectangles = whole_pixels(drawn["pasted"], *images.shape[1:3])
    for view, partner, part, (top, left, bottom, right) in zip(
        found, partners, drawn["blended"].tolist(), rectangles, strict=True
    ):
        if part:
            of_both = (PARTS - part) * view.astype(np.uint32) + part * partner.astype(np.uint32)
            view[...] = (of_both + PARTS // 2) // PARTS
        view[top:bottom, left:right] = partner[top:bottom, left:right]
    return found


def partners_part(drawn: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return which part of each view, 0 to 1, is the partner's, float64, (n,).

    Args:
        drawn: structured, (n,), with the fields that `draw` gives.
        height, width: of the images.
    """
    top, left, bottom, right = whole_pixels(drawn["pasted"], height, width).T
    return drawn["blended"] / PARTS + (bottom - top) * (right - left) / (height * width)


def mixed_labels(labels: np.ndarray, partners: np.ndarray, part: np.ndarray, classes: int) -> np.ndarray:
    """Return the labels of views of two images, float32, (n, classes): each row sums to the part that is known.

    Args:
        labels: of the images, int, (n,), −1 where unknown, and
        partners: of those with which they are mixed.
        part: the partners' parts, (n,).
        classes: number of classes.
    """
    found, rows = np.zeros((len(labels), classes + 1), np.float32), np.arange(len(labels))  # the last is of no class
    found[rows, labels] = 1 - part
    found[rows, partners] += part.astype(np.float32)
    return found[:, :classes]
