"""Students: the same architecture and budget for the distilled ones and those from scratch, one a seed."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np

from distillery.data.errors import InputError
from distillery.data.files import write_json
from distillery.data.prepared import Split
from distillery.learning.batches import Batches
from distillery.learning.checkpoint import Epoch, ResumePoint
from distillery.learning.models import build_model, check_devices, load_model, save_model
from distillery.learning.prediction import predict_logits
from distillery.learning.training import Fitted, OnEpoch, assign, compile_model, fit, values
from distillery.students.training_set import TrainingSet
from pipeline.params import Student


@dataclass(frozen=True)
class TrainedStudent:
    """One student: its seed, how its training went, and the logits (n, classes) of the saved model on validation."""

    seed: int
    fitted: Fitted
    validation_logits: np.ndarray
    parameters: int
    path: Path


class StudentTrainer:
    """Trains students one after the other with one compiled model, since compiling takes as long as an epoch or two.

    Args:
        student: the budget.
        image_shape: (height, width, channels).
        classes: number of classes.
        images: number of images an epoch.
        distiller: wraps a student into the model that is fitted; none trains from scratch.
        label_smoothing: of students from scratch.
    """

    def __init__(
        self,
        student: Student,
        image_shape: tuple[int, ...],
        classes: int,
        images: int,
        *,
        distiller: Callable[[keras.Model], keras.Model] | None = None,
        label_smoothing: float = 0.0,
    ):
        check_devices("student.devices", student.devices)
        self._student = student
        self._build = {
            "architecture": student.architecture,
            "image_shape": image_shape,
            "classes": classes,
            "dropout": student.dropout,
        }
        self._in_training = {"precision": student.precision, "devices": student.devices}
        self._served = build_model(**self._build, seed=student.seeds[0])
        self._carrier = build_model(**self._build, **self._in_training, seed=student.seeds[0])
        self._fitted_model = self._carrier if distiller is None else distiller(self._carrier)
        steps = -(-images // student.batch_size)
        compile_model(self._fitted_model, student, steps, label_smoothing if distiller is None else None)
        self._fitted_model.optimizer.build(self._fitted_model.trainable_variables)
        self._new_optimizer = values(self._fitted_model.optimizer.variables)

    def train(
        self, seed: int, batches: Batches, validation: Split, on_epoch: OnEpoch, resume_point: ResumePoint | None
    ) -> tuple[keras.Model, Fitted]:
        """A fresh student, trained: as it is to be saved, until the next one takes its place; how its training went."""
        fresh = build_model(**self._build, **self._in_training, seed=seed)
        assign(self._carrier.variables, values(fresh.variables))
        assign(self._fitted_model.optimizer.variables, self._new_optimizer)
        fitted = fit(
            self._fitted_model,
            batches,
            validation.images,
            validation.labels,
            self._student.epochs,
            on_epoch,
            resume_point,
        )
        self._served.set_weights(self._carrier.get_weights())
        return self._served, fitted


def train_students(
    folder: Path,
    student: Student,
    classes: int,
    data: TrainingSet,
    on_epoch: Callable[[int, Epoch], None],
    *,
    resume_folder: Path | None = None,
    distiller: Callable[[keras.Model], keras.Model] | None = None,
    teacher_logits: np.ndarray | None = None,
    label_smoothing: float = 0.0,
) -> list[TrainedStudent]:
    """Train one student a seed and, when all are trained, save each as `folder/seed_<seed>.keras`.

    Args:
        folder: where the students go.
        student: the budget.
        classes: number of classes.
        data: images and labels to learn from, and those on which the best epoch is chosen.
        on_epoch: called with the seed and each epoch, `training.fit`.
        resume_folder: where their resume points are; None for none.
        distiller: wraps a student into the model that is fitted; none trains from scratch.
        teacher_logits: (views, n, classes), those of view v of training image i at [v, i], for a distiller.
        label_smoothing: of students from scratch.
    """
    trainer = StudentTrainer(
        student,
        data.train.images.shape[1:],
        classes,
        len(data.among),
        distiller=distiller,
        label_smoothing=label_smoothing,
    )
    trained, weights = [], []
    for number, seed in enumerate(student.seeds, start=1):
        print(f"student {number} of {len(student.seeds)}, seed {seed}", flush=True)
        batches = training_batches(data, student, seed, data.among, teacher_logits)
        resume_point = resume_folder and ResumePoint(resume_folder, f"seed_{seed}")
        served, fitted = trainer.train(seed, batches, data.validation, partial(on_epoch, seed), resume_point)
        logits = predict_logits(served, data.validation.images)
        trained.append(TrainedStudent(seed, fitted, logits, served.count_params(), folder / f"seed_{seed}.keras"))
        weights.append(served.get_weights())
    for student, own in zip(trained, weights, strict=True):
        served.set_weights(own)
        save_model(served, student.path)
    return trained


def training_batches(
    data: TrainingSet, student: Student, seed: int, among: np.ndarray, teacher_logits: np.ndarray | None
) -> Batches:
    """Batches of the images at the positions `among`, with the teacher's logits where there are any."""
    return Batches(
        data.train.images,
        data.train.labels,
        student.batch_size,
        seed,
        among=among,
        offsets=data.offsets,
        teacher_logits=teacher_logits,
        devices=student.devices,
    )


def save_choice(
    folder: Path, validation_accuracy: dict[int, float], omitted_classes: Sequence[str], teacher_digest: str | None
) -> int:
    """Choose the seed that is most accurate on validation, the first of equals, and write it beside the students.

    Args:
        folder: where the students are.
        validation_accuracy: by seed.
        omitted_classes: names of the classes that the students never saw.
        teacher_digest: SHA-256 of the file of the teacher that they learned from; None from scratch.

    Returns:
        The chosen seed.
    """
    chosen = max(validation_accuracy, key=validation_accuracy.get)
    write_json(
        folder / "students.json",
        {
            "chosen_seed": chosen,
            "val_accuracy": {str(seed): value for seed, value in validation_accuracy.items()},
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
        chosen_seed: the one that was best on validation.
        omitted_classes: names of the classes that they never saw.
        teacher_digest: SHA-256 of their teacher's file; None from scratch.
    """

    models: dict[int, keras.Model]
    chosen_seed: int
    omitted_classes: list[str]
    teacher_digest: str | None


def load_students(folder: Path) -> Students:
    """The students of a folder.

    Raises:
        InputError: when a file is missing or damaged.
    """
    try:
        choice = json.loads((folder / "students.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}/students.json: cannot be read ({error}); run `dvc repro` first") from None
    seeds = [int(seed) for seed in choice["val_accuracy"]]
    models = {seed: load_model(folder / f"seed_{seed}.keras") for seed in seeds}
    return Students(models, choice["chosen_seed"], choice["omitted_classes"], choice["teacher_sha256"])


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
