"""Students: the same architecture and budget for the distilled ones and those from scratch, one per seed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from distillery.data.errors import InputError
from distillery.data.files import file_digest
from distillery.data.prepared import DatasetInfo, Split
from distillery.learning.batches import Batches, Examples
from distillery.learning.checkpoint import Checkpoint, Epoch
from distillery.learning.devices import check_devices, own_part
from distillery.learning.models import ModelSpec, build_model
from distillery.learning.onnx_writer import write_onnx
from distillery.learning.precision import resolve_precision
from distillery.learning.prediction import predict_logits
from distillery.learning.saving import save_model
from distillery.learning.settings import Training
from distillery.learning.starting_weights import IMAGENET, NONE
from distillery.learning.training import (
    OnEpochEnd,
    TrainingResult,
    assign,
    compile_model,
    fit,
    training_accuracy,
    values,
)
from distillery.students.choice import PREPARED_SIZE, WEIGHTS
from distillery.students.training_set import TrainingSet

CHECKED = 100  # images on which what ONNX Runtime gives is compared
Distil = Callable[[keras.Model], keras.Model]  # wraps a student into the model that is fitted


@dataclass(frozen=True)
class TrainedStudent:
    """One student.

    Attributes:
        seed: of its weights and of the order of its images.
        result: how its training went.
        validation_logits: of the saved model, float32, (n, classes).
        training_accuracy: of the saved model, 0 to 1, on a sample of the images that it learned from.
        parameters: how many it has.
        path: its Keras file.
    """

    seed: int
    result: TrainingResult
    validation_logits: np.ndarray
    training_accuracy: float
    parameters: int
    path: Path


def starting_point(spec: ModelSpec, info: DatasetInfo) -> dict[str, Any]:
    """Return what is not usual about where students start from.

    Args:
        spec: what they are built from.
        info: of the data set.

    Returns:
        `weights_sha256`, by its path, where they start from a file of weights; `prepared_size` where they take images
        of another size.
    """
    start: dict[str, Any] = {}
    if spec.weights not in (NONE, IMAGENET):
        start[WEIGHTS] = {spec.weights: file_digest(Path(spec.weights))}
    if spec.size != info.image_shape[:2]:
        start[PREPARED_SIZE] = list(info.image_shape[:2])
    return start


class SeedTrainer:
    """Trains students one after the other with one compiled model, since compiling takes as long as an epoch or two.

    Args:
        spec: what a student is built from.
        training: the budget.
        seed: any of the seeds, to build with.
        images: number of images per epoch.
        distil: wraps a student into the model that is fitted; None trains from scratch.
        label_smoothing: of students from scratch.
        class_weights: how much an image of each class counts, float32, (classes,): students from scratch learn by them,
            and every student's best epoch is that of the highest balanced accuracy. None where all count alike.

    A student starts from the weights that its seed draws without dropout, or from those of `spec.weights` and the head
    that its seed draws: students of one seed start alike whatever their recipe. In Keras a dropout layer takes random
    numbers that the layers after it then do not get.

    Attributes:
        precision: the dtype policy that they are trained in.
        chosen_by: the metric of the best epoch on validation.
    """

    def __init__(
        self,
        spec: ModelSpec,
        training: Training,
        seed: int,
        images: int,
        distil: Distil | None = None,
        label_smoothing: float = 0.0,
        class_weights: np.ndarray | None = None,
    ):
        check_devices("student.devices", training.devices)
        self.precision = resolve_precision("student.precision", training.precision)
        self._spec, self._training = spec, training
        self._inference_model = build_model(replace(spec, weights=NONE), seed)
        self._student = self._build(seed)
        self._distil = distil or (lambda student: student)
        self._training_model = self._distil(self._student)
        shown = images // training.devices * training.devices  # as `Batches` shows them
        if not shown:
            raise InputError(f"params.yaml: student.devices: found {training.devices}; there are {images} images")
        steps = -(-shown // training.batch_size)
        smoothing = label_smoothing if distil is None else None
        compile_model(self._training_model, training, steps, smoothing, class_weights)
        self.chosen_by = "val_accuracy" if class_weights is None else "val_balanced_accuracy"
        self._training_model.optimizer.build(self._training_model.trainable_variables)
        self._initial_optimizer_state = values(self._training_model.optimizer.variables)

    def _build(self, seed: int) -> keras.Model:
        starting_weights = build_model(replace(self._spec, dropout=0.0), seed).get_weights()
        model = build_model(replace(self._spec, weights=NONE), seed, self.precision, self._training.devices)
        model.set_weights(starting_weights)
        return model

    def train(
        self, seed: int, examples: Examples, validation: Split, on_epoch_end: OnEpochEnd, checkpoint: Checkpoint | None
    ) -> tuple[keras.Model, TrainingResult]:
        """Train a fresh student.

        Returns:
            The student as it is to be saved, until the next one takes its place; and how its training went.
        """
        training = self._training
        assign(self._training_model.variables, values(self._distil(self._build(seed)).variables))
        assign(self._training_model.optimizer.variables, self._initial_optimizer_state)
        batches = Batches(examples, training.batch_size, seed, training.devices, part=own_part())
        result = fit(
            self._training_model, batches, validation, training.epochs, on_epoch_end, checkpoint, self.chosen_by
        )
        self._inference_model.set_weights(self._student.get_weights())
        return self._inference_model, result


def train_students(
    trainer: SeedTrainer,
    seeds: Sequence[int],
    data: TrainingSet,
    folder: Path,
    on_epoch_end: Callable[[int, Epoch], None],
    resume_folder: Path | None = None,
) -> list[TrainedStudent]:
    """Train one student per seed and, when all are trained, save each as `folder/seed_<seed>.keras` and `.onnx`.

    Args:
        trainer: trains them.
        seeds: one student each.
        data: images and targets to learn from, and the images on which the best epoch is chosen.
        folder: where the students go.
        on_epoch_end: called with the seed and each epoch, as by `training.fit`.
        resume_folder: where their checkpoints are; None for none.
    """
    trained, weights = [], []
    for number, seed in enumerate(seeds, start=1):
        print(f"student {number} of {len(seeds)}, seed {seed}", flush=True)
        checkpoint = resume_folder and Checkpoint(resume_folder, f"seed_{seed}")
        model, result = trainer.train(seed, data.examples, data.validation, partial(on_epoch_end, seed), checkpoint)
        logits = predict_logits(model, data.validation.images)
        learned = training_accuracy(model, data.examples, len(logits))
        path = folder / f"seed_{seed}.keras"
        trained.append(TrainedStudent(seed, result, logits, learned, model.count_params(), path))
        weights.append(model.get_weights())
    for student, own in zip(trained, weights, strict=True):
        model.set_weights(own)
        save_model(model, student.path)
        write_onnx(model, student.path.with_suffix(".onnx"), data.validation.images[:CHECKED])
    return trained
