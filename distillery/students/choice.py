"""The choice of the student to ship, and the students in their folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from distillery.data.files import read_json, write_json
from distillery.learning.prediction import predict_logits
from distillery.learning.saving import load_model


def save_choice(
    folder: Path, accuracies: dict[int, float], omitted_classes: Sequence[str], teacher_digest: str | None
) -> int:
    """Choose the seed that is most accurate on validation, the first of equals, and write it beside the students.

    Args:
        folder: where the students are.
        accuracies: on validation, by seed.
        omitted_classes: names of the classes that the students never saw.
        teacher_digest: SHA-256 of the file of the teacher that they learned from; None from scratch.

    Returns:
        The chosen seed.
    """
    chosen = max(accuracies, key=accuracies.get)
    write_json(
        folder / "students.json",
        {
            "chosen_seed": chosen,
            "val_accuracy": {str(seed): value for seed, value in accuracies.items()},
            "omitted_classes": list(omitted_classes),
            "teacher_sha256": teacher_digest,
        },
    )
    return chosen


@dataclass(frozen=True)
class Students:
    """Trained students.

    Attributes:
        models: by seed.
        paths: their files, by seed.
        chosen_seed: the one that was best on validation.
        omitted_classes: names of the classes that they never saw.
        teacher_digest: SHA-256 of their teacher's file; None from scratch.
    """

    models: dict[int, keras.Model]
    paths: dict[int, Path]
    chosen_seed: int
    omitted_classes: list[str]
    teacher_digest: str | None


def load_students(folder: Path) -> Students:
    """Return the students of a folder.

    Raises:
        InputError: when a file is missing or damaged.
    """
    choice = read_json(folder / "students.json")
    paths = {int(seed): folder / f"seed_{seed}.keras" for seed in choice["val_accuracy"]}
    models = {seed: load_model(path) for seed, path in paths.items()}
    return Students(models, paths, choice["chosen_seed"], choice["omitted_classes"], choice["teacher_sha256"])


def predict_students(students: Mapping[int, keras.Model], images: np.ndarray) -> np.ndarray:
    """Return the logits of every student, float32, (seeds, n, classes).

    One model predicts with each student's weights in turn: compiling once takes longer than predicting.
    """
    first, *_ = students.values()
    own = first.get_weights()
    logits = []
    for student in students.values():
        first.set_weights(own if student is first else student.get_weights())
        logits.append(predict_logits(first, images))
    first.set_weights(own)
    return np.stack(logits)
