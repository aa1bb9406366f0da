"""The student that is exported, and what all formats have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

# From uint8 (batch, height, width, channels) to float32 logits (batch, classes).
Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class ExportedStudent:
    """What a format is made from.

    Attributes:
        path: the student's Keras file.
        model: the same, loaded: from uint8 (batch, height, width, channels) to logits (batch, classes).
        calibration_images: uint8, (n, height, width, channels): images like those to come, for formats of 8 bits.
    """

    path: Path
    model: keras.Model
    calibration_images: np.ndarray


def predict_in_batches(predict: Predict, images: np.ndarray, batch: int = 1000) -> np.ndarray:
    """Return the logits (n, classes) of many images, (n, height, width, channels), `batch` at a time."""
    return np.concatenate(
        [predict(np.ascontiguousarray(images[start : start + batch])) for start in range(0, len(images), batch)]
    )
