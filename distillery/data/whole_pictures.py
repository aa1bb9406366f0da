"""Pictures of any shape, beside the squares at their centres: crops are taken from the whole picture."""

import numpy as np


class WholePictures:
    """Pictures of any shape, one after the other in one array, read when they are asked for.

    Args:
        values: uint8, (n,): those of all pictures; may be mapped from a file.
        sizes: int, (m, 2): height and width of each picture; 0 of one that is no more than its square.
        channels: of every picture.
    """

    def __init__(self, values: np.ndarray, sizes: np.ndarray, channels: int):
        self.values, self.sizes, self.channels = values, sizes, channels
        self._ends = np.cumsum(np.prod(sizes, axis=1, dtype=np.int64) * channels)

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, number: int) -> np.ndarray:
        """Return a picture, uint8, (height, width, channels), which may be written to; empty where there is none."""
        shape = (*self.sizes[number], self.channels)
        return self.values[self._ends[number] - np.prod(shape, dtype=np.int64) : self._ends[number]].reshape(shape)


class Pictures:
    """Square images as an array, each the centre of a picture that may be wider or higher.

    Args:
        squares: uint8, (n, side, side, channels).
        wholes: as many.
    """

    dtype = np.dtype(np.uint8)
    knows_wholes = True

    def __init__(self, squares: np.ndarray, wholes: WholePictures):
        self._squares, self._wholes = squares, wholes
        self.shape = squares.shape

    def __len__(self) -> int:
        return len(self._squares)

    def __getitem__(self, chosen) -> np.ndarray:
        """Return some of the squares, uint8, (m, side, side, channels)."""
        return self._squares[chosen]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self._squares, dtype)

    def whole(self, number: int) -> np.ndarray:
        """Return a whole picture, uint8, (height, width, channels): its shorter side is the square's."""
        picture = self._wholes[number]
        return picture if picture.size else self._squares[number]


def knows_wholes(images) -> bool:
    """Return whether images may be the centres of pictures that are more: an array's are whole themselves."""
    return getattr(images, "knows_wholes", False)


def whole_picture(images, number: int) -> np.ndarray:
    """Return a whole picture, uint8, (height, width, channels), of images of either kind."""
    return images.whole(number) if knows_wholes(images) else images[number]


def whole_pictures(images, indices: np.ndarray) -> list[np.ndarray] | None:
    """Return the whole pictures of some images; None of images that are whole themselves.

    Args:
        images: all of them, (n, height, width, channels): an array, or what knows its whole pictures.
        indices: int, (m,), which of them.
    """
    return [images.whole(number) for number in indices] if knows_wholes(images) else None
