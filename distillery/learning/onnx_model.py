"""Models in ONNX files, run by ONNX Runtime: it starts in a fraction of a second, and ships."""

import os
from pathlib import Path

import numpy as np
import onnxruntime

from distillery.data.errors import InputError, reason
from distillery.learning.prediction import Predict

PARAMETERS, MULTIPLY_ADDS = "parameters", "multiply_adds"  # names in the file's metadata


class OnnxModel:
    """A classifier in a file that `write_onnx` wrote, on all cores.

    Args:
        path: the file.

    Attributes:
        path: the file.
        image_shape: of the images that it takes, (height, width, channels).
        parameters: number of weights.
        multiply_adds: of one image.

    Raises:
        InputError: when the file is missing or damaged.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        options = onnxruntime.SessionOptions()
        # Note: a given number does not pin threads to cores, which fails in containers.
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            self.image_shape = tuple(self._session.get_inputs()[0].shape[1:])
            numbers = self._session.get_modelmeta().custom_metadata_map
            self.parameters, self.multiply_adds = int(numbers[PARAMETERS]), int(numbers[MULTIPLY_ADDS])
        except Exception as error:  # ONNX Runtime has an exception for each of its status codes
            if not Path(path).is_file():
                raise InputError(f"{path}: no such file; run `dvc repro` first") from None
            raise InputError(f"{path}: not an ONNX model that can be read ({reason(error)})") from error

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the logits of images in one call, float32, (n, classes).

        Args:
            images: uint8, (n, height, width, channels).
        """
        return self._session.run(None, {"pixels": images})[0]


def load_onnx(path: Path) -> Predict:
    """Return a model's prediction in ONNX Runtime, on all cores."""
    return OnnxModel(path).predict
