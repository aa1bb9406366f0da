"""ONNX with float32 weights: the file that training wrote beside the Keras file."""

import shutil
from pathlib import Path

from distillery.data.files import atomic_write
from distillery.export.student import ExportedStudent
from distillery.learning.onnx_model import load_onnx

FILE = "student.onnx"
load = load_onnx


def write(student: ExportedStudent, path: Path) -> None:
    """Copy the file that was evaluated; its input is called `pixels`, its output `logits`."""
    with atomic_write(path) as temporary:
        shutil.copyfile(student.path.with_suffix(".onnx"), temporary)
