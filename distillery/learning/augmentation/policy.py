"""A policy, and views drawn by it.

A view is drawn and shown apart: its parameters are a few small numbers, so that the teacher and the student see the
same pixels without a picture being stored. All parameters of an image as it is are 0.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from distillery.data.whole_pictures import whole_pictures
from distillery.learning.augmentation import colour, cropping, erasing, mixing, moving


@dataclass(frozen=True)
class Policy:
    """How images are augmented, in this order.

    Attributes:
        max_shift: the largest shift in pixels, in each direction; after a crop and a flip.
        horizontal_flip: whether half of the views are mirrored left to right; after a crop.
        crop: the least part of the whole picture's area that a view shows, scaled to the image's size; 1 for the image.
        brightness: colours are multiplied by a factor from 1 − brightness to 1 + brightness,
        contrast: their distance from the mean grey of the picture by one from 1 − contrast to 1 + contrast,
        saturation: their distance from the grey of the pixel by one from 1 − saturation to 1 + saturation.
        erase: the part of the views of which a rectangle is erased.
        mixup: a view is blended with one of another image, whose part is drawn from Beta(mixup, mixup); 0 for none.
        cutmix: a rectangle is taken from a view of another image, its part of the area drawn from Beta(cutmix, cutmix);
            0 for none. With both, half of the views are blended.
    """

    max_shift: int = 0
    horizontal_flip: bool = False
    crop: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    @property
    def mixes(self) -> bool:
        """Whether views show two images, and have two labels."""
        return self.mixup > 0 or self.cutmix > 0

    def describe(self) -> dict[str, int | float | bool]:
        """Return what stands beside outputs that are stored of views: of the later attributes only those in use."""
        always = ("max_shift", "horizontal_flip")
        return {name: value for name, value in asdict(self).items() if name in always or value != getattr(Policy, name)}


def policy_of(section) -> Policy:
    """Return the policy of a section of the parameters, with `max_shift`, `horizontal_flip` and `augment`."""
    return Policy(section.max_shift, section.horizontal_flip, **dict(section.augment))


def draw(policy: Policy, images: int, random: np.random.Generator, partners: int | None = None) -> np.ndarray:
    """Return the parameters of one view per image, those of an operation the same whatever others there are.

    Args:
        policy: how images are augmented.
        images: number of images.
        random: draws the parameters.
        partners: so many of the images, the first, may be mixed with any; all when None.

    Returns:
        A structured array, (images,): the fields of the operations in use, as their modules name them.
    """
    parts = [moving.draw(policy.max_shift, policy.horizontal_flip, images, random)]
    of_crop, of_colour, of_erasing, of_mixing = random.spawn(4)
    if policy.crop < 1:
        parts.append(cropping.draw(policy.crop, images, of_crop))
    if policy.brightness or policy.contrast or policy.saturation:
        most = (policy.brightness, policy.contrast, policy.saturation)
        parts.append(colour.draw(most, images, of_colour))
    if policy.erase:
        parts.append(erasing.draw(policy.erase, images, of_erasing))
    if policy.mixes:
        parts.append(mixing.draw(policy.mixup, policy.cutmix, images, of_mixing, partners or images))
    fields = {name: values for part in parts for name, values in part.items()}
    drawn = np.empty(images, [(name, values.dtype, values.shape[1:]) for name, values in fields.items()])
    for name, values in fields.items():
        drawn[name] = values
    return drawn


def pictures_to_crop(policy: Policy, images, indices: np.ndarray) -> list[np.ndarray] | None:
    """Return the whole pictures of some images, of which `apply` takes crops; None where it needs none.

    Args:
        policy: how images are augmented.
        images: all of them.
        indices: int, (m,), which of them.
    """
    return whole_pictures(images, indices) if policy.crop < 1 else None


def apply(images: np.ndarray, drawn: np.ndarray, wholes: Sequence[np.ndarray] | None = None) -> np.ndarray:
    """Return views of images, before they are mixed with others.

    Args:
        images: uint8, (n, height, width, channels).
        drawn: their parameters, (n,), as `draw` gives them.
        wholes: the pictures of which crops are taken, uint8, (height, width, channels) each; the images where None.

    Returns:
        uint8, the shape of `images`.
    """
    names = drawn.dtype.names
    if "crop" in names:
        images = cropping.apply(images, drawn["crop"], wholes)
    images = moving.apply(images, drawn["rows"], drawn["columns"], drawn["mirrored"])
    if "colour" in names:
        images = colour.apply(images, drawn["colour"])
    return erasing.apply(images, drawn["erased"]) if "erased" in names else images
