"""What every training stage records of its epochs and of its result."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from distillery.data.files import file_digest
from distillery.learning.checkpoint import Epoch
from distillery.learning.metrics import confusion_matrix, named, per_class_accuracy
from pipeline.tracking.journal import Journal

# A thousand numbers an image would make a series of pictures that nobody can look at, and large journals.
SERIES_CLASSES = 100


def confusion_of(labels: np.ndarray, predictions: np.ndarray, about: Mapping) -> np.ndarray:
    """The confusion matrix (classes, classes) of predicted classes (n,); `about` is what `dataset.json` says."""
    return confusion_matrix(labels, predictions, len(about["classes"]))


def numbered(epochs: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """Each epoch's metrics with its number, from 1, in front."""
    return [{"epoch": number, **metrics} for number, metrics in enumerate(epochs, start=1)]


def record_series(run: Journal, epoch: Epoch, confusion: np.ndarray, classes: Sequence[str]) -> None:
    """Add the confusion matrix (classes, classes) of an epoch to the run's series of pictures."""
    if len(classes) <= SERIES_CLASSES:
        run.figure(
            "confusion_matrix",
            "confusion_over_epochs",
            step=epoch.number,
            time=epoch.ended,
            confusion=confusion,
            classes=list(classes),
            title=f"Validation, epoch {epoch.number}",
        )


def record_result(run: Journal, name: str, confusion: np.ndarray, about: Mapping, curves: str, model: Path) -> None:
    """Attach what training ended with.

    Args:
        run: the stage's journal.
        name: of the model in MLflow.
        confusion: on the validation images, (classes, classes).
        about: what `dataset.json` says.
        curves: the file with the metrics of every epoch.
        model: the model's file.
    """
    classes = about["classes"]
    accuracy = per_class_accuracy(confusion)
    run.table("per_class_accuracy.json", named(accuracy, classes))
    run.table("confusion_matrix.json", {"classes": classes, "rows_are_labels": confusion.tolist()})
    run.figure(
        "confusion_matrix", "confusion_matrix", confusion=confusion, classes=classes, title="Validation, best epoch"
    )
    run.figure(
        "per_class_accuracy",
        "per_class_accuracy",
        accuracy={name: accuracy.tolist()},
        classes=classes,
        where="validation set",
    )
    run.artifact(curves, "curves")
    run.model(model, name, file_digest(model), about["image_shape"], len(classes))
