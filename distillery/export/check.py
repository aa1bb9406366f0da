"""What an exported model is worth beside the Keras model that it was made from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


def format_metrics(
    labels: np.ndarray, logits: Mapping[str, np.ndarray], sizes: Mapping[str, int]
) -> dict[str, dict[str, float]]:
    """Return accuracy, errors, agreement with Keras and bytes of each format.

    Args:
        labels: int, (n,).
        logits: by format, (n, classes); `keras` among them.
        sizes: by format, bytes of the file.
    """
    predicted = {name: values.argmax(axis=1) for name, values in logits.items()}
    return {
        name: {
            "accuracy": float(np.mean(classes == labels)),
            "errors": int(np.sum(classes != labels)),
            "agreement_with_keras": float(np.mean(classes == predicted["keras"])),
            "bytes": sizes[name],
        }
        for name, classes in predicted.items()
    }


@dataclass(frozen=True)
class Loss:
    """What a format loses against Keras, in images.

    Attributes:
        images: how many there are.
        lost: images on which Keras alone is correct.
        gained: images on which the format alone is correct.
    """

    images: int
    lost: int
    gained: int

    @property
    def points(self) -> float:
        """Return the percentage points of accuracy that are lost; negative where the format gains."""
        return 100 * (self.lost - self.gained) / self.images

    @property
    def lower_bound(self) -> float:
        """Return the points that the loss on images to come exceeds, with a confidence of 95 %.

        It is the interval of Bonett & Price 2012 (J. Educ. Behav. Stat. 37) for two paired proportions, which
        also holds for few images and where nothing is gained.
        """
        lost, gained, images = self.lost + 1, self.gained + 1, self.images + 2
        difference = (lost - gained) / images
        deviation = math.sqrt(((lost + gained) / images - difference**2) / images)
        return 100 * (difference - 1.645 * deviation)

    def __str__(self) -> str:
        """Return the loss in words."""
        return (
            f"of {self.images:,} validation images {self.lost:,} are correct in Keras alone, {self.gained:,} in 8 bits"
            f" alone: {self.points:.2f} points lost"
        )


def loss(labels: np.ndarray, logits: np.ndarray, exported: np.ndarray) -> Loss:
    """Return what a format loses against Keras.

    Args:
        labels: int, (n,).
        logits, exported: (n, classes), the Keras model's and the exported model's.
    """
    correct, exported_correct = (values.argmax(axis=1) == labels for values in (logits, exported))
    return Loss(len(labels), int(np.sum(correct & ~exported_correct)), int(np.sum(~correct & exported_correct)))
