"""Images at the size that a model takes: scaled after a view was shown, so that the teacher sees the same view."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from distillery.data.each_picture import each_picture
from distillery.data.prepared import DatasetInfo, Split

RESAMPLE = "bilinear"  # Pillow's filter; `preprocessing.json` names it, and whoever uses a student does the same


def resized(images: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Return images scaled by Pillow, uint8, (n, *size, channels); as they are where they have the size.

    Args:
        images: uint8, (n, height, width, 1 or 3).
        size: (height, width); None for that of the images.
    """
    if size is None or images.shape[1:3] == tuple(size):
        return images
    filter_, shape = Image.Resampling[RESAMPLE.upper()], (size[1], size[0])
    return each_picture(images, lambda _, picture: picture.resize(shape, filter_), size)


class ResizedImages:
    """Images that are scaled when they are read, and never all at once.

    Args:
        images: uint8, (n, height, width, channels); may be mapped from a file.
        size: (height, width).
    """

    def __init__(self, images: np.ndarray, size: tuple[int, int]):
        self._images, self._size = images, tuple(size)
        self.shape = (len(images), *self._size, images.shape[3])

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, chosen: slice | np.ndarray) -> np.ndarray:
        """Return some images, uint8, (m, height, width, channels)."""
        return resized(np.asarray(self._images[chosen]), self._size)


def resized_when_read(images: np.ndarray, size: tuple[int, int] | None) -> np.ndarray | ResizedImages:
    """Return images that have a size as soon as they are read; as they are where they have it, or where it is None."""
    return images if size is None or images.shape[1:3] == tuple(size) else ResizedImages(images, size)


def resized_split(split: Split, size: tuple[int, int] | None) -> Split:
    """Return a part of the data whose images have a size; None for the one that they have."""
    return replace(split, images=resized_when_read(split.images, size))


def resized_info(info: DatasetInfo, size: tuple[int, int] | None) -> DatasetInfo:
    """Return what is said of the images of a model that takes another size.

    Their preprocessing has `prepared_size`, which pictures are brought to first, and `final_resample`, the filter by
    which they are then scaled to `image_shape`.

    Args:
        info: of the data set.
        size: (height, width) that the model takes; None for that of the data set.
    """
    height, width, channels = info.image_shape
    if size is None or (height, width) == tuple(size):
        return info
    treatment = (info.preprocessing or {}) | {"prepared_size": [height, width], "final_resample": RESAMPLE}
    return replace(info, image_shape=(*size, channels), preprocessing=treatment)
