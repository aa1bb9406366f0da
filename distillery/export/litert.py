"""LiteRT with float32 weights, by the converter that comes with TensorFlow. The same weights give the same bytes."""

import os
from pathlib import Path

import keras
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from distillery.data.files import atomic_write
from distillery.export.student import ExportedStudent
from distillery.learning.conversion import quiet, require_tensorflow
from distillery.learning.prediction import Predict

FILE = "student.tflite"


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


def load(path: Path) -> Predict:
    """Return the model's prediction in LiteRT's own runtime, on all cores."""
    interpreter = Interpreter(str(path), num_threads=len(os.sched_getaffinity(0)))
    pixels, logits = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def predict(images):
        if tuple(interpreter.get_input_details()[0]["shape"]) != images.shape:
            interpreter.resize_tensor_input(pixels["index"], images.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(pixels["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(logits["index"])

    interpreter.allocate_tensors()
    return predict
