"""Splits of the training images."""

import numpy as np
from sklearn.model_selection import train_test_split

from distillery.data.errors import InputError


def stratified_split(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of training and of validation images, every class in the same proportion.

    Args:
        labels: int, (n,).
        fraction: part that goes to validation.
        seed: draws the split.

    Returns:
        Two int arrays, each sorted, so that both parts keep the order of the data set.

    Raises:
        InputError: when the validation part would be too small to hold every class.
    """
    try:
        train, validation = train_test_split(
            np.arange(len(labels)), test_size=fraction, stratify=labels, random_state=seed
        )
    except ValueError as error:
        raise InputError(
            f"prepare.validation_fraction: {fraction} does not work with {len(labels)} images: {error}"
        ) from None
    missing = np.setdiff1d(labels, labels[validation])
    if len(missing):
        raise InputError(
            f"prepare.validation_fraction: {fraction} leaves {len(missing)} of {len(np.unique(labels))} classes "
            f"without a validation image, the smallest has {np.bincount(labels)[missing].min()} to train and validate "
            "on; accepted: a larger part, or more images"
        )
    return np.sort(train), np.sort(validation)
