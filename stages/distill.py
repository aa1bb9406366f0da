"""distill: students that learn from labels and from the teacher's logits, one a seed."""

from pathlib import Path

from pipeline.command import run_stage
from pipeline.params import Params
from pipeline.tracking.journal import Journal

FOLDER = Path("models/distilled")


def distill(params: Params, run: Journal, resume_folder: Path | None = None) -> None:
    """Write one distilled student a seed."""
    from distillery.data.prepared import load_description
    from distillery.distillation.distiller import Distiller, method
    from distillery.distillation.transfer_set import load_transfer
    from distillery.students.train import train_students
    from distillery.students.training_set import load_training_set
    from pipeline.tracking.students import StudentsRecord

    about, data = load_description(), load_training_set(params.student)
    classes, settings = len(about["classes"]), params.distill
    teacher_logits, teacher_digest = load_transfer(classes, data.train.digest, data.offsets)
    run.dataset(about, context="training")

    def distiller(student) -> Distiller:
        return Distiller(
            student,
            settings.temperature,
            settings.alpha,
            soft_loss=method(settings),
            t_squared=settings.t_squared,
        )

    record = StudentsRecord(run, "distill", data.validation.labels, about, params.student)
    students = train_students(
        FOLDER,
        params.student,
        classes,
        data,
        record.on_epoch,
        resume_folder=resume_folder,
        distiller=distiller,
        teacher_logits=teacher_logits,
    )
    if settings.folds:
        from distillery.distillation.cross_validation import cross_validate

        for fold in cross_validate(
            settings.folds, params.student, classes, data, teacher_logits, distiller, resume_folder
        ):
            record.on_fold(*fold)
    record.finish(students, FOLDER, teacher_digest)


if __name__ == "__main__":
    run_stage("distill", distill, sections=["prepare", "student", "train_teacher", "distill"], resumes=True)
