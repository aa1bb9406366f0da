"""The data sets, one public function each; its name is what `prepare.dataset` accepts.

To add one, write a function that returns a `Dataset`.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from stages.data.sources import mnist_files, read_idx

_DIGITS_TEST_SEED = 0  # the test set is part of the data set: it stays the same whatever `prepare.seed` is


@dataclass(frozen=True)
class Dataset:
    """A data set in memory.

    Attributes:
        classes: the classes' names, in the order of the labels.
        train_images, test_images: uint8, (n, height, width, channels).
        train_labels, test_labels: int32, (n,).
        source: where the data set comes from, the same whichever copy was read.
        obtained: which copy was read, for people.
    """

    classes: list[str]
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str
    obtained: str


def mnist() -> Dataset:
    """The MNIST database: 60,000 + 10,000 handwritten digits, 28 × 28 pixels, one channel."""
    files, obtained = mnist_files()
    return Dataset(
        classes=[str(digit) for digit in range(10)],
        train_images=read_idx(files["train-images-idx3-ubyte"])[..., np.newaxis],
        train_labels=read_idx(files["train-labels-idx1-ubyte"]).astype(np.int32),
        test_images=read_idx(files["t10k-images-idx3-ubyte"])[..., np.newaxis],
        test_labels=read_idx(files["t10k-labels-idx1-ubyte"]).astype(np.int32),
        source="The MNIST database of handwritten digits (Y. LeCun, C. Cortes, C. J. C. Burges)",
        obtained=obtained,
    )


def digits() -> Dataset:
    """scikit-learn's digits: 1,797 handwritten digits, 8 × 8 pixels, one channel; a fifth of them is the test set."""
    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]  # 17 shades to the full byte
    train_images, test_images, train_labels, test_labels = train_test_split(
        images,
        bunch.target.astype(np.int32),
        test_size=0.2,
        stratify=bunch.target,
        random_state=_DIGITS_TEST_SEED,
    )
    return Dataset(
        classes=[str(digit) for digit in range(10)],
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        source="Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak), as scikit-learn carries it",
        obtained="scikit-learn",
    )
