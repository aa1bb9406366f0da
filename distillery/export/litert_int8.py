"""LiteRT whose weights and activations are 8-bit integers (Jacob et al. 2018, arXiv 1712.05877)."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from distillery.export import litert
from distillery.export.student import ExportedStudent

FILE = "student_int8.tflite"
load = litert.load


def write(student: ExportedStudent, path: Path) -> None:
    """Write a `.tflite` file; an activation's 8 bits stand for the range that it takes on the calibration images.

    Raises:
        InputError: when Keras does not run on TensorFlow.
    """
    converter = litert.converter(student.model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = lambda: ([image[np.newaxis]] for image in student.calibration_images)
    litert.convert(converter, path)
