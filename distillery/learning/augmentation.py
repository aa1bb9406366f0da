"""Augmentation: a view of an image is a function of (policy, image, view number). Pure functions on arrays.

A view is drawn and shown apart: its parameters are three small numbers (rows down, columns to the right, mirrored or
not), so that the teacher and the student see the same pixels without a picture being stored.
"""

from dataclasses import dataclass

import numpy as np

from distillery.data.random_streams import Purpose, generator


@dataclass(frozen=True)
class Policy:
    """How images are augmented.

    Attributes:
        max_shift: the largest shift in pixels, in each direction.
        horizontal_flip: whether half of the views are mirrored left to right.
    """

    max_shift: int = 0
    horizontal_flip: bool = False


def draw(policy: Policy, images: int, random: np.random.Generator) -> np.ndarray:
    """Return the parameters of one view per image, all shifts and, with a flip, both orientations equally likely.

    Args:
        policy: how images are augmented.
        images: number of images.
        random: draws the parameters.

    Returns:
        int8, (images, 3): rows, columns, mirrored.
    """
    rows, columns = random.integers(-policy.max_shift, policy.max_shift, size=(2, images), endpoint=True)
    mirrored = random.integers(2, size=images) if policy.horizontal_flip else np.zeros(images, int)
    return np.stack([rows, columns, mirrored], axis=1).astype(np.int8)


def apply(images: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    """Return the views of images: mirrored first, then shifted.

    Args:
        images: uint8, (n, height, width, channels).
        parameters: int, (n, 3): rows, columns, mirrored.

    Returns:
        uint8, the shape of `images`.
    """
    if not parameters.any():
        return images
    rows, columns, mirrored = parameters.astype(int).T
    images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images) if mirrored.any() else images
    return shift(images, rows, columns)


def shift(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return images moved by whole pixels; what moves in from outside is 0.

    Args:
        images: uint8, (n, height, width, channels).
        rows: int, (n,), pixels down; negative is up.
        columns: int, (n,), pixels to the right; negative is left.

    Returns:
        uint8, the shape of `images`.
    """
    height, width = images.shape[1:3]
    reach = int(max(np.abs(rows).max(initial=0), np.abs(columns).max(initial=0)))
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    chosen = windows[np.arange(len(images)), reach - rows, reach - columns]  # (n, channels, height, width)
    return np.ascontiguousarray(np.moveaxis(chosen, 1, -1))


class Views:
    """The views of a data set's images that students see and of which the teacher's outputs are computed once.

    View 0 is the image itself. A view of an image is the same whatever the batch, the order, the process, and however
    many views there are.

    Args:
        policy: how images are augmented.
        images: number of images in the data set.
        count: views per image.
    """

    def __init__(self, policy: Policy, images: int, count: int):
        self.policy, self.images, self.count = policy, images, count
        self._drawn: dict[int, np.ndarray] = {}

    def parameters(self, indices: np.ndarray, numbers: np.ndarray | int) -> np.ndarray:
        """Return the parameters of views, int8, (n, 3).

        Args:
            indices: int, (n,): which images.
            numbers: int, (n,), or one for all: the view number of each, below `count`.
        """
        numbers = np.broadcast_to(numbers, np.shape(indices))
        parameters = np.zeros((len(indices), 3), np.int8)
        for number in np.unique(numbers[numbers > 0]):
            if number not in self._drawn:
                # Views belong to the data: they are the same for every seed of teacher and students.
                self._drawn[number] = draw(self.policy, self.images, generator(Purpose.VIEWS, number))
            shown = numbers == number
            parameters[shown] = self._drawn[number][indices[shown]]
        return parameters

    def show(self, images: np.ndarray, indices: np.ndarray, numbers: np.ndarray | int) -> np.ndarray:
        """Return views of images.

        Args:
            images: uint8, (n, height, width, channels).
            indices: int, (n,): which images of the data set these are.
            numbers: int, (n,), or one for all: the view number of each.

        Returns:
            uint8, the shape of `images`.
        """
        return apply(images, self.parameters(indices, numbers))

    def describe(self) -> dict[str, int | bool]:
        """Return what the views depend on, as it stands beside what is stored of them."""
        return {
            "views": self.count,
            "images": self.images,
            "max_shift": self.policy.max_shift,
            "horizontal_flip": self.policy.horizontal_flip,
        }
