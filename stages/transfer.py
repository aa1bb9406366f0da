"""transfer: the teacher's logits over the training images, and over each augmented view that students will see."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from distillery.data.prepared import load_info, load_split
from distillery.distillation.transfer_set import save_transfer_set, view_outputs
from distillery.learning.augmentation import Views, policy_of
from distillery.teachers.teacher import load_teacher

PREPARED = Path("data/prepared")
TEACHER = Path("models/teacher")
TRANSFER = Path("data/transfer")


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

    save_transfer_set(TRANSFER, outputs_of_views(), teacher.digest, train.digest, views)
