"""The format of CIFAR-10 and CIFAR-100: batches of images that are Python pickles, read without running them."""

import io
import pickle
from typing import Any

import numpy as np

from distillery.data.errors import InputError


class _ArraysOnly(pickle.Unpickler):
    """A pickle names the functions that rebuild its objects; only NumPy's own for arrays are accepted."""

    ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise InputError(f"a CIFAR batch asks for {module}.{name}; accepted: NumPy arrays only")
        return super().find_class(module, name)


def read_batch(content: bytes) -> dict[bytes, Any]:
    """Return what a file of CIFAR holds; nothing in it is run.

    Args:
        content: a pickle as Python 2 wrote it: a dictionary whose keys and strings become bytes.

    Raises:
        InputError: when it asks for anything but what rebuilds NumPy arrays.
    """
    return _ArraysOnly(io.BytesIO(content), encoding="bytes").load()


def read_batches(contents: list[bytes], labels: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the images and labels of some batches, one after another.

    Args:
        contents: the files.
        labels: key of the labels.

    Returns:
        Images, uint8, (n, 32, 32, 3), and labels, int32, (n,).
    """
    batches = [read_batch(content) for content in contents]
    images = planes_to_images([batch[b"data"] for batch in batches])
    return images, np.concatenate([batch[labels.encode()] for batch in batches]).astype(np.int32)


def planes_to_images(planes: list[np.ndarray]) -> np.ndarray:
    """Return the images of some batches, one after another.

    Args:
        planes: each uint8, (n, 3072): 32 × 32 red values row by row, then green, then blue.

    Returns:
        uint8, (n, 32, 32, 3).
    """
    images = np.empty((sum(map(len, planes)), 32, 32, 3), np.uint8)
    return np.concatenate([part.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) for part in planes], out=images)
