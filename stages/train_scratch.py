"""train_scratch: the same students, with the same budget and seeds, that learn from labels alone."""

from pathlib import Path

from pipeline.command import run_stage
from pipeline.params import Params
from pipeline.tracking.journal import Journal

FOLDER = Path("models/scratch")


def train_scratch(params: Params, run: Journal, resume_folder: Path | None = None) -> None:
    """Write one student a seed."""
    from distillery.data.prepared import load_description
    from distillery.students.train import train_students
    from distillery.students.training_set import load_training_set
    from pipeline.tracking.students import StudentsRecord

    about, data = load_description(), load_training_set(params.student)
    run.dataset(about, context="training")

    record = StudentsRecord(run, "train_scratch", data.validation.labels, about, params.student)
    students = train_students(
        FOLDER,
        params.student,
        len(about["classes"]),
        data,
        record.on_epoch,
        resume_folder=resume_folder,
        label_smoothing=params.train_scratch.label_smoothing,
    )
    record.finish(students, FOLDER)


if __name__ == "__main__":
    run_stage("train_scratch", train_scratch, sections=["prepare", "student", "train_scratch"], resumes=True)
