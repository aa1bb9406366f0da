"""train_scratch: the same students, with the same budget and seeds, that learn from the labels alone.

Twice: with a recipe of plain training's own, and with that of the distilled students, views included. The first tells
whether a teacher is worth having, the second what its outputs alone bring.
"""

import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from distillery.data.files import write_json
from distillery.data.prepared import load_info
from distillery.data.tables import write_table
from distillery.learning.augmentation import policy_of
from distillery.learning.models import ModelSpec, student_spec
from distillery.learning.resizing import resized_info
from distillery.students.choice import save_choice
from distillery.students.plain_recipe import plain_recipe, shared_recipe
from distillery.students.results import EpochMeans, students_result
from distillery.students.train import SeedTrainer, starting_point, train_students
from distillery.students.training_set import TrainingSet, load_training_set

PREPARED = Path("data/prepared")
STUDENTS, SAME_RECIPE = Path("models/scratch"), Path("models/same_recipe")
METRICS, CURVES = Path("metrics/train_scratch.json"), Path("plots/train_scratch/curves.csv")


def main(params, run, resume_folder: Path | None = None) -> None:
    """Write one student per seed and recipe, their metrics, and the curves of the recipe of plain training's own."""
    student, own = params.student, params.train_scratch
    info = load_info(PREPARED)
    info.check_augmentation("student", student)
    info.check_augmentation("train_scratch", own)
    policy = policy_of(student)
    recipe = plain_recipe(student, own)
    spec = student_spec(student, info, recipe.dropout)
    views = load_training_set(PREPARED, policy, student.views, student.omit_classes, spec.size)
    run.dataset(info, context="training")

    fresh = replace(views, examples=replace(views.examples, views=None, augmentation=recipe.augmentation))
    trainer = SeedTrainer(
        spec,
        recipe.training,
        student.seeds[0],
        len(views.examples.indices),
        label_smoothing=recipe.label_smoothing,
        class_weights=views.class_weights(student.class_weights),
    )
    run.tags({"distillery.precision": trainer.precision})
    means = EpochMeans(views.validation.labels, len(info.classes), len(student.seeds))

    def on_epoch_end(seed: int, epoch) -> None:
        run.student_epoch(seed, epoch, means.add(epoch), info.classes)

    print("plain training with its own recipe", flush=True)
    students = train_students(trainer, student.seeds, fresh, STUDENTS, on_epoch_end, resume_folder)
    result = students_result(students, views.validation.labels, len(info.classes), trainer.chosen_by)
    start = starting_point(spec, info)
    made = (student.omit_classes, None, trainer.precision, start)
    chosen = save_choice(STUDENTS, result.by_seed, trainer.chosen_by, *made)
    if recipe == shared_recipe(student) and student.views == 1:
        print("its recipe is that of the distilled students: no others are trained", flush=True)
        shutil.copytree(STUDENTS, SAME_RECIPE, dirs_exist_ok=True)
        same = result.metrics
    else:
        same = train_with_shared_recipe(params, spec, views, start, run, resume_folder)

    if warning := doubt(result.metrics, same, len(views.validation.labels)):
        print(f"warning: {warning}", flush=True)
        run.tags({"distillery.warning.scratch": warning})
    metrics = result.metrics | {"same_recipe": same}
    write_json(METRICS, metrics)
    write_table(CURVES, means.curves)
    numbers = {"best": metrics, "parameters": students[0].parameters, "chosen_seed": chosen}
    run.metrics(numbers, time=students[-1].result.epochs[-1].ended)
    seen = resized_info(info, spec.size)
    run.training_result("student", result.confusion, seen, curves=CURVES, model=STUDENTS / f"seed_{chosen}.keras")


def doubt(own: Mapping[str, float], same: Mapping[str, float], images: int) -> str:
    """Return what to say where plain training's own recipe is clearly worse than the shared one.

    Args:
        own, same: metrics of the students with either recipe.
        images: on which they were validated. The bound is two standard errors of a difference, as if each recipe had
            images of its own, and what seeds vary.
    """
    accuracies = [metrics["val_accuracy"] for metrics in (own, same)]
    by_images = 2 * math.sqrt(sum(accuracy * (1 - accuracy) for accuracy in accuracies) / images)
    if accuracies[1] - accuracies[0] <= by_images + own["val_accuracy_std"] + same["val_accuracy_std"]:
        return ""
    return (
        f"on validation images plain training is {100 * accuracies[0]:.2f} % accurate with its own recipe, section"
        f" train_scratch, and {100 * accuracies[1]:.2f} % with that of the distilled students: distilling will look"
        " better than it is; set what is another there to null, or choose it anew (docs/experiments.md)"
    )


def train_with_shared_recipe(
    params, spec: ModelSpec, data: TrainingSet, start: Mapping, run, resume_folder: Path | None
) -> dict[str, float]:
    """Write students whose recipe is that of the distilled ones, without a teacher, and return their metrics."""
    student = params.student
    trainer = SeedTrainer(
        replace(spec, dropout=student.dropout),
        student,
        student.seeds[0],
        len(data.examples.indices),
        class_weights=data.class_weights(student.class_weights),
    )
    means = EpochMeans(data.validation.labels, spec.classes, len(student.seeds))

    def on_epoch_end(_: int, epoch) -> None:
        if mean := means.add(epoch):
            run.metrics({"same_recipe": mean.metrics}, step=mean.number, time=mean.ended)

    print("plain training with the recipe of the distilled students", flush=True)
    folder = resume_folder and resume_folder / "same_recipe"
    students = train_students(trainer, student.seeds, data, SAME_RECIPE, on_epoch_end, folder)
    result = students_result(students, data.validation.labels, spec.classes, trainer.chosen_by)
    made = (student.omit_classes, None, trainer.precision, start)
    save_choice(SAME_RECIPE, result.by_seed, trainer.chosen_by, *made)
    return result.metrics
