"""Students: the same architecture and budget for the distilled ones and those from scratch, one a seed."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np

from stages.data.prepared import Split
from stages.files import write_json
from stages.learning.batches import Batches
from stages.learning.models import build_model, load_model, save_model, served_copy
from stages.learning.training import Fitted, compile_model, fit, predict_logits
from stages.params import InputError, Student


@dataclass(frozen=True)
class TrainedStudent:
    """One student: its seed, how its training went, and the logits (n, classes) of the saved model on validation."""

    seed: int
    fitted: Fitted
    validation_logits: np.ndarray
    parameters: int
    path: Path


def train_students(
    folder: Path,
    student: Student,
    classes: int,
    train: Split,
    validation: Split,
    on_epoch: Callable[[int, int, dict[str, float], np.ndarray], None],
    *,
    distiller: Callable[[keras.Model], keras.Model] | None = None,
    teacher_logits: np.ndarray | None = None,
    label_smoothing: float = 0.0,
) -> list[TrainedStudent]:
    """Train one student a seed and save each as `folder/seed_<seed>.keras`.

    Args:
        folder: where the students go.
        student: the budget.
        classes: number of classes.
        train: images and labels to learn from.
        validation: images and labels on which the best epoch is chosen.
        on_epoch: called with the seed, the epoch from 1, its metrics and the validation logits (n, classes).
        distiller: wraps a student into the model that is fitted; none trains from scratch.
        teacher_logits: (n, classes), row i for training image i, for a distiller.
        label_smoothing: of students from scratch.
    """
    build = {
        "architecture": student.architecture,
        "image_shape": train.images.shape[1:],
        "classes": classes,
        "dropout": student.dropout,
    }
    # One compiled model carries all seeds in turn, since compiling takes as long as an epoch or two.
    carrier = build_model(**build, seed=student.seeds[0], precision=student.precision)
    fitted_model = carrier if distiller is None else distiller(carrier)
    steps = Batches(train.images, train.labels, student.batch_size, student.seeds[0]).num_batches
    compile_model(fitted_model, student, steps, label_smoothing if distiller is None else None)
    fitted_model.optimizer.build(fitted_model.trainable_variables)
    new_optimizer = [variable.numpy() for variable in fitted_model.optimizer.variables]

    trained = []
    for number, seed in enumerate(student.seeds, start=1):
        print(f"student {number} of {len(student.seeds)}, seed {seed}", flush=True)
        fresh = build_model(**build, seed=seed, precision=student.precision)
        _assign(carrier.variables, [variable.numpy() for variable in fresh.variables])
        _assign(fitted_model.optimizer.variables, new_optimizer)
        fitted = fit(
            fitted_model,
            Batches(train.images, train.labels, student.batch_size, seed, teacher_logits=teacher_logits),
            validation.images,
            validation.labels,
            student.epochs,
            partial(on_epoch, seed),
        )
        served = served_copy(carrier, **build, seed=seed)
        path = folder / f"seed_{seed}.keras"
        save_model(served, path)
        trained.append(
            TrainedStudent(seed, fitted, predict_logits(served, validation.images), served.count_params(), path)
        )
    return trained


def _assign(variables: Sequence, values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def save_choice(folder: Path, validation_accuracy: dict[int, float]) -> int:
    """Choose the seed that is most accurate on validation, the first of equals, and write it beside the students.

    Args:
        folder: where the students are.
        validation_accuracy: by seed.

    Returns:
        The chosen seed.
    """
    chosen = max(validation_accuracy, key=validation_accuracy.get)
    write_json(
        folder / "students.json",
        {"chosen_seed": chosen, "val_accuracy": {str(seed): value for seed, value in validation_accuracy.items()}},
    )
    return chosen


def load_students(folder: Path) -> tuple[dict[int, keras.Model], int]:
    """The students by seed, and the chosen seed.

    Raises:
        InputError: when a file is missing or damaged.
    """
    try:
        choice = json.loads((folder / "students.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}/students.json: cannot be read ({error}); run `dvc repro` first") from None
    seeds = [int(seed) for seed in choice["val_accuracy"]]
    return {seed: load_model(folder / f"seed_{seed}.keras") for seed in seeds}, choice["chosen_seed"]


def predict_students(students: Mapping[int, keras.Model], images: np.ndarray) -> np.ndarray:
    """Logits of every student, float32, (seeds, n, classes).

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
