"""train_teacher: the large model, trained on the labels, or taken from a file of the user's."""

from pathlib import Path

import numpy as np

from distillery.data.errors import InputError
from distillery.data.files import write_json
from distillery.data.prepared import DatasetInfo, Split, load_info, load_split
from distillery.data.tables import write_table
from distillery.learning.augmentation import Policy
from distillery.learning.batches import Batches, Examples
from distillery.learning.checkpoint import Checkpoint
from distillery.learning.devices import check_devices
from distillery.learning.metrics import confusion_matrix, negative_log_likelihood
from distillery.learning.models import ModelSpec, build_model, float32_copy
from distillery.learning.precision import resolve_precision
from distillery.learning.prediction import predict_logits
from distillery.learning.saving import load_model
from distillery.learning.teacher import as_teacher
from distillery.learning.teacher_check import doubts
from distillery.learning.teacher_files import KERAS_FILE, save_teacher
from distillery.learning.training import compile_model, evaluate_pretrained, fit, training_accuracy

PREPARED = Path("data/prepared")
TEACHER = Path("models/teacher")
METRICS, CURVES = Path("metrics/train_teacher.json"), Path("plots/train_teacher/curves.csv")


def main(params, run, resume_folder: Path | None = None) -> None:
    """Write the teacher, its metrics and its curves."""
    settings = params.train_teacher
    info, train, validation = load_info(PREPARED), load_split(PREPARED, "train"), load_split(PREPARED, "validation")
    if settings.model.endswith(".py"):
        info.check_shift("train_teacher.max_shift", settings.max_shift)
    check_students(params, info)
    run.dataset(info, context="training")

    def on_epoch_end(epoch) -> None:
        confusion = confusion_matrix(validation.labels, epoch.predictions, len(info.classes))
        run.epoch(epoch.number, epoch.ended, epoch.metrics, confusion, info.classes)

    if settings.model.endswith(".py"):
        checkpoint = resume_folder and Checkpoint(resume_folder, "teacher")
        precision = resolve_precision("train_teacher.precision", settings.precision)
        run.tags({"distillery.precision": precision})
        teacher, result = train_on_labels(settings, precision, info, train, validation, on_epoch_end, checkpoint)
        logits = predict_logits(teacher, validation.images)
    else:
        precision = None
        print(f"the teacher is {settings.model}; it is not trained", flush=True)
        teacher = as_teacher(load_model(settings.model), validation.images[:100], len(info.classes), settings.model)
        result, logits = evaluate_pretrained(teacher, train, validation)
        for doubt in doubts(np.asarray(validation.labels), logits, info.classes):
            print(f"warning: {settings.model}: {doubt}", flush=True)

    val_accuracy = float((logits.argmax(axis=1) == validation.labels).mean())
    learned = training_accuracy(teacher, Examples(train.images, train.labels), len(logits))
    metrics = {
        "val_accuracy": val_accuracy,
        "val_loss": negative_log_likelihood(validation.labels, logits),
        "overfitting_points": 100 * (learned - val_accuracy),
        "best_epoch": result.best_epoch,
    }
    save_teacher(teacher, TEACHER, validation.images[:100], precision)
    write_json(METRICS, metrics)
    write_table(CURVES, result.curves)
    run.metrics({"best": metrics, "parameters": teacher.count_params()}, time=result.epochs[-1].ended)
    confusion = confusion_matrix(validation.labels, logits.argmax(axis=1), len(info.classes))
    run.training_result("teacher", confusion, info, curves=CURVES, model=TEACHER / KERAS_FILE)


def train_on_labels(
    settings, precision: str, info: DatasetInfo, train: Split, validation: Split, on_epoch_end, checkpoint
):
    """Return the trained teacher in float32, and how its training went."""
    spec = ModelSpec(
        settings.model,
        info.image_shape,
        len(info.classes),
        settings.dropout,
        softmax_temperature=settings.softmax_temperature,
        max_norm=settings.max_norm,
    )
    check_devices("train_teacher.devices", settings.devices)
    model = build_model(spec, settings.seed, precision, settings.devices)
    augmentation = Policy(settings.max_shift, settings.horizontal_flip)
    examples = Examples(train.images, train.labels, augmentation=augmentation)
    batches = Batches(examples, settings.batch_size, settings.seed, settings.devices)
    compile_model(model, settings, len(batches), label_smoothing=0.0)
    result = fit(model, batches, validation, settings.epochs, on_epoch_end, checkpoint)
    return float32_copy(model, spec, settings.seed), result


def check_students(params, info: DatasetInfo) -> None:
    """Check what would stop the students before the teacher is trained, which may take hours."""
    student = params.student
    check_devices("student.devices", student.devices)
    info.check_shift("student.max_shift", student.max_shift)
    info.check_shift("train_scratch.max_shift", params.train_scratch.max_shift or 0)
    info.labels_of(student.omit_classes)
    counts = info.class_counts["train"]
    images = sum(count for name, count in counts.items() if name not in student.omit_classes)
    if params.distill.folds > images:
        raise InputError(
            f"params.yaml: distill.folds: found {params.distill.folds}; accepted: up to the number of images that"
            f" students learn from, {images}"
        )
    build_model(ModelSpec(student.model, info.image_shape, len(info.classes)), seed=0)
