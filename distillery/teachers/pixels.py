"""What a classifier's pixels mean: how an image of the data set becomes what the classifier takes."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from distillery.data.each_picture import each_picture
from distillery.data.errors import InputError

INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")  # Pillow's
RESIZES = ("squash", "shorter")
ORDERS = ("rgb", "bgr")


@dataclass(frozen=True)
class Pixels:
    """What is done to an image, in this order.

    Attributes:
        size: (height, width) that the classifier takes; None: that of the images.
        resize: `squash`: both sides are scaled to `size / crop`; `shorter`: the shorter side is, the longer in
            proportion.
        crop: part of each side that is kept, around the centre, so that `size` remains; 1 for all.
        interpolation: Pillow's filter.
        channels: their order, `rgb` or `bgr`.
        scale: the values, 0 to 255, are multiplied by it, then
        mean: is subtracted, one number a channel or one for all, then they are
        std: divided by it.
    """

    size: tuple[int, int] | None = None
    resize: str = "squash"
    crop: float = 1.0
    interpolation: str = "bilinear"
    channels: str = "rgb"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def with_size(self, size: tuple[int, int] | None) -> "Pixels":
        """Return the same for another size."""
        return replace(self, size=size)

    @property
    def raw(self) -> bool:
        """Whether the classifier takes the values as they are."""
        return self.scale == 1 and not any(self.mean) and all(value == 1 for value in self.std)

    def tree(self) -> dict[str, Any]:
        """Return what stands in a file."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def in_words(self) -> str:
        """Return how the values are scaled, for people."""
        order = "" if self.channels == "rgb" else ", blue first"
        low, high = ([(end * self.scale - m) / s for m, s in self._each()] for end in (0, 255))
        if len({*low}) == 1 and len({*high}) == 1:
            return f"{low[0]:.4g}…{high[0]:.4g}{order}"
        mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
        return f"× {self.scale:.4g}, − ({mean}), ÷ ({std}){order}"

    def _each(self) -> list[tuple[float, float]]:
        count = max(len(self.mean), len(self.std))
        return list(zip(*(values * (count // len(values)) for values in (self.mean, self.std)), strict=True))


def pixels_from(tree: Any, where: str | Path) -> Pixels:
    """Return what a description says.

    Args:
        tree: of a file: the attributes of `Pixels`; those that are missing have their defaults, but one is needed.
        where: the file, for messages.

    Raises:
        InputError: when it is no such description.
    """
    names = [field.name for field in fields(Pixels)]
    if not isinstance(tree, Mapping) or not tree:
        raise InputError(
            f"{where}: found no description of pixels; accepted: a mapping with some of {', '.join(names)}"
        )
    for key in tree:
        if key not in names:
            raise InputError(f"{where}: unknown key {key!r}; accepted: {', '.join(names)}")
    return Pixels(**{key: checked(key, found, f"{where}: {key}") for key, found in tree.items()})


def checked(attribute: str, found: Any, where: str) -> Any:
    """Return an attribute of `Pixels` as it is kept, given what stands in a file.

    Raises:
        InputError: when it is no such value; it begins with `where`.
    """
    check, accepted = CHECKS[attribute]
    try:
        return check(found)
    except (TypeError, ValueError):
        raise InputError(f"{where}: found {found!r}; accepted: {accepted}") from None


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise ValueError(value)
    return float(value)


def _positive(value: Any) -> float:
    if _number(value) <= 0:
        raise ValueError(value)
    return float(value)


def _crop(value: Any) -> float:
    if _positive(value) > 1:
        raise ValueError(value)
    return float(value)


def _one_of(accepted: tuple[str, ...], value: Any) -> str:
    if value not in accepted:
        raise ValueError(value)
    return value


def _size(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    sides = list(value) if isinstance(value, list | tuple) else [value, value]
    if len(sides) != 2 or not all(type(side) is int and 1 <= side <= 4096 for side in sides):
        raise ValueError(value)
    return sides[0], sides[1]


def _per_channel(value: Any) -> tuple[float, ...]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    if len(values) not in (1, 3):
        raise ValueError(value)
    return tuple(_number(one) for one in values)


def _deviation(value: Any) -> tuple[float, ...]:
    return tuple(_positive(one) for one in _per_channel(value))


CHECKS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "size": (_size, "a whole number from 1 to 4096, or [height, width]"),
    "resize": (partial(_one_of, RESIZES), " or ".join(RESIZES)),
    "crop": (_crop, "a number above 0, up to 1"),
    "interpolation": (partial(_one_of, INTERPOLATIONS), ", ".join(INTERPOLATIONS)),
    "channels": (partial(_one_of, ORDERS), " or ".join(ORDERS)),
    "scale": (_positive, "a number above 0"),
    "mean": (_per_channel, "a number, or one for each of 1 or 3 channels"),
    "std": (_deviation, "a number above 0, or one for each of 1 or 3 channels"),
}


def fitted(images: np.ndarray, pixels: Pixels, channels: int) -> np.ndarray:
    """Return images of the size, and with as many channels, as a classifier takes; its values are as before.

    Args:
        images: uint8, (n, height, width, 1 or 3).
        pixels: how they are resized and cut.
        channels: 1 or 3: grey images get three equal channels, colours become grey as Pillow does it.

    Returns:
        uint8, (n, height, width, channels), red first.
    """
    size = pixels.size or images.shape[1:3]
    if images.shape[1:3] != size or pixels.crop != 1:
        images = each_picture(images, lambda _, picture: _fit(picture, pixels, size), size)
    if images.shape[3] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=3)
    red, green, blue = (images[..., channel].astype(np.uint32) for channel in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).astype(np.uint8)[..., np.newaxis]


def _fit(picture: Image.Image, pixels: Pixels, size: tuple[int, int]) -> Image.Image:
    """Return one image of a size, (height, width): scaled, then cut around its centre."""
    height, width = (max(side, int(side / pixels.crop + 1e-6)) for side in size)
    if pixels.resize == "shorter":
        shorter = min(height, width)
        scaled = (shorter * side // min(picture.size) for side in (picture.height, picture.width))
        height, width = (max(side, kept) for side, kept in zip(scaled, size, strict=True))
    picture = picture.resize((width, height), Image.Resampling[pixels.interpolation.upper()])
    top, left = (round((side - kept) / 2) for side, kept in ((height, size[0]), (width, size[1])))
    return picture.crop((left, top, left + size[1], top + size[0]))


def values(images: np.ndarray, pixels: Pixels, planes: bool = False) -> np.ndarray:
    """Return the values that a classifier takes, float32, the shape of `images`.

    In the order of operations of Hugging Face's and torchvision's transforms, so that they are the same numbers.

    Args:
        images: uint8, (n, height, width, channels), red first.
        pixels: how they are scaled.
        planes: return them as (n, channels, height, width).

    Raises:
        InputError: when three channels are described, differently, and there is one.
    """
    count, height, width, channels = images.shape
    if pixels.channels == "bgr":
        images = images[..., ::-1]
    mean, std = _of_channels(pixels.mean, channels, "mean"), _of_channels(pixels.std, channels, "std")
    if planes:
        shape, mean, std = (count, channels, height, width), mean[:, None, None], std[:, None, None]
        images = np.moveaxis(images, -1, 1)
    else:  # a row at a time: NumPy is slow along an axis of length 3
        shape, mean, std = images.shape, np.tile(mean, width), np.tile(std, width)
        images = images.reshape(count, height, width * channels)
    found = np.empty(images.shape, np.float32)
    for image, scaled in zip(images, found, strict=True):  # one by one: each stays in the processor's cache
        scaled[...] = image
        if pixels.scale != 1:
            scaled *= np.float32(pixels.scale)
        if any(pixels.mean):
            scaled -= mean
        if any(number != 1 for number in pixels.std):
            scaled /= std
    return found.reshape(shape)


def _of_channels(numbers: tuple[float, ...], channels: int, name: str) -> np.ndarray:
    if len(numbers) > channels and len(set(numbers)) > 1:
        found = ", ".join(f"{number:g}" for number in numbers)
        raise InputError(
            f"train_teacher.preprocessing: {name}: found {found}, for a classifier of grey images; accepted: one number"
        )
    return np.broadcast_to(np.float32(numbers[:channels]), channels)
