"""Exported models, each run by its own runtime: what users will see. No Keras here, and no TensorFlow."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

Predict = Callable[[np.ndarray], np.ndarray]


def litert(path: str | Path) -> Predict:
    """A `.tflite` model in LiteRT, on all cores.

    Args:
        path: the model.

    Returns:
        From uint8 (batch, height, width, channels) to float32 logits (batch, classes).
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=len(os.sched_getaffinity(0)))
    pixels, logits = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def predict(images: np.ndarray) -> np.ndarray:
        if tuple(interpreter.get_input_details()[0]["shape"]) != images.shape:
            interpreter.resize_tensor_input(pixels["index"], images.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(pixels["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(logits["index"])

    interpreter.allocate_tensors()
    return predict


def onnx(path: str | Path) -> Predict:
    """An `.onnx` model in ONNX Runtime, on all cores.

    Args:
        path: the model.

    Returns:
        From uint8 (batch, height, width, channels) to float32 logits (batch, classes).
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(
        os.sched_getaffinity(0)
    )  # given, it does not pin threads, which fails in containers
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def in_batches(predict: Predict, images: np.ndarray, batch: int = 1000) -> np.ndarray:
    """Logits (n, classes) of many images, (n, height, width, channels), `batch` at a time."""
    return np.concatenate(
        [predict(np.ascontiguousarray(images[start : start + batch])) for start in range(0, len(images), batch)]
    )
