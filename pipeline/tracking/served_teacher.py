"""A teacher from elsewhere as MLflow serves it: pixels in; names of classes and logits out.

Each logged model has a copy of this file as its code, beside the parts of the library that run such a teacher.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from distillery.teachers.teacher import TakenTeacher


class ServedTeacher:
    """A teacher and the names of its classes.

    Args:
        folder: with `teacher/` and `classes.txt`.
    """

    def __init__(self, folder: Path):
        self._teacher = TakenTeacher(folder / "teacher")
        self._classes = (folder / "classes.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")

    def predict(self, images: dict[str, np.ndarray], params: dict | None = None) -> pd.DataFrame:
        """Return a row per image: the name of its class, and the logits.

        Args:
            images: `pixels`, uint8, (n, height, width, channels), by the model's signature.
            params: MLflow's; not used.
        """
        logits = self._teacher.outputs(images["pixels"])["logits"]
        names = [self._classes[number] for number in logits.argmax(axis=1)]
        return pd.DataFrame({"class": names, "logits": logits.tolist()})


def _load_pyfunc(path: str) -> ServedTeacher:
    """Return the teacher; MLflow's pyfunc looks for this function."""
    return ServedTeacher(Path(path))
