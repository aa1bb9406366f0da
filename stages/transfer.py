"""transfer: the teacher's logits over the training images, and over each augmented view that students will see."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from distillery.data.prepared import load_info, load_split
from distillery.distillation.stored_logits import kept_probability, predicted_classes
from distillery.distillation.transfer_set import save_transfer_set, view_outputs
from distillery.learning.augmentation import Policy, Views
from distillery.teachers.teacher import load_teacher

PREPARED = Path("data/prepared")
TEACHER = Path("models/teacher")
TRANSFER = Path("data/transfer")


def main(params, run, resume_folder: Path | None = None) -> None:
    """Write the transfer set."""
    info, train, settings = load_info(PREPARED), load_split(PREPARED, "train"), params.student
    top_classes = params.transfer.top_classes
    info.check_shift("student.max_shift", settings.max_shift)
    info.check_top_classes(top_classes)
    run.dataset(info, context="transfer")
    teacher = load_teacher(TEACHER)
    views = Views(Policy(settings.max_shift, settings.horizontal_flip), len(train.labels), settings.views)

    def outputs_of_views() -> Iterator[dict[str, np.ndarray]]:
        for number in range(views.count):
            outputs = view_outputs(teacher, train.images, views, number, resume_folder, top_classes)
            metrics = {"accuracy": float(np.mean(predicted_classes(outputs) == train.labels))}
            said = f"accuracy of the teacher {100 * metrics['accuracy']:.2f} %"
            if top_classes is not None:
                metrics["kept_probability"] = kept_probability(outputs, len(info.classes))
                said += f", {100 * metrics['kept_probability']:.2f} % of its probability in the classes that are kept"
            print(f"view {number + 1} of {views.count}: {said}", flush=True)
            run.metrics(metrics, step=number + 1)
            yield outputs

    save_transfer_set(TRANSFER, outputs_of_views(), teacher.digest, train.digest, views)
