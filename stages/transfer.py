"""transfer: the teacher's logits over the training images, and over each augmented view that students will see."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from distillery.data.errors import InputError
from distillery.data.prepared import Split, load_info, load_shown
from distillery.data.random_streams import Purpose, generator
from distillery.distillation.stored_logits import kept_probability, predicted_classes
from distillery.distillation.transfer_on_ray import TeacherOnRay
from distillery.distillation.transfer_set import half_precision, save_transfer_set, view_outputs
from distillery.learning.augmentation import Views, policy_of
from distillery.teachers.teacher import load_teacher

PREPARED = Path("data/prepared")
TEACHER = Path("models/teacher")
TRANSFER = Path("data/transfer")
SHEET_VIEWS = 10  # a row of the sheet


def main(params, run, resume_folder: Path | None = None) -> None:
    """Write the transfer set."""
    info, train, settings = load_info(PREPARED), load_shown(PREPARED), params.student
    policy = policy_of(settings)
    top_classes, inner = params.transfer.top_classes, params.transfer.inner()
    info.check_augmentation("student", settings)
    info.check_top_classes(top_classes)
    run.dataset(info, context="transfer")
    address = os.environ.get("RAY_ADDRESS")
    teacher = TeacherOnRay(TEACHER, address) if address else load_teacher(TEACHER)
    views = Views(policy, len(train.labels), settings.views, partners=info.sizes["train"])
    labelled = np.flatnonzero(train.labels >= 0)
    if inner:
        check_size(teacher, train.images, views.count, params.transfer)

    def outputs_of_views() -> Iterator[dict[str, np.ndarray]]:
        for number in range(views.count):
            outputs = view_outputs(teacher, train.images, views, number, resume_folder, top_classes, inner)
            labels = labels_of(train, views, labelled, number, len(info.classes))
            metrics = {"accuracy": float(np.mean(predicted_classes(outputs)[labelled] == labels))}
            said = f"accuracy of the teacher {100 * metrics['accuracy']:.2f} %"
            if top_classes is not None:
                metrics["kept_probability"] = kept_probability(outputs, len(info.classes))
                said += f", {100 * metrics['kept_probability']:.2f} % of its probability in the classes that are kept"
            print(f"view {number + 1} of {views.count}: {said}", flush=True)
            run.metrics(metrics, step=number + 1)
            yield outputs

    if views.count > 1:
        draw_views(train, views, info.classes, run)
    save_transfer_set(TRANSFER, outputs_of_views(), teacher.digest, train.digest, views)


def check_size(teacher, images: np.ndarray, views: int, settings) -> None:
    """Say how much the teacher's inner outputs take before they are computed.

    Raises:
        InputError: when it is more than `transfer.max_gigabytes`, or the teacher has none.
    """
    outputs = half_precision(teacher.outputs(images[:1], settings.inner()))
    inner = {name: values for name, values in outputs.items() if name != "logits"}
    shapes = ", ".join(f"{name} {' × '.join(map(str, values.shape[1:]))}" for name, values in inner.items())
    gigabytes = sum(values.nbytes for values in inner.values()) * len(images) * views / 1e9
    print(f"of each view in half precision: {shapes}; {gigabytes:.3g} GB in all", flush=True)
    if gigabytes > settings.max_gigabytes:
        raise InputError(
            f"transfer.max_gigabytes: found {settings.max_gigabytes:g}; {' and '.join(settings.inner())} of"
            f" {len(images):,} images in {views} views take {gigabytes:.3g}; accepted: at least that, or fewer"
            " student.views"
        )


def labels_of(train: Split, views: Views, indices: np.ndarray, numbers: np.ndarray | int, classes: int) -> np.ndarray:
    """Return the labels of views, int, (n,); where two images are mixed that of the larger part.

    Args:
        train: the training images.
        views: of them.
        indices: int, (n,): which images.
        numbers: int, (n,), or one for all: the view number of each.
        classes: number of classes.
    """
    if not views.policy.mixes:
        return train.labels[indices]
    return views.mixed_labels(train.labels, indices, numbers, classes, train.images.shape[1:3]).argmax(axis=1)


def draw_views(train: Split, views: Views, classes: list[str], run) -> None:
    """Log a sheet of views: some training images, each as it is and then as the teacher and the students see it."""
    shown = min(views.count, SHEET_VIEWS)
    labelled = np.flatnonzero(train.labels >= 0)
    in_a_row = SHEET_VIEWS // shown
    images = generator(Purpose.VIEW_SHEET).choice(labelled, min(4 * in_a_row, len(labelled)), replace=False)
    indices, numbers = np.repeat(images, shown), np.tile(np.arange(shown), len(images))
    title = "Training images and their views, as the teacher and the students see them"
    if views.policy.mixes:
        title += "; of two classes the larger part's"
    run.figure(
        "sample_sheet",
        "views",
        images=views.show(train.images[indices], indices, numbers, train.images),
        labels=labels_of(train, views, indices, numbers, len(classes)),
        classes=classes,
        title=title,
        columns=shown * in_a_row,
    )
