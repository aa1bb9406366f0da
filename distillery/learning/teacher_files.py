"""The teacher in its files: a classifier whose named outputs students learn from, and with which they are compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distillery.data.errors import InputError
from distillery.data.files import file_digest, read_json, write_json
from distillery.learning.onnx_model import OnnxModel
from distillery.learning.prediction import predict_in_batches

if TYPE_CHECKING:  # a process that runs no Keras model need not wait for it
    import keras

KERAS_FILE, ONNX_FILE, DESCRIPTION = "teacher.keras", "teacher.onnx", "teacher.json"
GPU = Path("/proc/driver/nvidia/version")  # of the driver's module: found without TensorFlow, which takes seconds


class Teacher:
    """A classifier in a folder: its Keras file and, where ONNX has such a model, its ONNX file.

    It is run by ONNX Runtime, which starts in a fraction of a second; by Keras where there is no ONNX file, or a GPU
    that many images are worth waiting for.

    Args:
        folder: where `save_teacher` wrote it.

    Attributes:
        digest: SHA-256 of the Keras file.
        bytes: size of the Keras file.
        parameters: number of weights.
        precision: that it was trained in here; None where it was taken.
        predict: from a few images, uint8, (n, height, width, channels), to their logits, in one call.
        onnx: as it would ship; None where ONNX has no such model.

    Raises:
        InputError: when a file is missing or damaged.
    """

    def __init__(self, folder: str | Path):
        path, as_onnx = Path(folder) / KERAS_FILE, Path(folder) / ONNX_FILE
        self.onnx = OnnxModel(as_onnx) if as_onnx.is_file() else None
        if self.onnx and not GPU.exists():
            self.parameters, self.predict = self.onnx.parameters, self.onnx.predict
        else:
            from distillery.learning.saving import load_model  # imports Keras, which takes seconds

            model = load_model(path)
            self.parameters, self.predict = model.count_params(), model.predict_on_batch
        try:
            self.digest, self.bytes = file_digest(path), path.stat().st_size
            self.precision: str | None = read_json(Path(folder) / DESCRIPTION)["precision"]
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; run `dvc repro` first") from None

    def outputs(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return the outputs by name: `logits`, float32, (n, classes).

        Args:
            images: uint8, (n, height, width, channels).
        """
        return {"logits": predict_in_batches(self.predict, images)}


def save_teacher(model: keras.Model, folder: Path, images: np.ndarray, precision: str | None) -> None:
    """Write a teacher as Keras file and as ONNX file; where ONNX has no such model, say so and leave it out.

    Args:
        model: from raw pixels, uint8, (batch, height, width, channels), to logits (batch, classes).
        folder: where to.
        images: some of the data set, uint8, (n, height, width, channels), on which both are compared.
        precision: that it was trained in here; None where it was taken.
    """
    from distillery.learning.onnx_writer import write_onnx
    from distillery.learning.saving import save_model

    save_model(model, folder / KERAS_FILE)
    write_json(folder / DESCRIPTION, {"precision": precision})
    try:
        write_onnx(model, folder / ONNX_FILE, images)
    except InputError as error:
        print(f"note: {error}; so Keras runs the teacher, which takes seconds longer to start", flush=True)


def load_teacher(folder: str | Path) -> Teacher:
    """Return the teacher in a folder."""
    return Teacher(folder)
