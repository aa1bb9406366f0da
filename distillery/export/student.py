"""The student that is exported, and what all formats have in common."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np


@dataclass(frozen=True)
class ExportedStudent:
    """What a format is made from.

    Attributes:
        path: the student's Keras file, beside which the same lies as ONNX.
        model: the same, loaded: from uint8 (batch, height, width, channels) to logits (batch, classes).
        calibration_images: uint8, (n, height, width, channels): images like those to come, for formats of 8 bits.
    """

    path: Path
    model: keras.Model
    calibration_images: np.ndarray
