"""The recipe of plain training: the students' own, but for what plain training may set otherwise."""

from dataclasses import dataclass, fields, replace

from distillery.learning.augmentation import Policy, policy_of
from distillery.learning.settings import Training


@dataclass(frozen=True)
class PlainRecipe:
    """How students learn from the labels alone. Architecture, starting weights, epochs and batches are the students'.

    Attributes:
        training: the budget.
        dropout: dropout rate where the architecture has dropout.
        label_smoothing: part of each label spread evenly over all classes.
        augmentation: drawn anew each epoch: nothing binds plain training to views of which a teacher's outputs are
            stored.
    """

    training: Training
    dropout: float
    label_smoothing: float
    augmentation: Policy


def plain_recipe(student, own) -> PlainRecipe:
    """Return the recipe of plain training.

    Args:
        student: the section `student` of the parameters.
        own: the section `train_scratch`: what is None there is as in `student`.
    """

    def value(name: str):
        return getattr(student, name) if getattr(own, name) is None else getattr(own, name)

    return PlainRecipe(
        training=replace(_training(student), learning_rate=value("learning_rate"), weight_decay=value("weight_decay")),
        dropout=value("dropout"),
        label_smoothing=own.label_smoothing,
        augmentation=Policy(value("max_shift"), value("horizontal_flip"), **dict(value("augment"))),
    )


def shared_recipe(student) -> PlainRecipe:
    """Return the recipe of the section `student`, where plain training sets nothing otherwise."""
    return PlainRecipe(_training(student), student.dropout, label_smoothing=0.0, augmentation=policy_of(student))


def _training(student) -> Training:
    return Training(**{field.name: getattr(student, field.name) for field in fields(Training)})
