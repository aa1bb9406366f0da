"""transfer: the teacher's logits over the training images, and over each augmented view that students will see."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from distillery.data.prepared import Split, load_info, load_split
from distillery.data.random_streams import Purpose, generator
from distillery.distillation.transfer_set import save_transfer_set, view_outputs
from distillery.learning.augmentation import Views, policy_of
from distillery.teachers.teacher import load_teacher

PREPARED = Path("data/prepared")
TEACHER = Path("models/teacher")
TRANSFER = Path("data/transfer")
SHEET_VIEWS = 10  # a row of the sheet


def main(params, run, resume_folder: Path | None = None) -> None:
    """Write the transfer set."""
    info, train, settings = load_info(PREPARED), load_split(PREPARED, "train"), params.student
    policy = policy_of(settings)
    info.check_augmentation("student", settings)
    run.dataset(info, context="transfer")
    teacher = load_teacher(TEACHER)
    views = Views(policy, len(train.labels), settings.views)

    def outputs_of_views() -> Iterator[dict[str, np.ndarray]]:
        for number in range(views.count):
            outputs = view_outputs(teacher, train.images, views, number, resume_folder)
            accuracy = float(np.mean(outputs["logits"].argmax(axis=1) == train.labels))
            print(f"view {number + 1} of {views.count}: accuracy of the teacher {100 * accuracy:.2f} %", flush=True)
            run.metrics({"accuracy": accuracy}, step=number + 1)
            yield outputs

    if views.count > 1:
        draw_views(train, views, info.classes, run)
    save_transfer_set(TRANSFER, outputs_of_views(), teacher.digest, train.digest, views)


def draw_views(train: Split, views: Views, classes: list[str], run) -> None:
    """Log a sheet of views: some training images, each as it is and then as the teacher and the students see it."""
    shown = min(views.count, SHEET_VIEWS)
    images = generator(Purpose.VIEW_SHEET).choice(len(train.labels), min(4 * (SHEET_VIEWS // shown), len(train.labels)))
    indices, numbers = np.repeat(images, shown), np.tile(np.arange(shown), len(images))
    labels, title = train.labels[indices], "Training images and their views, as the teacher and the students see them"
    if views.policy.mixes:
        size = train.images.shape[1:3]
        labels = views.mixed_labels(train.labels, indices, numbers, len(classes), size).argmax(axis=1)
        title += "; of two classes the larger part's"
    run.figure(
        "sample_sheet",
        "views",
        images=views.show(train.images[indices], indices, numbers, train.images),
        labels=labels,
        classes=classes,
        title=title,
    )
