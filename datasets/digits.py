"""scikit-learn's digits: 1,797 handwritten digits, 8 × 8 pixels, one channel; a fifth of them is the test set."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from distillery.datasets.dataset import Dataset

CLASSES = [str(digit) for digit in range(10)]
SOURCE = "Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak), as scikit-learn carries it"
TEST_SEED = 0  # the test set is part of the data set: it stays the same whatever `prepare.seed` is


def load() -> Dataset:
    """Return the data set; nothing is downloaded, since scikit-learn carries it."""
    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]  # 17 shades to the full byte
    labels = bunch.target.astype(np.int32)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=0.2, stratify=labels, random_state=TEST_SEED
    )
    return Dataset(CLASSES, train_images, train_labels, test_images, test_labels, SOURCE, "scikit-learn")
