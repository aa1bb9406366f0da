"""train_teacher: the large model, trained on labels, or taken from a file of the user's."""

from pathlib import Path

from distillery.data.errors import InputError
from pipeline.command import run_stage
from pipeline.params import TRAINED, Params
from pipeline.tracking.journal import Journal

MODEL = Path("models/teacher.keras")


def train_teacher(params: Params, run: Journal, resume_folder: Path | None = None) -> None:
    """Write the teacher."""
    from distillery.data.prepared import load_description, load_split
    from distillery.learning.batches import Batches
    from distillery.learning.checkpoint import ResumePoint
    from distillery.learning.models import as_teacher, build_model, check_devices, load_model, save_model, served_copy
    from distillery.learning.prediction import predict_logits
    from distillery.learning.training import assess, compile_model, fit
    from pipeline.tracking.teacher import TeacherRecord

    about, train, validation = load_description(), load_split("train"), load_split("validation")
    check_students(params, about)
    run.dataset(about, context="training")
    settings = params.train_teacher
    check_devices("train_teacher.devices", settings.devices)
    record = TeacherRecord(run, validation.labels, about)

    if settings.model == TRAINED:
        build = {
            "architecture": settings.architecture,
            "image_shape": train.images.shape[1:],
            "classes": len(about["classes"]),
            "dropout": settings.dropout,
            "seed": settings.seed,
            "softmax_temperature": settings.softmax_temperature,
        }
        model = build_model(**build, max_norm=settings.max_norm, precision=settings.precision, devices=settings.devices)
        batches = Batches(
            train.images,
            train.labels,
            settings.batch_size,
            settings.seed,
            jitter=settings.jitter,
            flip=settings.flip,
            devices=settings.devices,
        )
        compile_model(model, settings, len(batches), label_smoothing=0.0)
        fitted = fit(
            model,
            batches,
            validation.images,
            validation.labels,
            settings.epochs,
            record.on_epoch,
            resume_folder and ResumePoint(resume_folder, "teacher"),
        )
        teacher = served_copy(model, **build)
        logits = predict_logits(teacher, validation.images)
    else:
        print(f"the teacher is {settings.model}; it is not trained", flush=True)
        teacher = as_teacher(load_model(settings.model), validation.images[:100], len(about["classes"]), settings.model)
        fitted, logits = assess(teacher, train, validation)
        accuracy = fitted.epochs[0].metrics["val_accuracy"]
        if accuracy < 2 / len(about["classes"]):
            print(
                f"warning: {settings.model} has {100 * accuracy:.1f} % of the validation images right, hardly more than"
                " chance; it must take pixels from 0 to 255, and give the classes in this order: "
                f"{', '.join(about['classes'])}",
                flush=True,
            )
    save_model(teacher, MODEL)
    record.finish(fitted, logits, teacher.count_params(), MODEL)


def check_students(params: Params, about: dict) -> None:
    """What would stop the students is told before the teacher is trained, which may take hours."""
    from distillery.learning.models import build_model, check_devices
    from distillery.students.training_set import omitted_labels

    check_devices("student.devices", params.student.devices)
    omitted_labels(about["classes"], params.student.omit_classes)
    counts = about["class_counts"]["train"]
    images = sum(count for name, count in counts.items() if name not in params.student.omit_classes)
    if params.distill.folds > images:
        raise InputError(
            f"params.yaml: distill.folds: found {params.distill.folds}; accepted: up to the number of images that"
            f" students learn from, {images}"
        )
    build_model(params.student.architecture, tuple(about["image_shape"]), len(about["classes"]), dropout=0.0, seed=0)


if __name__ == "__main__":
    run_stage("train_teacher", train_teacher, sections=["prepare", "train_teacher"], resumes=True)
