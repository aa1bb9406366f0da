"""train_scratch: the same students, with the same budget and seeds, that learn from the labels alone."""

from pathlib import Path

from distillery.data.files import write_json
from distillery.data.prepared import load_info
from distillery.data.tables import write_table
from distillery.learning.augmentation import Policy
from distillery.learning.models import ModelSpec
from distillery.students.choice import save_choice
from distillery.students.results import EpochMeans, students_result
from distillery.students.train import SeedTrainer, train_students
from distillery.students.training_set import load_training_set

PREPARED, STUDENTS = Path("data/prepared"), Path("models/scratch")
METRICS, CURVES = Path("metrics/train_scratch.json"), Path("plots/train_scratch/curves.csv")


def main(params, run, resume_folder: Path | None = None) -> None:
    """Write one student per seed, their metrics and curves."""
    student = params.student
    info = load_info(PREPARED)
    info.check_shift("student.max_shift", student.max_shift)
    policy = Policy(student.max_shift, student.horizontal_flip)
    data = load_training_set(PREPARED, policy, student.views, student.omit_classes)
    run.dataset(info, context="training")

    spec = ModelSpec(student.model, info.image_shape, len(info.classes), student.dropout)
    label_smoothing = params.train_scratch.label_smoothing
    trainer = SeedTrainer(spec, student, student.seeds[0], len(data.examples.indices), label_smoothing=label_smoothing)
    run.tags({"distillery.precision": trainer.precision})
    means = EpochMeans(data.validation.labels, len(info.classes), len(student.seeds))

    def on_epoch_end(seed: int, epoch) -> None:
        run.student_epoch(seed, epoch, means.add(epoch), info.classes)

    students = train_students(trainer, student.seeds, data, STUDENTS, on_epoch_end, resume_folder)
    result = students_result(students, data.validation.labels, len(info.classes))

    chosen = save_choice(STUDENTS, result.accuracies, student.omit_classes, None, trainer.precision)
    write_json(METRICS, result.metrics)
    write_table(CURVES, means.curves)
    numbers = {"best": result.metrics, "parameters": students[0].parameters, "chosen_seed": chosen}
    run.metrics(numbers, time=students[-1].result.epochs[-1].ended)
    run.training_result("student", result.confusion, info, curves=CURVES, model=STUDENTS / f"seed_{chosen}.keras")
