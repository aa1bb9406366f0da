"""distill: students that learn from the labels and from the teacher's outputs, one per seed."""

from dataclasses import replace
from pathlib import Path

from distillery.data.files import write_json
from distillery.data.prepared import load_info
from distillery.data.tables import write_table
from distillery.distillation.cross_validation import CrossValidation, fold_metrics
from distillery.distillation.distiller import Distiller
from distillery.distillation.methods import Method, load_method
from distillery.distillation.replay import check_views
from distillery.distillation.transfer_set import load_transfer_set
from distillery.learning.augmentation import policy_of
from distillery.learning.models import student_spec
from distillery.learning.resizing import resized_info
from distillery.students.choice import WEIGHTS, save_choice
from distillery.students.results import EpochMeans, students_result
from distillery.students.train import SeedTrainer, starting_point, train_students
from distillery.students.training_set import TrainingSet, load_training_set
from distillery.teachers.teacher import load_teacher

PREPARED, TEACHER = Path("data/prepared"), Path("models/teacher")
TRANSFER, STUDENTS = Path("data/transfer"), Path("models/distilled")
METRICS, CURVES = Path("metrics/distill.json"), Path("plots/distill/curves.csv")


def main(params, run, resume_folder: Path | None = None) -> None:
    """Write one distilled student per seed, their metrics and curves."""
    student, settings = params.student, params.distill
    info = load_info(PREPARED)
    info.check_augmentation("student", student)
    info.check_folds(settings.folds, student.omit_classes)
    spec = student_spec(student, info)
    method = replace(load_method(settings.method, **settings.own()), standardize=settings.standardize_logits)
    data, teacher_digest = what_teaches(student, spec.size, method)
    run.dataset(info, context="training")
    if unlabelled := info.sizes.get("unlabelled"):
        print(f"{unlabelled:,} images without a label teach by the soft loss alone; scratch has none", flush=True)

    class_weights = data.class_weights(student.class_weights)
    how = {
        "soft_loss": method.over(data.examples.teacher),
        "t_squared": settings.t_squared,
        "class_weights": class_weights,
    }

    def distil(model) -> Distiller:
        return Distiller(model, settings.temperature, settings.alpha, **how)

    images = len(data.examples.indices)
    trainer = SeedTrainer(spec, student, student.seeds[0], images, distil, class_weights=class_weights)
    run.tags({"distillery.precision": trainer.precision})
    means = EpochMeans(data.validation.labels, len(info.classes), len(student.seeds))

    def on_epoch_end(seed: int, epoch) -> None:
        run.student_epoch(seed, epoch, means.add(epoch), info.classes)

    start = starting_point(spec, info)
    if WEIGHTS in start:
        print(
            f"DVC does not see a change of {student.weights}; after one, run `dvc repro --force --single-item distill"
            " train_scratch`",
            flush=True,
        )
    students = train_students(trainer, student.seeds, data, STUDENTS, on_epoch_end, resume_folder)
    result = students_result(students, data.validation.labels, len(info.classes), trainer.chosen_by)
    metrics = result.metrics
    if settings.folds:
        folds = []
        validation = CrossValidation(settings.folds, student.seeds[0], spec, student, distil, class_weights)
        for fold in validation.scores(data, resume_folder):
            folds.append(fold)
            scores = {"fold/agreement_with_teacher": fold.agreement, "fold/accuracy": fold.accuracy}
            scores = {name: value for name, value in scores.items() if value is not None}
            run.metrics(scores, step=len(folds), time=fold.ended)
        metrics = metrics | {"cross_validation": fold_metrics(folds)}

    made = (student.omit_classes, teacher_digest, trainer.precision, start)
    chosen = save_choice(STUDENTS, result.by_seed, trainer.chosen_by, *made)
    write_json(METRICS, metrics)
    write_table(CURVES, means.curves)
    numbers = {"best": metrics, "parameters": students[0].parameters, "chosen_seed": chosen}
    run.metrics(numbers, time=students[-1].result.epochs[-1].ended)
    seen = resized_info(info, spec.size)
    run.training_result("student", result.confusion, seen, curves=CURVES, model=STUDENTS / f"seed_{chosen}.keras")


def what_teaches(student, size: tuple[int, int], method: Method) -> tuple[TrainingSet, str]:
    """Return the training images with the teacher's outputs, checked, and the SHA-256 of the teacher's file.

    Args:
        student: section `student`.
        size: (height, width) that students see.
        method: reads the outputs.
    """
    policy = policy_of(student)
    data = load_training_set(PREPARED, policy, student.views, student.omit_classes, size, unlabelled=True)
    outputs, digest = load_transfer_set(TRANSFER, data.digest, data.examples.views)
    check_views(load_teacher(TEACHER), data.examples.images, data.examples.views, outputs, digest)
    return replace(data, examples=replace(data.examples, teacher=method.read(outputs))), digest
