"""Models in LiteRT files, run by LiteRT, without the converter, which imports TensorFlow."""

import os
from pathlib import Path

from ai_edge_litert.interpreter import Interpreter

from distillery.learning.prediction import Predict


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
