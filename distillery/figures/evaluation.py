"""Every figure of an evaluation."""

from collections.abc import Iterator, Mapping

from matplotlib.figure import Figure

from distillery.evaluation.instructive import ImageSheet
from distillery.evaluation.results import Evaluation
from distillery.evaluation.roles import ROLES
from distillery.figures.classes import per_class_accuracy, per_class_gain
from distillery.figures.confusion import confusion_matrices
from distillery.figures.images import sheet
from distillery.figures.models import comparison, omitted_classes, training_curves
from distillery.learning.metrics import confusion_matrix as count_confusions


def evaluation_figures(
    evaluation: Evaluation, costs: Mapping[str, Mapping[str, float]], sheet_images: ImageSheet
) -> Iterator[tuple[str, Figure]]:
    """Draw every figure of an evaluation, one after the other.

    Args:
        evaluation: what the test set shows.
        costs: the arguments of `comparison`.
        sheet_images: the images of the sheet.

    Yields:
        Its name, and the figure.
    """
    classes, accuracy = evaluation.classes, evaluation.class_accuracy
    confusions = {
        role: count_confusions(evaluation.labels, predicted, len(classes))
        for role, predicted in evaluation.predicted.items()
    }
    yield "comparison", comparison(**costs)
    yield "training_curves", training_curves(evaluation.curves)
    yield "confusion_matrices", confusion_matrices(confusions, classes)
    yield "per_class_accuracy", per_class_accuracy(accuracy, classes, intervals=evaluation.class_intervals)
    yield "per_class_gain", per_class_gain(100 * (accuracy["distilled"] - accuracy["scratch"]), classes)
    yield (
        "instructive_images",
        sheet(sheet_images.images, sheet_images.labels, sheet_images.probabilities, classes),
    )
    if evaluation.omitted_classes:
        omitted = {role: values for role, values in evaluation.headline["omitted"].items() if role in ROLES}
        yield "omitted_classes", omitted_classes(omitted, evaluation.omitted_classes)
