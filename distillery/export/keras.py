"""Keras's own format."""

import shutil
from pathlib import Path

from distillery.data.files import atomic_write
from distillery.export.student import ExportedStudent
from distillery.learning.prediction import Predict
from distillery.learning.saving import load_model

FILE = "student.keras"


def write(student: ExportedStudent, path: Path) -> None:
    """Copy the student's file: its digest links what is shipped with the run that trained it."""
    with atomic_write(path) as temporary:
        shutil.copyfile(student.path, temporary)


def load(path: Path) -> Predict:
    """Return the model's prediction in Keras."""
    return load_model(path).predict_on_batch
