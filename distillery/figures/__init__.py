"""Figures for people. Each function takes plain arrays and returns a Matplotlib figure; `save_figure` writes it."""

from distillery.figures.classes import class_balance, per_class_accuracy, per_class_gain
from distillery.figures.confusion import confusion_matrices, confusion_matrix
from distillery.figures.evaluation import evaluation_figures
from distillery.figures.images import sample_sheet, sheet
from distillery.figures.models import comparison, omitted_classes, training_curves
from distillery.figures.style import (
    COLOURS,
    GAIN,
    HEAT,
    LOSS,
    MARKERS,
    UNDECIDED,
    new_figure,
    own_style,
    png,
    save_figure,
    text_colours,
)

__all__ = [
    "COLOURS",
    "GAIN",
    "HEAT",
    "LOSS",
    "MARKERS",
    "UNDECIDED",
    "class_balance",
    "comparison",
    "confusion_matrices",
    "confusion_matrix",
    "evaluation_figures",
    "new_figure",
    "omitted_classes",
    "own_style",
    "per_class_accuracy",
    "per_class_gain",
    "png",
    "sample_sheet",
    "save_figure",
    "sheet",
    "text_colours",
    "training_curves",
]
