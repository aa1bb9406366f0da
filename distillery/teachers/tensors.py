"""What a classifier takes, whatever its runtime: the shape, layout and type of its one input."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from distillery.data.errors import InputError
from distillery.teachers.pixels import Pixels, fitted, values

TYPES = ("float32", "float16", "float64", "uint8")
BATCH, VALUES = 64, 1 << 24  # images at a time at most, and numbers: memory stays small at any size


@dataclass(frozen=True)
class Takes:
    """The input of a classifier.

    Attributes:
        layout: `nchw`, `nhwc`, `nhw` (grey, without an axis for the channel), `flat` (one row a pixel after another) or
            `planes` (one row a channel after another).
        channels: 1 or 3.
        height, width: pixels; None where any is taken.
        batch: images of a call; None where any number is taken.
        dtype: one of `TYPES`.
    """

    layout: str
    channels: int
    height: int | None
    width: int | None
    batch: int | None
    dtype: str

    @property
    def size(self) -> tuple[int, int] | None:
        """The size of the images, (height, width), square where one is free; None where both are."""
        side = self.height or self.width
        return (self.height or side, self.width or side) if side else None

    def tree(self) -> dict[str, Any]:
        """Return what stands in a file."""
        return asdict(self)


def takes(
    shape: Sequence[int | None], dtype: str, image_shape: tuple[int, int, int], first: str, where: str
) -> list[Takes]:
    """Return what an input takes by its shape; several where the shape does not tell the layout, the likeliest first.

    Args:
        shape: with the batch; None for an axis of any length.
        dtype: of its values.
        image_shape: (height, width, channels) of the data set.
        first: layout to try first, `nchw` or `nhwc`.
        where: the file, for messages.

    Raises:
        InputError: when it takes no images.
    """
    if dtype not in TYPES:
        raise InputError(f"{where}: its input has the type {dtype}; accepted: {', '.join(TYPES)}")
    batch, *axes = shape
    own = image_shape[2]
    if len(axes) == 3:
        said, unsaid = [], []
        for layout in dict.fromkeys([first, "nchw", "nhwc"]):
            channels, height, width = axes if layout == "nchw" else (axes[2], axes[0], axes[1])
            if channels in (1, 3):
                said.append(Takes(layout, channels, height, width, batch, dtype))
            elif channels is None:
                unsaid += [Takes(layout, one, height, width, batch, dtype) for one in dict.fromkeys([own, 3, 1])]
        if said or unsaid:
            return said or sorted(unsaid, key=lambda one: one.channels != own)
    elif len(axes) == 2:
        return [Takes("nhw", 1, *axes, batch, dtype)]
    elif len(axes) == 1 and axes[0] is not None:
        for channels in dict.fromkeys([own, 1, 3]):
            pixels, left = divmod(axes[0], channels)
            side = round(pixels**0.5)
            size = image_shape[:2] if pixels == image_shape[0] * image_shape[1] else (side, side)
            if not left and size[0] * size[1] == pixels:
                orders = ("flat", "planes") if channels == 3 else ("flat",)
                return [Takes(order, channels, *size, batch, dtype) for order in orders]
    shown = ", ".join("any" if axis is None else str(axis) for axis in axes)
    raise InputError(
        f"{where}: it takes arrays of shape ({shown}) an image; accepted: images of 1 or 3 channels, in either layout"
    )


def tensor(images: np.ndarray, pixels: Pixels, input_: Takes) -> np.ndarray:
    """Return what a classifier takes for images.

    Args:
        images: uint8, (n, height, width, 1 or 3).
        pixels: what is done to them.
        input_: of the classifier.
    """
    images, planes = fitted(images, pixels, input_.channels), input_.layout in ("nchw", "planes")
    if input_.dtype == "uint8":
        found = images[..., ::-1] if pixels.channels == "bgr" else images
        found = np.moveaxis(found, -1, 1) if planes else found
    else:
        found = values(images, pixels, planes).astype(input_.dtype, copy=False)
    if input_.layout == "nhw":
        found = found[..., 0]
    elif input_.layout in ("flat", "planes"):
        found = found.reshape(len(found), -1)
    return np.ascontiguousarray(found)


def batch_size(input_: Takes, image_shape: Sequence[int], pixels: Pixels) -> int:
    """Return how many images go into one call."""
    if input_.batch:
        return input_.batch
    height, width = pixels.size or tuple(image_shape[:2])
    return max(1, min(BATCH, VALUES // (height * width * input_.channels)))
