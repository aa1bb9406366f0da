"""Cross-validation of a student on its training images: how well does it imitate the teacher on what it did not see?"""

from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
from sklearn.model_selection import KFold

from distillery.learning.checkpoint import ResumePoint
from distillery.learning.prediction import predict_logits
from distillery.learning.training import Fitted
from distillery.students.train import StudentTrainer, training_batches
from distillery.students.training_set import TrainingSet
from pipeline.params import Student


def cross_validate(
    folds: int,
    student: Student,
    classes: int,
    data: TrainingSet,
    teacher_logits: np.ndarray,
    distiller: Callable[[keras.Model], keras.Model],
    resume_folder: Path | None = None,
) -> Iterator[tuple[Fitted, float, float]]:
    """Train a fresh student for each fold, on the other folds, and score it on this one.

    The best epoch is chosen on the validation images as ever, never on the fold that is scored.

    Args:
        folds: number of folds, drawn at random.
        student: the budget; its first seed draws folds and weights.
        classes: number of classes.
        data: images and labels to learn from.
        teacher_logits: (views, n, classes).
        distiller: wraps a student into the model that is fitted.
        resume_folder: where the resume points are; None for none.

    Yields:
        For each fold how training went and, over its images, how often the student says what the teacher says, and how
        often it is right.
    """
    teacher_labels = teacher_logits[0, data.among].argmax(axis=1)
    seed = student.seeds[0]
    splits = list(KFold(folds, shuffle=True, random_state=seed).split(data.among))
    trainer = StudentTrainer(
        student, data.train.images.shape[1:], classes, max(len(rest) for rest, _ in splits), distiller=distiller
    )
    for number, (rest, fold) in enumerate(splits, start=1):
        print(f"fold {number} of {folds}", flush=True)
        batches = training_batches(data, student, seed, data.among[rest], teacher_logits)
        resume_point = resume_folder and ResumePoint(resume_folder, f"fold_{number}")
        model, fitted = trainer.train(seed, batches, data.validation, lambda _: None, resume_point)
        held_out = data.among[fold]
        said = predict_logits(model, data.train.images[held_out]).argmax(axis=1)
        agreement = float(np.mean(said == teacher_labels[fold]))
        yield fitted, agreement, float(np.mean(said == data.train.labels[held_out]))
