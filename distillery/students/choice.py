"""The choice of the student to ship, and the students in their folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distillery.data.errors import InputError
from distillery.data.files import file_digest, read_json, write_json
from distillery.learning.onnx_model import OnnxModel
from distillery.learning.prediction import predict_in_batches
from distillery.learning.resizing import resized_when_read

WEIGHTS, PREPARED_SIZE = "weights_sha256", "prepared_size"  # what `starting_point` gives


def save_choice(
    folder: Path,
    by_seed: Mapping[int, float],
    chosen_by: str,
    omitted_classes: Sequence[str],
    teacher_digest: str | None,
    precision: str,
    start: Mapping[str, Any],
) -> int:
    """Choose the seed that is best on validation, the first of equals, and write it beside the students.

    Args:
        folder: where the students are.
        by_seed: their metric on validation, and
        chosen_by: its name.
        omitted_classes: names of the classes that the students never saw.
        teacher_digest: SHA-256 of the file of the teacher that they learned from; None from scratch.
        precision: that they were trained in.
        start: where they start from, as `starting_point` gives it.

    Returns:
        The chosen seed.
    """
    chosen = max(by_seed, key=by_seed.get)
    write_json(
        folder / "students.json",
        {
            "chosen_seed": chosen,
            "chosen_by": chosen_by,
            "by_seed": {str(seed): value for seed, value in by_seed.items()},
            "omitted_classes": list(omitted_classes),
            "teacher_sha256": teacher_digest,
            "precision": precision,
        }
        | dict(start),
    )
    return chosen


@dataclass(frozen=True)
class Students:
    """Trained students.

    Attributes:
        paths: their Keras files, by seed; beside each lies the same as ONNX.
        chosen_seed: the one that was best on validation.
        omitted_classes: names of the classes that they never saw.
        teacher_digest: SHA-256 of their teacher's file; None from scratch.
        precision: that they were trained in.
        start: where they started from, as `starting_point` gives it.
    """

    paths: dict[int, Path]
    chosen_seed: int
    omitted_classes: list[str]
    teacher_digest: str | None
    precision: str
    start: dict[str, Any]

    @property
    def chosen(self) -> Path:
        """The Keras file of the chosen student."""
        return self.paths[self.chosen_seed]


def load_students(folder: Path) -> Students:
    """Return the students of a folder.

    Raises:
        InputError: when the file with the choice is missing or damaged, or the weights that they started from changed.
    """
    choice = read_json(folder / "students.json")
    start = {name: choice[name] for name in (WEIGHTS, PREPARED_SIZE) if name in choice}
    for path, digest in start.get(WEIGHTS, {}).items():  # which DVC does not see: `none` is no file to depend on
        if Path(path).is_file() and file_digest(Path(path)) != digest:
            raise InputError(
                f"{path}: changed since the students in {folder} started from it; run `dvc repro --force --single-item"
                " distill train_scratch`"
            )
    paths = {int(seed): folder / f"seed_{seed}.keras" for seed in choice["by_seed"]}
    rest = (choice[name] for name in ("chosen_seed", "omitted_classes", "teacher_sha256", "precision"))
    return Students(paths, *rest, start)


def onnx_models(students: Students) -> dict[int, OnnxModel]:
    """Return the students as ONNX models, by seed.

    Raises:
        InputError: when a file is missing or damaged.
    """
    return {seed: OnnxModel(path.with_suffix(".onnx")) for seed, path in students.paths.items()}


def predict_students(models: Mapping[int, OnnxModel], images: np.ndarray) -> np.ndarray:
    """Return the logits of every student, float32, (seeds, n, classes).

    Args:
        models: by seed.
        images: uint8, (n, height, width, channels), scaled to the size that the students take.
    """
    images = resized_when_read(images, next(iter(models.values())).image_shape[:2])
    return np.stack([predict_in_batches(model.predict, images) for model in models.values()])
