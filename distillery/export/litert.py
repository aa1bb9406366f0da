"""LiteRT with float32 weights, by the converter that comes with TensorFlow. The same weights give the same bytes."""

from pathlib import Path

import keras
import tensorflow as tf

from distillery.data.files import atomic_write
from distillery.export import litert_model
from distillery.export.student import ExportedStudent
from distillery.learning.conversion import quiet, require_tensorflow

FILE = "student.tflite"
load = litert_model.load


def write(student: ExportedStudent, path: Path) -> None:
    """Write a `.tflite` file.

    Raises:
        InputError: when Keras does not run on TensorFlow.
    """
    convert(converter(student.model), path)


def converter(model: keras.Model) -> tf.lite.TFLiteConverter:
    """Return the converter of a model."""
    require_tensorflow()
    return tf.lite.TFLiteConverter.from_keras_model(model)


def convert(converter: tf.lite.TFLiteConverter, path: Path) -> None:
    """Write what a converter gives."""
    with quiet():
        content = converter.convert()
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
