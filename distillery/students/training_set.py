"""What students learn from: which images, in which views. The distilled ones and those from scratch share it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distillery.data.errors import InputError
from distillery.data.prepared import Split, load_description, load_split, select
from distillery.learning.augmentation import stored_offsets
from pipeline.params import Student


@dataclass(frozen=True)
class TrainingSet:
    """The students' part of the prepared data.

    Attributes:
        train: all training images, those of omitted classes too, so that positions are those of the teacher's logits.
        among: int, (m,): positions of the images to train on.
        offsets: int8, (views, n, 3): the views of each training image, `data.views`.
        validation: the validation images, without those of omitted classes: a student that never sees a class is not
            chosen by it either.
    """

    train: Split
    among: np.ndarray
    offsets: np.ndarray
    validation: Split


def load_training_set(student: Student) -> TrainingSet:
    """Read the prepared data as `student` asks for them.

    Raises:
        InputError: when the data are missing or damaged, or a class to omit is unknown, or too few classes are left.
    """
    classes = load_description()["classes"]
    train, validation = load_split("train"), load_split("validation")
    omitted = omitted_labels(classes, student.omit_classes)
    if omitted:
        validation = select(validation, np.flatnonzero(~np.isin(validation.labels, omitted)))
    return TrainingSet(
        train,
        np.flatnonzero(~np.isin(train.labels, omitted)),
        stored_offsets(len(train.labels), student.views, student.jitter, student.flip),
        validation,
    )


def omitted_labels(classes: Sequence[str], omit: Sequence[str]) -> list[int]:
    """Labels of the classes to omit.

    Args:
        classes: names of all classes, in the order of the labels.
        omit: names of those to omit.

    Raises:
        InputError: when a name is unknown, or fewer than two classes are left.
    """
    for name in omit:
        if name not in classes:
            raise InputError(
                f"params.yaml: student.omit_classes: found {name!r}; accepted: names of classes of the data set, "
                f"{_some(classes)}"
            )
    if len(classes) - len(omit) < 2:
        raise InputError(
            f"params.yaml: student.omit_classes: leaves {len(classes) - len(omit)} classes; accepted: 2 left"
        )
    return [classes.index(name) for name in omit]


def _some(classes: Sequence[str]) -> str:
    return ", ".join(classes) if len(classes) <= 20 else f"{', '.join(classes[:20])} and {len(classes) - 20} more"
