"""Splits of the training images."""

import numpy as np
from sklearn.model_selection import train_test_split

from distillery.data.errors import InputError
from distillery.datasets.dataset import Dataset


def draw_validation(dataset: Dataset, fraction: float, seed: int, pictures: np.ndarray) -> Dataset:
    """Return the data set with a part of its training images as validation images, drawn by `stratified_split`."""
    train, validation = stratified_split(dataset.train_labels, fraction, seed, pictures)
    return dataset.with_part("validation", "train", validation).with_part("train", "train", train)


def stratified_split(
    labels: np.ndarray, fraction: float, seed: int, pictures: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of training and of validation images, every class in the same proportion.

    Args:
        labels: int, (n,).
        fraction: part that goes to validation.
        seed: draws the split.
        pictures: int, (n,), the same for images that must go to the same part; all differ, unless given.

    Returns:
        Two int arrays, each sorted, so that both parts keep the order of the data set.

    Raises:
        InputError: when the validation part would be too small to hold every class.
    """
    pictures = np.arange(len(labels)) if pictures is None else pictures
    first = np.sort(np.unique(pictures, return_index=True)[1])  # one image per picture: all, where none occurs twice
    try:
        _, drawn = train_test_split(first, test_size=fraction, stratify=labels[first], random_state=seed)
    except ValueError as error:
        raise InputError(
            f"prepare.validation_fraction: {fraction} does not work with {len(labels)} images: {error}"
        ) from None
    validated = np.isin(pictures, pictures[drawn])
    missing = np.setdiff1d(labels, labels[validated])
    if len(missing):
        raise InputError(
            f"prepare.validation_fraction: {fraction} leaves {len(missing)} of {len(np.unique(labels))} classes "
            f"without a validation image, the smallest has {np.bincount(labels)[missing].min()} to train and validate "
            "on; accepted: a larger part, or more images"
        )
    untrained = np.setdiff1d(labels, labels[~validated])
    if len(untrained):
        raise InputError(
            f"prepare.validation_fraction: {fraction} leaves {len(untrained)} of {len(np.unique(labels))} classes"
            " without a training image; accepted: a smaller part, or more different images"
        )
    return np.flatnonzero(~validated), np.flatnonzero(validated)
