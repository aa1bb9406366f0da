"""distill: students that learn from labels and from the teacher's logits, one a seed."""

from pathlib import Path

from stages.command import run_stage
from stages.params import Params
from stages.tracking.journal import Journal

FOLDER = Path("models/distilled")


def distill(params: Params, run: Journal) -> None:
    """Write one distilled student a seed."""
    from stages.data.prepared import load_description, load_split
    from stages.learning.distiller import Distiller
    from stages.learning.students import train_students
    from stages.learning.transfer import load_transfer
    from stages.tracking.students import StudentsRecord

    about, train, validation = load_description(), load_split("train"), load_split("validation")
    teacher_logits = load_transfer(len(train.labels), len(about["classes"]), train.digest)
    run.dataset(about, context="training")

    record = StudentsRecord(run, "distill", validation.labels, about, params.student.seeds)
    students = train_students(
        FOLDER,
        params.student,
        len(about["classes"]),
        train,
        validation,
        record.on_epoch,
        distiller=lambda student: Distiller(student, params.distill.temperature, params.distill.alpha),
        teacher_logits=teacher_logits,
    )
    record.finish(students, FOLDER)


if __name__ == "__main__":
    run_stage("distill", distill, sections=["prepare", "student", "train_teacher", "distill"])
