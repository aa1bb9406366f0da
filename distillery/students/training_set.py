"""What students learn from: which images, in which views. The distilled ones and those from scratch share it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distillery.data.prepared import Split, load_info, load_shown, load_split, select
from distillery.learning.augmentation import Policy, Views
from distillery.learning.batches import Examples
from distillery.learning.resizing import resized_split


@dataclass(frozen=True)
class TrainingSet:
    """The students' part of the prepared data.

    Attributes:
        examples: all training images, those of omitted classes too, so that indices are those of the teacher's outputs;
            then, for distilled students, those without a label.
        validation: the validation images, of the size that students see, without those of omitted classes: a student
            that never sees a class is not chosen by it either.
        digest: of these images.
    """

    examples: Examples
    validation: Split
    digest: str

    def class_weights(self, kind: str) -> np.ndarray | None:
        """Return how much an image of each class counts, float32, (classes,): their mean over the images is 1.

        The rarer the class, the more: images ÷ (classes · images of the class), over the images that have a label.

        Args:
            kind: `none` or `balanced`.

        Returns:
            None where all count alike. A class without images has 0.
        """
        if kind == "none":
            return None
        labels = self.examples.labels[self.examples.indices]
        images = np.bincount(labels[labels >= 0], minlength=self.examples.classes)
        weights = np.divide(
            images.sum() / np.count_nonzero(images), images, out=np.zeros(len(images)), where=images > 0
        )
        return weights.astype(np.float32)


def load_training_set(
    folder: Path,
    policy: Policy,
    views: int,
    omit_classes: list[str],
    size: tuple[int, int] | None = None,
    unlabelled: bool = False,
) -> TrainingSet:
    """Return the prepared data as students see them.

    Args:
        folder: the prepared data.
        policy: of the views.
        views: per image.
        omit_classes: names of classes that students never see.
        size: (height, width) of the images that students see; None for that of the data set.
        unlabelled: whether they see images without a label, too.

    Raises:
        InputError: when the data are missing or damaged, or a class to omit is unknown, or too few classes are left.
    """
    train, validation = load_split(folder, "train"), load_split(folder, "validation")
    shown, info = load_shown(folder) if unlabelled else train, load_info(folder)
    images = info.sizes["train"] + info.sizes.get("unlabelled", 0)  # views are the same with and without a teacher
    omitted = info.labels_of(omit_classes)
    if omitted:
        validation = select(validation, np.flatnonzero(~np.isin(validation.labels, omitted)))
    examples = Examples(
        shown.images,
        shown.labels,
        indices=np.flatnonzero(~np.isin(shown.labels, omitted)),
        views=Views(policy, images, views, partners=len(train.labels)),
        size=size,
        classes=len(info.classes),
    )
    return TrainingSet(examples, resized_split(validation, size), shown.digest)
